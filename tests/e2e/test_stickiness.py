"""Sticky sessions: a client stays with its target while that serves; nobody forges a cookie."""

import collections
import http.client
import http.cookies

from h2_client import H2Client
from rig import RawOrigin, check, check_equal, free_port, simple_config, test
from rig import wait_until
from test_tls import Authority, https_config

LB = {"stickiness": {"type": "lb_cookie"}, "balance": "round_robin"}
NAME = "lbd-app"


def ask(port, cookie=None, path="/id"):
    """(instance, cookies set)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    reply = connection.getresponse()
    check_equal(reply.status, 200, "status")
    reply.read()
    connection.close()
    jar = http.cookies.SimpleCookie()
    for value in reply.headers.get_all("set-cookie") or []:
        jar.load(value)
    return reply.headers["x-instance"], jar


def text_of(jar):
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())


@test()
def test_a_client_stays_with_its_target_and_others_are_spread(rig):
    lbd = rig.proxy(rig.origins("aaa"), LB)
    first, jar = ask(rig.port)
    morsel = jar[NAME]
    check_equal((morsel["path"], morsel["max-age"]), ("/", "86400"), "attributes")
    check(morsel["httponly"] and not morsel["secure"], f"attributes: {morsel}")
    check("127.0.0.1" not in morsel.value and str(rig.port) not in morsel.value, "an address shows")
    for _ in range(20):
        where, again = ask(rig.port, f"other=1; {NAME}={morsel.value}")
        check_equal((where, again[NAME].value), (first, morsel.value), "its target")
    spread = collections.Counter(ask(rig.port)[0] for _ in range(30))
    check_equal(len(spread), 3, "targets of clients without cookie")
    check_equal(lbd.metric("lbd_sticky_requests_total", outcome="kept"), 20, "kept")
    check_equal(lbd.metric("lbd_sticky_requests_total", outcome="new"), 31, "new")


@test()
def test_a_cookie_that_was_not_made_here_is_nobodys(rig):
    lbd = rig.proxy(rig.origins("aaa"), LB)
    _, jar = ask(rig.port)
    good = jar[NAME].value
    for wrong in (good[:-1], good + "A", good.swapcase(), "", "127.0.0.1:80", "x" * 4000, "a=b"):
        spread = {ask(rig.port, f"{NAME}={wrong}")[0] for _ in range(12)}
        check_equal(len(spread), 3, f"cookie {wrong[:30]!r}")
    check_equal(lbd.metric("lbd_sticky_requests_total", outcome="kept"), 0, "kept")


@test(timeout=60)
def test_sessions_survive_reload_restart_and_scale_out(rig):
    origins = rig.origins("aaaa")
    lbd = rig.proxy(origins[:3], LB)
    first, jar = ask(rig.port)
    cookie = text_of(jar)
    lbd.config["target_groups"]["app"]["targets"].append(origins[3].target())
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    lbd.wait_states({origins[3].text: "healthy"})
    check_equal({ask(rig.port, cookie)[0] for _ in range(10)}, {first}, "after scale-out")
    lbd.stop()
    lbd.start()
    wait_until(lambda: set(lbd.states().values()) == {"healthy"}, 10, "healthy again")
    check_equal({ask(rig.port, cookie)[0] for _ in range(10)}, {first}, "after a restart")


@test()
def test_hosts_that_share_a_key_stick_alike(rig):
    origins = rig.origins("aaa")
    ports = [free_port(), free_port(), free_port()]
    for number, (port, key) in enumerate(zip(ports, ("k" * 32, "k" * 32, "l" * 32))):
        node = {"cookie_key": key, "state_dir": str(rig.folder / f"state-{number}")}
        lbd = rig.lbd(simple_config(port, origins, LB, None, node), name=f"lbd-{number}")
        lbd.wait_states({origin.text: "healthy" for origin in origins})
    first, jar = ask(ports[0])
    check_equal({ask(ports[1], text_of(jar))[0] for _ in range(12)}, {first}, "the same key")
    check_equal(len({ask(ports[2], text_of(jar))[0] for _ in range(12)}), 3, "another key")


@test(timeout=60)
def test_a_client_whose_target_cannot_serve_is_moved_and_stays_there(rig):
    origins = rig.origins("aaa")
    lbd = rig.proxy(origins, LB)
    lbd.wait_states({origin.text: "healthy" for origin in origins})
    first, jar = ask(rig.port)
    mine = next(origin for origin in origins if origin.name == first)
    code, out, err = lbd.cli("drain", mine.text)
    check_equal(code, 0, f"drain: {out}{err}")
    second, moved = ask(rig.port, text_of(jar))
    check(second != first, "a draining target got a request")
    check_equal(
        {ask(rig.port, text_of(moved))[0] for _ in range(10)}, {second}, "where it was moved"
    )
    lbd.cli("undrain", mine.text)
    check_equal(ask(rig.port, text_of(moved))[0], second, "after the undrain")
    next(origin for origin in origins if origin.name == second).kill()
    third, _ = ask(rig.port, text_of(moved))
    check(third != second, "a dead target answered")
    check(lbd.metric("lbd_sticky_requests_total", outcome="moved") >= 1, "moved")


@test()
def test_a_target_of_weight_zero_keeps_those_it_has(rig):
    origins = rig.origins("aa")
    lbd = rig.proxy(origins, LB)
    lbd.wait_states({origin.text: "healthy" for origin in origins})
    first, jar = ask(rig.port)
    targets = lbd.config["target_groups"]["app"]["targets"]
    for target, origin in zip(targets, origins):
        target["weight"] = 0 if origin.name == first else 1
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    check_equal({ask(rig.port, text_of(jar))[0] for _ in range(5)}, {first}, "with a cookie")
    check(first not in {ask(rig.port)[0] for _ in range(10)}, "without one")


def session_origin(rig, name, fields):
    """Begins a session at /login, with these Set-Cookie fields."""

    def serve(connection, _):
        while head := origin.head(connection):
            login = fields if b"/login" in head else ""
            connection.sendall(
                f"HTTP/1.1 200 OK\r\nx-instance: {name}\r\n{login}".encode()
                + b"content-length: 2\r\n\r\nok"
            )

    origin = RawOrigin(rig, serve)
    return origin


@test()
def test_an_applications_session_is_followed_and_ends_with_it(rig):
    fields = "set-cookie: a=b\r\nSet-Cookie: SID=s1; Path=/shop; Max-Age=60; SameSite=Lax\r\n"
    origins = [session_origin(rig, name, fields) for name in "xyz"]
    sticky = {"type": "app_cookie", "app_cookie": "SID", "cookie": "where"}
    group = {"health_check": "off", "balance": "round_robin", "stickiness": sticky}
    rig.proxy(origins, group)
    _, jar = ask(rig.port)
    check("where" not in jar, "stuck without a session")
    first, jar = ask(rig.port, path="/login")
    check_equal(set(jar), {"a", "SID", "where"}, "cookies")
    where = jar["where"]
    check_equal(
        (where["path"], where["max-age"], where["samesite"]), ("/shop", "60", "Lax"), "as SID"
    )
    both = f"SID=s1; where={where.value}"
    check_equal({ask(rig.port, both)[0] for _ in range(9)}, {first}, "the session's target")
    check_equal(len({ask(rig.port, f"where={where.value}")[0] for _ in range(9)}), 3, "no session")
    _, found = ask(rig.port, "SID=old")
    check_equal(set(found), {"where"}, "a session from before gets a place")


@test()
def test_a_client_keeps_its_share_of_a_weighted_forward(rig):
    one, two = rig.origins("aa")
    group = lambda origin: {"health_check": "off", "targets": [origin.target()]}
    config = simple_config(free_port(), [one])
    port = int(config["listeners"]["public"]["listen"][0].rpartition(":")[2])
    config["target_groups"] = {"blue": group(one), "green": group(two)}
    forward = {"forward": {"blue": 50, "green": 50}, "stickiness": {"duration": "1h"}}
    config["listeners"]["public"]["default"] = forward
    rig.lbd(config)
    first, jar = ask(port)
    check_equal(list(jar), ["lbd-group-default"], "cookies")
    check_equal({ask(port, text_of(jar))[0] for _ in range(20)}, {first}, "its group")
    check_equal(len({ask(port)[0] for _ in range(40)}), 2, "others")


@test()
def test_cookies_pass_over_http_2_and_tls_and_are_secure_there(rig):
    port = free_port()
    certificate = Authority(rig.folder).make("shop", "shop.test")
    config = https_config(port, rig.origins("aa"), {"certificates": [certificate]}, group=LB)
    rig.lbd(config)
    with H2Client(port, tls=True) as client:
        reply = client.fetch("/id")
        jar = http.cookies.SimpleCookie(reply.fields["set-cookie"])
        check(jar[NAME]["secure"], f"not Secure: {jar}")
        first = reply.fields["x-instance"]
        for _ in range(6):
            again = client.fetch("/id", fields=[("cookie", "a=b"), ("cookie", text_of(jar))])
            check_equal(again.fields["x-instance"], first, "its target")

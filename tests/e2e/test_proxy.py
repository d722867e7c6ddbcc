"""The HTTP/1.1 data plane, seen from both sides of the wire."""
import contextlib
import threading
import time

from http_text import NO_CHECKS, answer, get
from rig import RawOrigin, Wire, check, check_equal, free_port, request, simple_config, test
from rig import wait_until


def seen_fields(reply):
    """What the origin's /headers saw: {lower name: [values]}."""
    found = {}
    for name, value in reply.json()["fields"]:
        found.setdefault(name.lower(), []).append(value)
    return found


@test()
def test_one_connection_carries_many_requests(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        for number in range(50):
            wire.send(get())
            check_equal(wire.reply().status, 200, f"request {number}")


@test()
def test_pipelined_requests_are_answered_in_order(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send("".join(get(f"/size?n={n}") for n in range(1, 21)))
        sizes = [len(wire.reply().body) for _ in range(20)]
        check_equal(sizes, list(range(1, 21)), "body sizes in order")


@test()
def test_a_pipelined_request_after_a_body_is_not_taken_for_the_body(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
        chunked = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        wire.send(post + chunked + "3\r\nabc\r\n0\r\n\r\n" + get("/size?n=3"))
        bodies = [wire.reply().body for _ in range(3)]
        check_equal(bodies, [b"hello", b"abc", b"\x00\x01\x02"], "bodies")


@test()
def test_connection_close_of_the_client_is_obeyed(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(get("/id", "connection: close"))
        reply = wire.reply()
        check_equal((reply.status, reply.headers.get("connection")), (200, "close"), "reply")
        check(wire.at_end(), "the connection stays open")


@test()
def test_an_http_1_0_request_is_answered_and_closed(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send("GET /size?n=70000&chunked=1 HTTP/1.0\r\nhost: x\r\n\r\n")
        reply = wire.head()
        check("transfer-encoding" not in reply.headers, "chunked to an HTTP/1.0 client")
        check_equal(len(wire.stream.read()), 70000, "body up to the end of the connection")


@test()
def test_chunked_bodies_pass_both_ways(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"a" * 1, b"b" * 5000, b"c" * 70000):
            wire.send(b"%X;note=1\r\n%b\r\n" % (len(piece), piece))
        wire.send("0\r\nx-trailer: yes\r\n\r\n")
        check_equal(wire.reply().body, b"a" + b"b" * 5000 + b"c" * 70000, "echo")
        wire.send(get("/size?n=200000&chunked=1"))
        reply = wire.reply()
        check_equal(reply.headers.get("transfer-encoding"), "chunked", "framing")
        check_equal(len(reply.body), 200000, "body")


@test()
def test_a_chunked_request_in_single_bytes_arrives_whole(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        text = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        for byte in (text + "4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n").encode():
            wire.send(bytes([byte]))
        check_equal(wire.reply().body, b"wikipedia", "echo")


@test()
def test_expect_100_continue_gets_its_interim_response_before_the_body(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n"
        )
        check_equal(wire.head().status, 100, "interim response")
        wire.send("body")
        check_equal(wire.reply().body, b"body", "echo")


@test()
def test_an_unknown_expectation_is_refused_with_417(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(get("/id", "expect: the-unexpected"))
        check_equal(wire.reply().status, 417, "status")


@test()
def test_head_has_the_length_but_no_body_and_keeps_the_connection(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(get("/size?n=12345").replace("GET", "HEAD") + get("/size?n=3"))
        reply = wire.reply("HEAD")
        check_equal(reply.headers.get("content-length"), "12345", "length of HEAD")
        check_equal(wire.reply().body, b"\x00\x01\x02", "the next response")


@test()
def test_responses_without_body_by_status_keep_the_connection(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        for status in (204, 304, 404, 500):
            wire.send(get(f"/status/{status}"))
            check_equal(wire.reply().status, status, "status")


@test()
def test_interim_responses_of_the_target_reach_the_client(rig):
    def script(connection, _):
        origin.head(connection)
        hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        connection.sendall(hints + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send(get())
        check_equal(wire.head().status, 103, "interim response")
        check_equal(wire.reply().body, b"ok", "final response")


@test()
def test_hop_by_hop_headers_stop_here_in_both_directions(rig):
    def script(connection, _):
        origin.head(connection)
        answer(connection, b"ok", b"connection: x-hop", b"x-hop: 1", b"keep-alive: timeout=1",
               b"proxy-authenticate: Basic", b"x-stays: 1")

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send(get("/", "connection: x-mine, keep-alive", "x-mine: 1", "te: trailers",
                      "keep-alive: 5", "proxy-connection: keep-alive", "x-end: 1"))
        reply = wire.reply()
    lines = origin.seen[0].decode().lower().split("\r\n")[1:-2]
    sent = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    for name in ("x-mine", "keep-alive", "proxy-connection", "te"):
        check(name not in sent, f"{name} reached the target")
    check("x-mine" not in sent.get("connection", ""), "the client's Connection reached the target")
    check_equal(sent.get("x-end"), "1", "an end-to-end field")
    for name in ("x-hop", "keep-alive", "proxy-authenticate"):
        check(name not in reply.headers, f"{name} reached the client")
    check("x-stays" in reply.headers, "an end-to-end field of the response is lost")


@test()
def test_forwarding_headers_tell_the_target_who_asked(rig):
    rig.proxy([rig.origin()])
    reply = request(rig.port, "/headers", headers={"Host": "shop.example"})
    seen = seen_fields(reply)
    check_equal(seen.get("host"), ["shop.example"], "host")
    check_equal(seen.get("x-forwarded-for"), ["127.0.0.1"], "x-forwarded-for")
    check_equal(seen.get("x-forwarded-proto"), ["http"], "x-forwarded-proto")
    check_equal(seen.get("x-forwarded-port"), [str(rig.port)], "x-forwarded-port")
    forwarded = seen.get("forwarded", [""])[0].lower()
    check("for=127.0.0.1" in forwarded.replace('"', ""), f"forwarded: {forwarded}")
    check("proto=http" in forwarded, f"forwarded: {forwarded}")
    check(seen.get("via", [""])[0].startswith("1.1 "), f"via: {seen.get('via')}")
    check(len(seen.get("x-request-id", [""])[0]) >= 16, "no x-request-id for the target")
    check("via" in reply.headers, "no Via in the response")


@test()
def test_an_untrusted_client_cannot_forge_its_scheme_or_request_id(rig):
    rig.proxy([rig.origin()])
    forged = {"X-Forwarded-Proto": "https", "X-Request-Id": "forged", "X-Forwarded-For": "9.9.9.9"}
    seen = seen_fields(request(rig.port, "/headers", headers=forged))
    check_equal(seen.get("x-forwarded-proto"), ["http"], "x-forwarded-proto")
    check(seen.get("x-request-id") != ["forged"], "a stranger's x-request-id is believed")
    chain = ", ".join(seen.get("x-forwarded-for", []))
    check(chain.endswith("127.0.0.1"), f"the peer is not last in x-forwarded-for: {chain}")


@test()
def test_a_trusted_proxy_is_believed(rig):
    listener = {"forwarded_headers": {"trusted_proxies": ["127.0.0.0/8"]}}
    rig.proxy([rig.origin()], listener=listener)
    sent = {"X-Forwarded-Proto": "https", "X-Request-Id": "0123456789abcdef-trusted"}
    seen = seen_fields(request(rig.port, "/headers", headers=sent))
    check_equal(seen.get("x-forwarded-proto"), ["https"], "x-forwarded-proto")
    check_equal(seen.get("x-request-id"), ["0123456789abcdef-trusted"], "x-request-id")


def refused(rig, data, status, what):
    with Wire(rig.port) as wire:
        wire.send(data)
        reply = wire.reply()
        check(reply is not None, f"{what}: closed without an answer")
        check_equal(reply.status, status, what)
        check(wire.at_end(), f"{what}: the connection stays open")
        return reply


@test()
def test_what_is_not_http_gets_400_and_the_end_of_the_connection(rig):
    rig.proxy([rig.origin()])
    long = "transfer-encoding: chunked"
    for data, what in (
        ("GARBAGE\r\n\r\n", "not a request line"),
        ("GET / HTTP/1.1\r\n\r\n", "no host"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "two hosts"),
        (get("/", "content-length: 5", long), "both framings"),
        (get("/", "content-length: 5", "content-length: 6"), "two lengths"),
        (get("/", "content-length: -1"), "a negative length"),
        (get("/", "content-length: +5"), "a signed length"),
        (get("/", "transfer-encoding: chunked, identity"), "chunked is not last"),
        (get("/", "transfer-encoding: gzip"), "no framing at all"),
        (get("/", "bad name: x"), "a space in a name"),
        (get("/", "x-a : x"), "a space before the colon"),
        (get("/", "x-a: b\r\n folded"), "a folded line"),
        (get("/", "x-a: b\x00c"), "NUL in a value"),
        (get("/").replace("\r\n", "\n"), "bare LF"),
        (get("/", long) + "zz\r\n", "a chunk size that is none"),
        (get("/", long) + "5\r\nhelloXX0\r\n\r\n", "a chunk without its CRLF"),
        (get("/", long) + "ffffffffffffffffff\r\n", "a chunk size over 64 bits"),
    ):
        refused_400(rig, data, what)


def refused_400(rig, data, what):
    with Wire(rig.port) as wire:
        wire.send(data)
        reply = wire.reply()
        check(reply is not None, f"{what}: closed without an answer")
        check(reply.status in (400, 501), f"{what}: {reply.status}, expected 400")
        check(wire.at_end(), f"{what}: the connection stays open")


@test()
def test_each_limit_has_its_own_status(rig):
    limits = {
        "request_line_bytes_max": "1KiB",
        "header_bytes_max": "1KiB",
        "headers_bytes_max": "4KiB",
        "headers_max": 20,
        "body_bytes_max": "10KiB",
    }
    rig.proxy([rig.origin()], listener={"limits": limits})
    post = "POST /echo HTTP/1.1\r\nhost: x\r\n"
    line = refused_any(rig, get("/" + "a" * 3000), (414, 431), "a long request line")
    check_equal(line.headers.get("x-lbd-reason"), "header_too_large", "reason")
    refused(rig, get("/", "x-a: " + "a" * 3000), 431, "a long header")
    refused(rig, get("/", *(f"x-{n}: 1" for n in range(30))), 431, "many headers")
    fields = [f"x-{n}: " + "a" * 900 for n in range(6)]
    refused(rig, get("/", *fields), 431, "a large head")
    reply = refused(rig, post + "content-length: 20000\r\n\r\n", 413, "a declared large body")
    check_equal(reply.headers.get("x-lbd-reason"), "body_too_large", "reason")
    chunk = "1000\r\n" + "a" * 0x1000 + "\r\n"
    data = post + "transfer-encoding: chunked\r\n\r\n" + chunk * 5 + "0\r\n\r\n"
    refused(rig, data, 413, "a large chunked body")
    fits = post + "content-length: 10240\r\n\r\n" + "a" * 10240
    with Wire(rig.port) as wire:
        wire.send(fits)
        check_equal(len(wire.reply().body), 10240, "a body at the limit")


def refused_any(rig, data, statuses, what):
    with Wire(rig.port) as wire:
        wire.send(data)
        reply = wire.reply()
        check(reply and reply.status in statuses, f"{what}: {reply and reply.status}")
        return reply


@test()
def test_a_slow_request_head_gets_408_and_an_idle_connection_ends_silently(rig):
    listener = {"timeouts": {"request_head": "500ms", "idle": "700ms"}}
    rig.proxy([rig.origin()], listener=listener)
    refused(rig, "GET / HTTP/1.1\r\nhost: ", 408, "a slow head")
    with Wire(rig.port) as wire:
        wire.send(get())
        check_equal(wire.reply().status, 200, "status")
        check(wire.at_end(3), "an idle connection stays open, or gets bytes nobody asked for")


@test()
def test_a_stalled_request_body_ends_with_408(rig):
    rig.proxy([rig.origin()], listener={"timeouts": {"body_idle": "500ms"}})
    data = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"
    refused(rig, data, 408, "a stalled body")


@test()
def test_an_upgrade_to_an_unknown_protocol_is_refused_and_connect_as_well(rig):
    rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(get("/id", "connection: upgrade", "upgrade: chat"))
        reply = wire.reply()
        check_equal(reply.status, 501, "an upgrade")
        check_equal(reply.headers.get("x-lbd-reason"), "unsupported", "why")
    with Wire(rig.port) as wire:
        wire.send("CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n")
        reply = wire.reply()
        check_equal(reply.status, 501, "CONNECT")
        check_equal(reply.headers.get("x-lbd-reason"), "unsupported", "why")


@test()
def test_host_and_path_rules_choose_the_group_in_order(rig):
    port = free_port()
    shop, static = rig.origin("shop"), rig.origin("static")
    config = simple_config(port, [shop])
    config["target_groups"]["static"] = {
        **config["target_groups"]["app"],
        "targets": [static.target()],
    }
    moved = {"redirect": {"path": "/new/#{path}", "status": 301}}
    config["listeners"]["public"]["rules"] = [
        {"name": "img", "when": {"host": "*.shop.example", "path": "/img/*"},
         "then": {"forward": "static"}},
        {"name": "old", "when": {"path": "/old/*"}, "then": moved},
        {"name": "fixed", "when": {"path": "/robots.txt"},
         "then": {"respond": {"status": 200, "body": "nothing here"}}},
    ]
    rig.lbd(config)
    www = {"Host": "www.shop.example"}
    check_equal(request(port, "/img/id", headers=www).headers["x-instance"], "static", "both hold")
    check_equal(request(port, "/img/id").headers["x-instance"], "shop", "only the path holds")
    check_equal(request(port, "/robots.txt").body, b"nothing here", "fixed response")
    reply = request(port, "/old/a?b=1", headers=www)
    check_equal(reply.status, 301, "redirect")
    check(reply.headers["location"].endswith("/new/old/a?b=1"), reply.headers["location"])


@test()
def test_ipv6_listens_and_ipv6_targets_answer(rig):
    origin = rig.origin("six", address="::1")
    rig.port = free_port("::1")
    listener = {"listen": [f"[::1]:{rig.port}", f"127.0.0.1:{rig.port}"]}
    rig.lbd(simple_config(rig.port, [origin], listener=listener))
    six = request(rig.port, "/headers", address="::1")
    check_equal(six.headers["x-instance"], "six", "over IPv6")
    forwarded = seen_fields(six)["forwarded"][0]
    check('"[::1]' in forwarded, f"an IPv6 address in Forwarded is quoted: {forwarded}")
    check_equal(request(rig.port, "/id").status, 200, "over IPv4 to an IPv6 target")


@test()
def test_sigterm_finishes_what_is_in_flight_and_exits_zero(rig):
    lbd = rig.proxy([rig.origin()])
    replies = []

    def slow():
        replies.append(request(rig.port, "/slow?ms=1500"))

    threads = [threading.Thread(target=slow) for _ in range(8)]
    idle = Wire(rig.port)
    idle.send(get())
    idle.reply()
    for thread in threads:
        thread.start()
    wait_until(lambda: lbd.metric("lbd_requests_in_flight") >= 8, 5, "8 requests in flight")
    lbd.stop(deadline=8)
    for thread in threads:
        thread.join()
    check_equal([r.status for r in replies], [200] * 8, "requests in flight at SIGTERM")
    check(all(r.headers.get("connection") == "close" for r in replies), "no connection: close")
    check(idle.at_end(1), "an idle connection outlives the daemon")
    try:
        request(rig.port, "/id")
    except OSError:
        return
    check(False, "the listener still accepts")


@test()
def test_sigterm_loses_no_request_of_clients_that_keep_asking(rig):
    """Each asks again the moment it is answered, so its next request crosses the stop."""
    lbd = rig.proxy(rig.origins("aa"))
    lost, said_close = [], []

    def ask_on():
        with Wire(rig.port) as wire:
            while True:
                wire.send(get("/id"))
                reply = wire.reply()
                if reply is None or reply.status != 200:
                    return lost.append(reply)
                if reply.headers.get("connection") == "close":
                    return said_close.append(reply)

    def counted(ask):
        with contextlib.suppress(ConnectionError):
            return ask()
        lost.append(None)

    threads = [threading.Thread(target=counted, args=(ask_on,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    lbd.stop(deadline=8)
    for thread in threads:
        thread.join()
    check_equal(len(lost), 0, "requests lost at SIGTERM")
    check_equal(len(said_close), 16, "clients told to close")


@test()
def test_sigterm_cuts_at_the_drain_deadline(rig):
    lbd = rig.proxy([rig.origin()], drain_deadline="1s")
    with Wire(rig.port) as wire:
        wire.send(get("/slow?ms=20000"))
        wait_until(lambda: lbd.metric("lbd_requests_in_flight") >= 1, 5, "in flight")
        lbd.stop(deadline=4)

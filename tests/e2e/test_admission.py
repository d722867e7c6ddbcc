"""Who may come in, how often and how many at once: access lists and limits."""
import contextlib
import threading
import time

from h2_client import H2Client
from http_text import get
from rig import RawOrigin, Wire, check, check_equal, request, test, wait_until
from test_rule_changes import FORWARD, ruled
from test_websocket import handshake, tunnel_target

OK = {"respond": {"status": 200, "body": "ok"}}
TRUSTING = {"trusted_proxies": ["127.0.0.0/8"]}


def status_for(rig, path="/", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(rig.port, path, headers=named).status


@test()
def test_a_denied_address_gets_403_with_its_reason_everywhere(rig):
    daemon = ruled(rig, [{"name": "all", "then": OK}], access={"deny": ["127.0.0.1"]})
    reply = request(rig.port, "/")
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (403, "access_denied"), "reply")
    count = daemon.metric("lbd_request_failures_total", reason="access_denied")
    check_equal(count, 1, "metric")
    line = daemon.stop() or daemon.access_log()[-1]
    check_equal((line["reason"], line["reason_flag"], line["rule"]),
                ("access_denied", "AD", "all"), "log")


@test()
def test_access_lists_of_listener_and_rule_both_count_behind_a_trusted_proxy_too(rig):
    rules = [{"when": {"path": "/admin"}, "then": OK, "access": {"allow": ["10.1.0.0/16"]}},
             {"then": OK}]
    ruled(rig, rules, access={"deny": ["10.1.9.0/24"]}, forwarded_headers=TRUSTING)
    for address, path, status in (
            ("10.1.0.1", "/admin", 200), ("10.2.0.1", "/admin", 403), ("10.2.0.1", "/", 200),
            ("10.1.9.1", "/admin", 403), ("10.1.9.1", "/", 403)):
        check_equal(status_for(rig, path, x_forwarded_for=address), status, f"{address} {path}")


@test()
def test_a_client_over_its_rate_gets_429_and_hears_when_to_come_again(rig):
    limits = [{"by": "source_ip", "requests": 1, "per": "2s", "burst": 3}]
    daemon = ruled(rig, [{"name": "all", "then": OK}], rate_limits=limits,
                   forwarded_headers=TRUSTING)
    for number in range(3):
        check_equal(status_for(rig, x_forwarded_for="192.0.2.1"), 200, f"request {number}")
    reply = request(rig.port, "/", headers={"x-forwarded-for": "192.0.2.1"})
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (429, "rate_limited"), "the fourth")
    check(reply.headers["retry-after"] in ("1", "2"), f"{reply.headers}")
    check_equal(status_for(rig, x_forwarded_for="192.0.2.2"), 200, "another client")
    check_equal(status_for(rig, x_forwarded_for="2001:db8::1"), 200, "IPv6")
    time.sleep(int(reply.headers["retry-after"]) + 0.1)
    check_equal(status_for(rig, x_forwarded_for="192.0.2.1"), 200, "after that time")
    check_equal(daemon.metric("lbd_request_failures_total", reason="rate_limited"), 1, "metric")
    evictions = [v for k, v in daemon.metrics().items() if "rate_limit_evictions_total{" in k]
    check_equal(evictions, [0], "keys that lost their place")


@test()
def test_rates_count_by_header_cookie_or_all_together(rig):
    def rule(path, **limit):
        limit = {"requests": 1, "per": "1h", "burst": 1, **limit}
        return {"when": {"path": path}, "then": OK, "rate_limits": [limit]}

    ruled(rig, [rule("/key", by="header", name="X-Key"), rule("/user", by="cookie", name="user"),
                rule("/all", by="all")])
    for path, headers, status in (
            ("/key", {"x_key": "a"}, 200), ("/key", {"x_key": "a"}, 429),
            ("/key", {"x_key": "b"}, 200), ("/key", {}, 200), ("/key", {}, 429),
            ("/user", {"cookie": "x=1; user=a"}, 200), ("/user", {"cookie": "user=a"}, 429),
            ("/user", {"cookie": "user=b"}, 200), ("/all", {}, 200), ("/all", {"x_key": "z"}, 429)):
        check_equal(status_for(rig, path, **headers), status, f"{path} {headers}")


@test()
def test_a_rate_is_one_over_all_workers_and_survives_a_reload(rig):
    limits = [{"requests": 1, "per": "1h", "burst": 40}]
    daemon = ruled(rig, [{"then": OK}], rate_limits=limits)
    answers = []

    def ask():  # connections of their own, so that every worker gets some
        with Wire(rig.port) as wire:
            for _ in range(5):
                wire.send(get("/"))
                answers.append(wire.reply().status)

    clients = [threading.Thread(target=ask) for _ in range(12)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    check_equal(answers.count(200), 40, f"of {len(answers)}")
    daemon.config["listeners"]["public"]["timeouts"] = {"idle": "9s"}
    check_equal(daemon.reload(daemon.config)[0], 0, "reload")
    check_equal(status_for(rig), 429, "after the reload")


class Held:
    """A target whose answers wait until they are let go."""

    def __init__(self, rig):
        self.going = threading.Event()
        self.origin = RawOrigin(rig, self.script)
        rig.closers.append(self.going.set)

    def script(self, connection, _):
        while self.origin.head(connection):
            self.going.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    def has(self, count):
        wait_until(lambda: len(self.origin.seen) >= count, 10, f"{count} requests at the target")


@test()
def test_as_many_requests_as_may_be_are_under_way_over_all_workers(rig):
    held = Held(rig)
    limits = [{"by": "header", "name": "X-Key", "requests": 6}]
    daemon = ruled(rig, [{"name": "all", "then": FORWARD, "in_flight_limits": limits}],
                   [held.origin])
    wires = [Wire(rig.port) for _ in range(20)]  # some at each worker
    for wire in wires:
        wire.send(get("/", "x-key: a"))
    refused = daemon.metric
    count = {"reason": "in_flight_limited"}
    wait_until(lambda: refused("lbd_request_failures_total", **count) == 14, 10, "14 refusals")
    held.has(6)
    reply = request(rig.port, "/", headers={"x-key": "a"})
    check_equal((reply.status, reply.headers["retry-after"], reply.headers["x-lbd-reason"]),
                (429, "1", "in_flight_limited"), "one more")
    other = Wire(rig.port)
    other.send(get("/", "x-key: b"))
    held.has(7)
    daemon.config["listeners"]["public"]["timeouts"] = {"idle": "9s"}
    check_equal(daemon.reload(daemon.config)[0], 0, "reload")
    check_equal(status_for(rig, x_key="a"), 429, "those under way are counted after a reload")
    held.going.set()
    check_equal(sorted(wire.reply().status for wire in wires), [200] * 6 + [429] * 14, "answers")
    check_equal(other.reply().status, 200, "another key")
    for wire in [*wires, other]:
        wire.close()
    wait_until(lambda: status_for(rig, x_key="a") == 200, 5, "and then the next")
    line = daemon.stop() or next(each for each in daemon.access_log() if each["status"] == 429)
    check_equal((line["reason"], line["reason_flag"], line["rule"], line["attempts"]),
                ("in_flight_limited", "RL", "all", []), "log")


@test()
def test_a_place_comes_back_however_a_request_ends(rig):
    """A client that leaves, a stream that is reset, a target that breaks, a tunnel's end."""
    held = Held(rig)
    tunnel = tunnel_target(rig, lambda connection: connection.recv(100))
    limits = [{"by": "all", "requests": 1}]
    rules = [{"when": {"path": "/chat"}, "then": {"forward": "chat"}}, {"then": FORWARD}]
    ruled(rig, rules, [held.origin], groups={"chat": [tunnel.target()]}, in_flight_limits=limits,
          http2={"cleartext": True})

    def taken():
        check_equal(status_for(rig), 429, "while it is under way")

    with Wire(rig.port) as wire:
        wire.send(get("/"))
        held.has(1)
        taken()
    with H2Client(rig.port) as client:
        wait_until(lambda: reaches(client, held, 2), 10, "the client that left gave it back")
        taken()
        client.h2.reset_stream(max(client.answers))
        client.flush()
        wait_until(lambda: opens_tunnel(rig, taken), 10, "the stream that was reset did")
    held.going.set()
    wait_until(lambda: status_for(rig) == 200, 10, "the tunnel that ended did")


def reaches(client, held, count):
    """One more request; False when it is refused and not the target's number `count`."""
    stream = client.start("/")
    wait_until(lambda: len(held.origin.seen) == count or arrived(client, stream), 10, "neither")
    return not client.answers[stream].ended


def arrived(client, stream):
    with contextlib.suppress(TimeoutError):
        client.receive(0.05)
    return client.answers[stream].ended


def opens_tunnel(rig, meanwhile):
    with Wire(rig.port) as wire:
        wire.send(handshake())
        if wire.head().status != 101:
            return False
        meanwhile()
        return True

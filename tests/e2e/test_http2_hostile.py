"""HTTP/2 clients that mean harm: requests that are none, and floods."""

import contextlib
import struct
import threading
import time

import hpack

from h2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Attacker,
    H2Client,
    frame,
)
from rig import RawOrigin, Wire, check, check_equal, request, simple_config, test, wait_until
from test_bodies_and_reload import Peak
from test_http2 import proxy


@test()
def test_what_http_2_does_not_allow_never_reaches_a_target(rig):
    def serve(connection, _):
        while origin.head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, serve)
    proxy(rig, [origin], group={"health_check": "off"})
    base = {":method": "GET", ":scheme": "http", ":authority": "shop.test", ":path": "/x"}

    def fields(*more, **changed):
        pseudo = {**base, **{":" + k: v for k, v in changed.items()}}
        return [(k, v) for k, v in pseudo.items() if v is not None] + list(more)

    refused = {
        "no method": fields(method=None),
        "no path": fields(path=None),
        "no scheme": fields(scheme=None),
        "empty path": fields(path=""),
        "relative path": fields(path="x"),
        "space in path": fields(path="/x HTTP/1.1"),
        "line break in path": fields(path="/x\r\nhost: evil"),
        "fragment": fields(path="/x#y"),
        "star without OPTIONS": fields(path="*"),
        "user information": fields(authority="evil@shop.test"),
        "slash in authority": fields(authority="shop.test/x"),
        "space in authority": fields(authority="shop test"),
        "host against authority": fields(("host", "other.test")),
        "two hosts": fields(("host", "shop.test"), ("host", "shop.test")),
        "connection": fields(("connection", "close")),
        "keep-alive": fields(("keep-alive", "1")),
        "proxy-connection": fields(("proxy-connection", "x")),
        "transfer-encoding": fields(("transfer-encoding", "chunked")),
        "upgrade": fields(("upgrade", "websocket")),
        "te": fields(("te", "gzip")),
        "upper case": fields(("X-Upper", "1")),
        "space in name": fields(("x y", "1")),
        "colon in name": fields(("x:y", "1")),
        "empty name": fields(("", "1")),
        "line break in value": fields(("x-a", "1\r\nx-b: 2")),
        "lone line feed": fields(("x-a", "1\nx-b: 2")),
        "NUL": fields(("x-a", "1\0")),
        "blank before": fields(("x-a", " 1")),
        "blank behind": fields(("x-a", "1\t")),
        "method with a space": fields(method="GET /y"),
        "other scheme": fields(scheme="ftp"),
        "two lengths": fields(("content-length", "0"), ("content-length", "0")),
        "signed length": fields(("content-length", "+0")),
        "length without a body": fields(("content-length", "5")),
        "unknown pseudo": [(":x", "1")] + fields(),
        "pseudo behind": fields(("x-a", "1")) + [(":path", "/y")],
        "two paths": [(":path", "/y")] + fields(),
        "status": [(":status", "200")] + fields(),
        "connect": [(":method", "CONNECT"), (":authority", "shop.test:22")],
    }
    for what, given in refused.items():
        with Attacker(rig.port) as client:
            block = client.encoder.encode(given)
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
            client.send(frame(PING, 0, 0, b"12345678"))
            answered = False
            for kind, _, stream, payload in client.frames(5):
                if stream == 1 and kind in (HEADERS, RST_STREAM):
                    answered = kind == RST_STREAM or payload[:1] not in (b"\x88",)  # not 200
                    break
                if kind == 7:
                    answered = True
                    break
            check(answered, f"{what}: not refused")
        check_equal(origin.seen, [], f"{what}: reached the target")
    bodies = {
        "less than its length": [frame(DATA, END_STREAM, 1, b"abc")],
        "more than its length": [frame(DATA, 0, 1, b"abcdef"), frame(DATA, END_STREAM, 1, b"g")],
    }
    for what, frames in bodies.items():
        with Attacker(rig.port) as client:
            client.send(
                client.request(1, "/x", "POST", ("content-length", "5"), end=False)
                + b"".join(frames)
            )
            check(any(kind == RST_STREAM for kind, *_ in client.frames(2)), f"{what}: not reset")
    for seen in origin.seen:
        check(seen.count(b"HTTP/1.1") == 1, f"two requests from one: {seen}")


def flood(rig, lbd, kind, send):
    """`send(attacker)` goes on until it is told to stop; honest requests pass beside it."""
    with Attacker(rig.port) as attacker, H2Client(rig.port) as honest:
        check_equal(honest.fetch("/id").status, 200, "before")
        with Peak(lbd) as peak:
            thread = threading.Thread(target=send, args=(attacker,), daemon=True)
            thread.start()
            code = attacker.goaway(15)
            check(
                code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, -1),
                f"{kind}: the connection ends with {code}",
            )
            check_equal(honest.fetch("/id").status, 200, "beside")
        peak.check(kind)
        thread.join(10)
    return code


def repeat(attacker, make, times):
    """Sends `times` frames in large writes, until the server hangs up."""
    for start in range(0, times, 200):
        if not attacker.send(b"".join(make(n) for n in range(start, start + 200))):
            return


FLOODS = {
    "ping": lambda a: repeat(a, lambda n: frame(PING, 0, 0, b"floodfld"), 100_000),
    "settings": lambda a: repeat(a, lambda n: frame(SETTINGS, 0, 0), 100_000),
    "priority": lambda a: repeat(
        a, lambda n: frame(PRIORITY, 0, 2 * n + 1, struct.pack("!IB", 0, 1)), 100_000
    ),
    "window updates": lambda a: repeat(
        a, lambda n: frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1)), 100_000
    ),
    "unknown frames": lambda a: repeat(a, lambda n: frame(0xEE, 0, 0, b"x"), 100_000),
}


@test(timeout=90)
def test_floods_of_control_frames_end_the_connection_and_nothing_else(rig):
    lbd = proxy(rig, [rig.origin()])
    for kind, send in FLOODS.items():
        check_equal(flood(rig, lbd, kind, send), ENHANCE_YOUR_CALM, kind)
    check_equal(lbd.metric("lbd_http2_floods_total", kind="control"), len(FLOODS), "counted")


@test(timeout=60)
def test_a_flood_of_empty_data_frames_ends_the_connection(rig):
    lbd = proxy(rig, [rig.origin()])

    def send(attacker):
        attacker.send(attacker.request(1, "/checksum", "POST", end=False))
        repeat(attacker, lambda n: frame(DATA, 0, 1), 100_000)

    check_equal(flood(rig, lbd, "empty data", send), ENHANCE_YOUR_CALM, "code")


@test()
def test_requests_that_are_reset_at_once_do_not_begin(rig):
    lbd = proxy(rig, [rig.origin()])
    with Attacker(rig.port) as client:
        sent = b""
        for stream in range(1, 41, 2):
            sent += client.request(stream) + frame(RST_STREAM, 0, stream, struct.pack("!I", 8))
        client.send(sent + client.request(41))
        answered = {stream for kind, _, stream, _ in client.frames(2) if kind == HEADERS}
    check_equal(answered, {41}, "answered")
    check_equal(lbd.metric("lbd_request_failures_total", reason="client_gone"), 20, "counted")
    check_equal(lbd.metric("lbd_requests_total", origin="target"), 1, "answered by the target")
    check_equal(lbd.metric("lbd_requests_in_flight"), 0, "in flight")
    lines = [each for each in lbd.access_log() if each.get("reason") == "client_gone"]
    check_equal([each["uri"] for each in lines], ["/id"] * 20, "logged")


@test(timeout=90)
def test_rapid_resets_end_the_connection_before_they_cost_the_targets(rig):
    origin = rig.origin()
    lbd = proxy(rig, [origin])

    def rapid(attacker):
        block = attacker.encoder.encode(
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/slow?ms=2000"),
            ]
        )
        first = frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
        attacker.send(first)
        again = attacker.encoder.encode(
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/slow?ms=2000"),
            ]
        )

        def pair(n):
            stream = 2 * n + 3
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, again) + frame(
                RST_STREAM, 0, stream, struct.pack("!I", 8)
            )

        repeat(attacker, pair, 50_000)

    before = origin.served()
    check_equal(flood(rig, lbd, "rapid reset", rapid), ENHANCE_YOUR_CALM, "code")
    check_equal(lbd.metric("lbd_http2_floods_total", kind="resets"), 1, "counted")
    check(
        origin.served() - before < 1000, f"{origin.served() - before} requests reached the target"
    )

    def made(attacker):  # MadeYouReset: a body unlike its length makes the server reset the stream
        for n in range(0, 20_000):
            head = attacker.request(
                2 * n + 1, "/slow?ms=2000", "POST", ("content-length", "5"), end=False
            )
            if not attacker.send(head + frame(DATA, END_STREAM, 2 * n + 1, b"x")):
                return

    check_equal(flood(rig, lbd, "made you reset", made), ENHANCE_YOUR_CALM, "made you reset")
    check_equal(lbd.metric("lbd_http2_floods_total", kind="resets"), 2, "counted")


@test(timeout=60)
def test_header_blocks_without_end_and_bombs_are_cut_in_constant_memory(rig):
    lbd = proxy(rig, [rig.origin()])

    def endless(attacker):
        attacker.send(frame(HEADERS, END_STREAM, 1, attacker.block()))
        repeat(attacker, lambda n: frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 20), 100_000)

    check(flood(rig, lbd, "continuation", endless) is not None, "goes on")

    def trickle(attacker):  # small CONTINUATION frames of nothing
        attacker.send(frame(HEADERS, END_STREAM, 1, attacker.block()))
        repeat(attacker, lambda n: frame(CONTINUATION, 0, 1), 100_000)

    check(flood(rig, lbd, "empty continuation", trickle) is not None, "goes on")
    with Attacker(rig.port) as attacker, Peak(lbd) as peak:
        # One field of 4,000 bytes in the dynamic table, then referred to by one byte each.
        big = attacker.encoder.encode(
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
                ("x-bomb", "b" * 3900),
            ]
        )
        attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, big))
        for stream in range(3, 203, 2):
            pseudo = attacker.encoder.encode(
                [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
            )
            bomb = pseudo + b"\xbe" * 16_000  # index 62: the newest entry
            attacker.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, bomb))
        check_equal(attacker.goaway(5), ENHANCE_YOUR_CALM, "bombs")
    peak.check("bombs")
    with H2Client(rig.port) as honest:
        check_equal(honest.fetch("/id").status, 200, "afterwards")


SPOOFED = b"GET /admin HTTP/1.1\r\nhost: internal\r\n\r\n"


@test()
def test_the_body_of_a_get_is_never_the_next_clients_request(rig):
    """A target that ignores the body of a GET reads it as a request: by HTTP/2 as by HTTP/1.1, lbd
    gives its connection to nobody else (defensive), or does not send it (strictest)."""

    def serve(connection, number):
        while head := origin.head(connection):
            path = head.split()[1]
            connections.setdefault(path, number)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    connections = {}
    origin = RawOrigin(rig, serve)
    for mode, status in (("defensive", "200"), ("strictest", "400")):
        lbd = rig.proxy(
            [origin],
            group={"health_check": "off"},
            listener={"http2": {"cleartext": True}, "desync": mode},
            workers=1,
        )
        connections.clear()
        with Attacker(rig.port) as client:
            length = ("content-length", str(len(SPOOFED)))
            client.send(client.request(1, "/get", "GET", length, end=False))
            client.send(frame(DATA, END_STREAM, 1, SPOOFED))
            heads = [payload for kind, _, _, payload in client.frames(0.5) if kind == HEADERS]
            got = dict(hpack.Decoder().decode(heads[0]))[":status"]
            check_equal(got, status, mode)
        check_equal(request(rig.port, "/victim").status, 200, "the victim")
        if b"/get" in connections:
            check(connections[b"/victim"] != connections[b"/get"], f"{mode}: shared a connection")
        wait_until(lambda: lbd.access_log(), 5, "no log line")
        check_equal(lbd.access_log()[0]["desync_reason"], "length_without_use", mode)
        lbd.stop()


@test(timeout=60)
def test_streams_that_end_while_nothing_can_be_written_leave_nothing_behind(rig):
    """Many are given up while a write waits for a client that does not read; then it reads."""
    big = bytes(range(256)) * (48 << 10)

    def serve(connection, _):
        while head := origin.head(connection):
            if head.split()[1] == b"/hold":
                time.sleep(5)
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(big) + big)

    origin = RawOrigin(rig, serve)
    config = {"group": {"health_check": "off"}, "workers": 1}
    lbd = rig.proxy([origin], listener={"http2": {"cleartext": True}}, **config)
    with Attacker(rig.port, receive_buffer=4096) as client:
        client.send(frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 1 << 30)))
        client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 2**31 - 1 - 65535)))
        client.send(client.request(1, "/big"))
        time.sleep(1)
        streams = range(3, 123, 2)
        client.send(b"".join(client.request(stream, "/hold") for stream in streams))
        time.sleep(0.3)
        for stream in (1, *streams):
            client.send(frame(RST_STREAM, 0, stream, struct.pack("!I", 8)))
        time.sleep(1.5)
        for _ in range(100):
            with Wire(rig.port) as wire:
                wire.send("GET /hold HTTP/1.1\r\nhost: " + "a" * 3000 + "\r\n\r\n")
        for _ in client.frames(1):
            pass
    check(lbd.process.running(), "it has crashed")
    check_equal(request(rig.port, "/big").body, big, "another client's answer")


@test()
def test_a_request_that_is_reset_is_in_the_log(rig):
    lbd = proxy(rig, [rig.origin()])
    with Attacker(rig.port) as client:
        client.send(client.request(1, "/id", "GET", ("connection", "close")))
        list(client.frames(0.3))
    wait_until(lambda: lbd.access_log(), 5, "no log line")
    row = lbd.access_log()[0]
    expected = ("HTTP/2.0", "GET", "client_protocol")
    check_equal((row["protocol"], row["method"], row["reason"]), expected, "log")
    check_equal(lbd.metric("lbd_request_failures_total", reason="client_protocol"), 1, "metric")


@test()
def test_a_body_must_bring_bytes_at_a_rate_over_http_2_too(rig):
    limits = {"body_bytes_per_second_min": 1000}
    proxy(rig, [rig.origin()], {"limits": limits, "timeouts": {"body_idle": "1s"}})
    with H2Client(rig.port) as client:
        stream = client.start("/checksum", "POST", [("content-length", "1000")], end=False)
        began = time.monotonic()
        while not client.answers[stream].head and time.monotonic() - began < 8:
            client.h2.send_data(stream, b"x")
            client.flush()
            with contextlib.suppress(TimeoutError):
                client.receive(0.2)
        check_equal(client.answers[stream].status, 408, "status")


@test()
def test_fewer_streams_after_a_reload_hold_for_new_connections_only(rig):
    lbd = proxy(rig, [rig.origin()])
    with H2Client(rig.port) as client:
        check_equal(client.fetch("/id").status, 200, "before")
        listener = {"http2": {"cleartext": True, "streams_max": 2}}
        config = simple_config(rig.port, [rig.origin("other")], listener=listener)
        check_equal(lbd.reload(config)[0], 0, "reload")
        streams = [client.start("/slow?ms=100") for _ in range(50)]
        statuses = {answer.status for answer in client.wait(*streams)}
        check_equal(statuses, {200}, "as many as the client was told")


@test()
def test_heads_that_never_end_where_a_read_does_are_no_slow_head(rig):
    """Each write ends in the middle of the next head: `request_head` bounds each of them, not the
    time in which there always is one."""
    proxy(rig, [rig.origin()], {"timeouts": {"request_head": "1s"}})
    with Attacker(rig.port) as client:
        heads = [client.request(2 * n + 1, "/id", "GET", ("x-filler", f"{n:02}" * 500))
                 for n in range(40)]
        client.send(heads[0][:100])
        for before, after in zip(heads, heads[1:]):
            time.sleep(0.05)
            check(client.send(before[100:] + after[:100]), "the server has hung up")
        client.send(heads[-1][100:])
        answered = 0
        for kind, _, _, payload in client.frames(5):
            check(kind != GOAWAY, f"GOAWAY: {payload}")
            answered += kind == HEADERS
            if answered == len(heads):
                break
        check_equal(answered, len(heads), "answers")


@test()
def test_what_a_flood_takes_with_it_is_logged_as_the_clients_breach(rig):
    lbd = proxy(rig, [rig.origin()])
    with Attacker(rig.port) as client:
        client.send(client.request(1, "/slow?ms=5000"))
        time.sleep(0.3)
        repeat(client, lambda n: frame(PING, 0, 0, b"floodfld"), 100_000)
        check_equal(client.goaway(10), ENHANCE_YOUR_CALM, "code")
    wait_until(lambda: lbd.access_log(), 5, "no log line")
    check_equal(lbd.access_log()[0]["reason"], "client_protocol", "log")
    check_equal(lbd.metric("lbd_request_failures_total", reason="client_protocol"), 1, "metric")


@test()
def test_a_response_that_is_not_taken_while_its_target_rests_is_a_client_timeout(rig):
    """lbd holds all there is of it and waits for the target, not the client, when time is up."""

    def serve(connection, _):
        origin.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 1000)
        time.sleep(10)

    origin = RawOrigin(rig, serve)
    listener = {"timeouts": {"write_idle": "1s"}}
    lbd = proxy(rig, [origin], listener, group={"health_check": "off"})
    with Attacker(rig.port) as client:
        client.send(frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0)) + client.request(1, "/x"))
        ends = [kind for kind, *_ in client.frames(4) if kind == RST_STREAM]
        check_equal(len(ends), 1, "resets of the stream")
    wait_until(lambda: lbd.access_log(), 5, "no log line")
    line = lbd.access_log()[0]
    check_equal((line["status"], line["reason"], line["cut"]), (200, "client_timeout", True), "log")

"""HTTP/2 with clients: python-h2, curl and h2load; and clients that mean harm."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import zlib

from h2_client import (
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    NO_ERROR,
    RST_STREAM,
    SETTINGS,
    Attacker,
    H2Client,
    frame,
)
from rig import RawOrigin, Wire, check, check_equal, free_port, simple_config, test, wait_until
from test_bodies_and_reload import Peak
from test_tls import Authority, https_config

MIB = 1 << 20
CLEARTEXT = {"http2": {"cleartext": True}}


def proxy(rig, targets, listener=None, **more):
    return rig.proxy(targets, listener={**CLEARTEXT, **(listener or {})}, **more)


@test()
def test_requests_and_answers_pass_on_one_connection_with_their_fields(rig):
    lbd = proxy(rig, [rig.origin()])
    with H2Client(rig.port) as client:
        seen = client.fetch(
            "/headers", fields=[("cookie", "a=1"), ("cookie", "b=2"), ("x-mine", "yes")]
        )
        check_equal(seen.status, 200, "status")
        for line in ("a=1; b=2", "shop.test", "yes"):
            check(line.encode() in seen.body, f"{line} is not among {seen.body}")
        check("x-request-id" in seen.fields and "transfer-encoding" not in seen.fields, "fields")
        head = client.fetch("/id", "HEAD")
        check_equal((head.status, head.body), (200, b""), "HEAD")
        check_equal(client.fetch("/status/404").status, 404, "a 404 of the target")
    check_equal(lbd.metric("lbd_http2_connections_total"), 1, "connections")
    wait_until(lambda: len(lbd.access_log()) == 3, 5, "no log")
    check_equal({row["protocol"] for row in lbd.access_log()}, {"HTTP/2.0"}, "in the log")


@test()
def test_a_hundred_requests_at_once_are_answered_each_with_its_own(rig):
    proxy(rig, rig.origins("aab"))
    with H2Client(rig.port) as client:
        sizes = {
            client.start(f"/size?n={1000 * (n % 50) + n}"): 1000 * (n % 50) + n for n in range(100)
        }
        for stream, answer in zip(sizes, client.wait(*sizes, deadline=30)):
            check_equal((answer.status, len(answer.body)), (200, sizes[stream]), f"stream {stream}")


@test()
def test_alpn_chooses_and_http_1_clients_are_served_beside(rig):
    authority, port = Authority(rig.folder), free_port()
    config = https_config(port, [rig.origin()], {"certificates": [authority.make("shop")]})
    lbd = rig.lbd(config)
    with H2Client(port, tls=True) as client:
        check_equal(client.wire.selected_alpn_protocol(), "h2", "ALPN")
        check_equal(client.fetch("/id").status, 200, "over TLS")
    command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    for option, expected in (("--http2", "2 200"), ("--http1.1", "1.1 200")):
        got = subprocess.run(
            [*command, option, f"https://127.0.0.1:{port}/id"], capture_output=True
        )
        check_equal(got.stdout.decode(), expected, option)
    config["listeners"]["public"]["http2"] = {"enabled": False}
    check_equal(lbd.reload(config)[0], 0, "reload")
    got = subprocess.run([*command, "--http2", f"https://127.0.0.1:{port}/id"], capture_output=True)
    check_equal(got.stdout.decode(), "1.1 200", "switched off")


@test()
def test_a_plain_listener_takes_both_and_closes_on_neither(rig):
    proxy(rig, [rig.origin()])
    url = f"http://127.0.0.1:{rig.port}/id"
    for option in ("--http2-prior-knowledge", "--http1.1"):
        got = subprocess.run(["curl", "-s", option, url], capture_output=True)
        check(b"app" in got.stdout, f"{option}: {got}")
    with socket.create_connection(("127.0.0.1", rig.port), 5) as wire:  # byte by byte
        for byte in b"GET /id HTTP/1.1\r\nhost: x\r\n\r\n":
            wire.sendall(bytes([byte]))
        check(wire.recv(4096).startswith(b"HTTP/1.1 200"), "split HTTP/1.1")
    with socket.create_connection(("127.0.0.1", rig.port), 5) as wire:
        wire.sendall(b"INVALID CONNECTION PREFACE\r\n\r\n")
        check_equal(wire.recv(4096), b"", "answer to neither")


@test(timeout=90)
def test_bodies_stream_both_ways_in_constant_memory(rig):
    lbd = proxy(rig, [rig.origin()])
    size = 1264 * MIB
    with Peak(lbd) as peak:
        command = [
            "curl",
            "-s",
            "--http2-prior-knowledge",
            f"http://127.0.0.1:{rig.port}/size?n={size}",
        ]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE)
        got, expected = 0, bytes(range(256)) * 4096
        while piece := reader.stdout.read(MIB):
            check(piece == expected[: len(piece)], f"wrong bytes after {got}")
            got += len(piece)
        check_equal(got, size, "bytes")
    peak.check("download")
    body = os.urandom(MIB)
    for fields in ([("content-length", str(16 * MIB))], []):
        with Peak(lbd) as peak, H2Client(rig.port) as client:
            stream = client.start("/checksum", "POST", fields, end=False)
            crc = 0
            for number in range(16):
                crc = zlib.crc32(body, crc)
                client.send(stream, body, end=number == 15)
            answer = client.wait(stream)[0]
            check(f'"crc32": {crc}'.encode() in answer.body, f"{fields}: {answer.body}")
        peak.check("upload")


@test()
def test_a_client_that_takes_nothing_holds_its_target_back_and_is_reset(rig):
    lbd = proxy(rig, [rig.origin()], {"timeouts": {"write_idle": "1s"}})
    with Peak(lbd) as peak, H2Client(rig.port, auto_window=False) as client:
        stuck = client.start(f"/size?n={256 * MIB}")
        answer = client.wait(stuck)[0]
        check(answer.reset is not None, "was not reset")
        check(len(answer.body) <= 65535, "more than its window")
        client.h2.increment_flow_control_window(1 << 20)  # of the connection
        check_equal(client.fetch("/id").status, 200, "another request beside")
    peak.check("a client that takes nothing")
    check_equal(lbd.metric("lbd_request_failures_total", reason="client_timeout"), 1, "reason")


@test()
def test_an_upload_waits_for_a_slow_target_without_filling_memory(rig):
    gate = threading.Event()

    def slow(connection, _):
        came = origin.head(connection)
        gate.wait(20)
        got = len(came) - came.index(b"\r\n\r\n") - 4
        while got < 64 * MIB:
            got += len(connection.recv(1 << 16))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, slow)
    lbd = proxy(rig, [origin], group={"health_check": "off"})
    with Peak(lbd) as peak, H2Client(rig.port) as client:
        stream = client.start("/x", "POST", [("content-length", str(64 * MIB))], end=False)
        sent = 0
        client.receive()
        while (room := client.h2.local_flow_control_window(stream)) > 0 and sent < 64 * MIB:
            piece = b"x" * min(room, 16384)
            client.h2.send_data(stream, piece)
            client.flush()
            sent += len(piece)
            if client.h2.local_flow_control_window(stream) == 0:
                client.wire.settimeout(1)
                try:
                    client.receive(1)
                except TimeoutError:
                    break
        check(sent < 24 * MIB, f"{sent} bytes were taken although the target reads none")
        gate.set()
        client.send(stream, b"x" * (64 * MIB - sent))
        check_equal(client.wait(stream)[0].body, b"ok", "answer")
    peak.check("a slow target")


@test()
def test_a_client_that_resets_a_request_ends_it_at_the_target(rig):
    ended = threading.Event()

    def watch(connection, _):
        origin.head(connection)
        if connection.recv(1) == b"":
            ended.set()

    origin = RawOrigin(rig, watch)
    lbd = proxy(rig, [origin], group={"health_check": "off"})
    with H2Client(rig.port) as client:
        stream = client.start("/x")
        wait_until(lambda: origin.seen, 5, "the request does not arrive")
        client.h2.reset_stream(stream, 8)
        client.flush()
        check(ended.wait(5), "the target's connection stays")
        wait_until(lambda: lbd.access_log(), 5, "no log line")
    check_equal(lbd.access_log()[0]["reason"], "client_gone", "reason")


@test()
def test_an_answer_that_breaks_off_is_reset_and_not_ended(rig):
    def cut(connection, _):
        origin.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    origin = RawOrigin(rig, cut)
    proxy(rig, [origin], group={"health_check": "off"})
    with H2Client(rig.port) as client:
        answer = client.fetch("/x")
        check_equal((answer.status, answer.body, answer.ended), (200, b"half", False), "answer")
        check(answer.reset is not None, "was not reset")


@test()
def test_interim_answers_and_expect_continue_pass(rig):
    def hints(connection, _):
        origin.head(connection)
        connection.sendall(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        )

    origin = RawOrigin(rig, hints)
    proxy(rig, [origin], group={"health_check": "off"})
    with H2Client(rig.port) as client:
        answer = client.fetch("/x")
        check_equal([dict(each)[":status"] for each in answer.interim], ["103"], "hints")
        stream = client.start(
            "/x", "POST", [("expect", "100-continue"), ("content-length", "4")], end=False
        )
        while not client.answers[stream].interim and client.receive():
            pass
        check_equal(dict(client.answers[stream].interim[0])[":status"], "100", "continue")
        client.send(stream, b"body")
        check_equal(client.wait(stream)[0].body, b"ok", "answer")


@test()
def test_limits_are_those_of_the_listener_and_are_answered(rig):
    limits = {
        "headers_max": 20,
        "headers_bytes_max": "8KiB",
        "header_bytes_max": "4KiB",
        "body_bytes_max": "1KiB",
    }
    lbd = proxy(rig, [rig.origin()], {"limits": limits})
    many = [(f"x-{n}", "v") for n in range(30)]
    with H2Client(rig.port) as client:
        check_equal(client.fetch("/id", fields=many).status, 431, "many fields")
        check_equal(client.fetch("/id", fields=[("x-big", "v" * 5000)]).status, 431, "a long field")
        check_equal(client.fetch("/checksum", "POST", body=b"x" * 2000).status, 413, "a large body")
        check_equal(client.fetch("/id").status, 200, "an honest one on the same connection")
    expected = ["header_too_large"] * 2 + ["body_too_large"]
    reasons = lambda: [row["reason"] for row in lbd.access_log() if row["status"] >= 400]
    wait_until(lambda: reasons() == expected, 5, f"reasons in the log: {reasons()}")


@test()
def test_more_streams_than_allowed_are_refused_and_the_others_served(rig):
    proxy(rig, [rig.origin()], {"http2": {"cleartext": True, "streams_max": 5}})
    with Attacker(rig.port) as client:
        list(client.frames(0.3))  # its settings count once it could know them
        client.send(frame(SETTINGS, 1, 0))
        client.send(b"".join(client.request(2 * n + 1, "/slow?ms=500") for n in range(5)))
        time.sleep(0.1)
        client.send(client.request(11))
        ends = {
            stream: kind
            for kind, flags, stream, _ in client.frames(3)
            if kind in (HEADERS, RST_STREAM, 7)
        }
        check(RST_STREAM in ends.values() or 7 in ends.values(), f"not refused: {ends}")


@test(timeout=60)
def test_silent_connections_end_in_their_time(rig):
    lbd = proxy(
        rig,
        [rig.origin()],
        {"timeouts": {"idle": "1s", "request_head": "700ms", "body_idle": "500ms"}},
    )
    with Attacker(rig.port) as silent:
        began = time.monotonic()
        check_equal(silent.goaway(10), NO_ERROR, "no request at all")
        check(time.monotonic() - began < 4, "late")
    with Attacker(rig.port) as half:
        half.send(frame(HEADERS, END_STREAM, 1, half.block()))  # never ends its head
        check_equal(half.goaway(10), ENHANCE_YOUR_CALM, "half a head")
    with H2Client(rig.port) as idle:
        check_equal(idle.fetch("/id").status, 200, "a request")
        while idle.receive():
            pass
        check_equal(idle.goaway, NO_ERROR, "goodbye")
    with H2Client(rig.port) as slow:
        stream = slow.start("/checksum", "POST", [("content-length", "10")], end=False)
        answer = slow.wait(stream)[0]
        check_equal(answer.status, 408, "a body that does not come")
    failures = lbd.metric("lbd_request_failures_total", reason="client_timeout")
    check_equal(failures, 2, "counted: half a head, and the body")


@test(timeout=60)
def test_sigterm_finishes_streams_and_tells_clients_to_go(rig):
    lbd = proxy(rig, [rig.origin()])
    with H2Client(rig.port) as client:
        streams = [client.start("/slow?ms=1500") for _ in range(10)]
        client.receive()
        lbd.process.signal(signal.SIGTERM)
        answers = client.wait(*streams)
        check_equal([each.status for each in answers], [200] * 10, "answers")
        while client.receive():
            pass
        check(client.goaway is not None, "no GOAWAY")
    check_equal(lbd.process.wait(10), 0, "exit code")


@test(timeout=60)
def test_reloads_and_removed_listeners_lose_no_stream(rig):
    lbd = proxy(rig, [rig.origin()])
    with H2Client(rig.port) as client:
        first = client.start("/slow?ms=1000")
        client.receive()
        config = simple_config(rig.port, [rig.origin("other")], listener=CLEARTEXT)
        check_equal(lbd.reload(config)[0], 0, "reload")
        check(b"other" in client.fetch("/id").body, "the new target serves the same connection")
        check_equal(client.wait(first)[0].status, 200, "the request under way")
        last = client.start("/slow?ms=1000")
        client.receive()
        elsewhere = simple_config(free_port(), [rig.origin("third")], listener=CLEARTEXT)
        elsewhere["listeners"] = {"renamed": elsewhere["listeners"]["public"]}
        check_equal(lbd.reload(elsewhere)[0], 0, "reload")
        check_equal(client.wait(last)[0].status, 200, "under way when its listener went")
        while client.receive():
            pass
        check(client.goaway is not None, "no GOAWAY")


@test(timeout=60)
def test_h2load_finds_no_failure_plain_or_over_tls(rig):
    authority, port = Authority(rig.folder), free_port()
    config = https_config(port, rig.origins("ab"), {"certificates": [authority.make("shop")]})
    plain = free_port()
    config["listeners"]["plain"] = {
        "listen": [f"127.0.0.1:{plain}"],
        "default": {"forward": "app"},
        **CLEARTEXT,
    }
    rig.lbd(config)
    for url in (f"http://127.0.0.1:{plain}/id", f"https://127.0.0.1:{port}/id"):
        command = ["h2load", "-n", "2000", "-c", "4", "-m", "10", url]
        out = subprocess.run(command, capture_output=True, text=True, timeout=40).stdout
        check("2000 succeeded, 0 failed, 0 errored" in out, f"{url}: {out}")


@test()
def test_trailers_pass_between_the_protocols_both_ways(rig):
    def serve(connection, _):
        while head := origin.head(connection):
            body = head.partition(b"\r\n\r\n")[2]
            while b"POST" in head and not re.search(rb"\r\n0\r\n(.+\r\n)*\r\n$", b"\r\n" + body):
                body += connection.recv(65536)
            origin.bodies.append(body)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
                b"2\r\nok\r\n0\r\nX-Sum: 42\r\nSet-Cookie: a=b\r\n\r\n"
            )

    origin = RawOrigin(rig, serve)
    origin.bodies = []
    proxy(rig, [origin], group={"health_check": "off"})
    with H2Client(rig.port) as client:
        seen = client.fetch("/down")
        check_equal((seen.status, seen.body), (200, b"ok"), "answer")
        check_equal(seen.trailers, [("x-sum", "42")], "trailers of the target")
        stream = client.start("/up", "POST", end=False)
        client.send(stream, b"abc", end=False)
        client.h2.send_headers(stream, [("x-digest", "7"), ("host", "evil")], end_stream=True)
        client.flush()
        answer = client.wait(stream)[0]
        check(answer.reset is not None or answer.status == 400, "a trailer that routes was taken")
        stream = client.start("/up", "POST", end=False)
        client.send(stream, b"abc", end=False)
        client.h2.send_headers(stream, [("x-digest", "7"), ("cookie", "no")], end_stream=True)
        client.flush()
        check_equal(client.wait(stream)[0].status, 200, "POST with trailers")
    check_equal(origin.bodies[-1], b"3\r\nabc\r\n0\r\nx-digest: 7\r\n\r\n", "what the target got")


@test()
def test_a_proxy_that_a_reload_no_longer_trusts_is_believed_no_more(rig):
    """On connections that it has open too, over either protocol."""
    trusting = {
        "forwarded_headers": {"trusted_proxies": ["127.0.0.0/8"]},
        "access": {"allow": ["192.0.2.7/32"]},
    }
    lbd = proxy(rig, [rig.origin()], listener=trusting)
    claim = ("x-forwarded-for", "192.0.2.7")
    text = b"GET /id HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.7\r\n\r\n"
    with H2Client(rig.port) as client, Wire(rig.port) as wire:
        check_equal(client.fetch("/id", fields=[claim]).status, 200, "HTTP/2, trusted")
        wire.send(text)
        check_equal(wire.reply().status, 200, "HTTP/1.1, trusted")
        lbd.config["listeners"]["public"]["forwarded_headers"] = {}
        check_equal(lbd.reload(lbd.config)[0], 0, "reload")
        check_equal(client.fetch("/id", fields=[claim]).status, 403, "HTTP/2, no longer")
        wire.send(text)
        check_equal(wire.reply().status, 403, "HTTP/1.1, no longer")

"""WebSocket: the handshake, and the tunnel behind it, seen from both ends."""
import os
import signal
import threading
import time

from http_text import NO_CHECKS
from rig import RawOrigin, Wire, check, check_equal, free_port, request, slowness, test
from rig import wait_until
from test_bodies_and_reload import MIB, Peak
from test_tls import Authority, connect, https_config

FIELDS = ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13",
          "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")


def handshake(path="/chat", fields=FIELDS, line="GET {} HTTP/1.1"):
    return "\r\n".join([line.format(path), "host: a", *fields]) + "\r\n\r\n"


def tunnel_target(rig, script, reply=SWITCH):
    """A target that answers the handshake with `reply` and then runs `script(connection)`."""

    def serve(connection, _):
        if origin.head(connection):
            connection.sendall(reply)
            script(connection)

    origin = RawOrigin(rig, serve)
    return origin


def read_to_end(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def opened(rig, wire):
    """Shakes hands; the fields of the 101."""
    wire.send(handshake())
    reply = wire.head()
    check_equal(reply and reply.status, 101, "the handshake")
    return reply


def last_line(lbd, count=1):
    wait_until(lambda: len(lbd.access_log()) >= count, 10, "no line in the access log")
    return lbd.access_log()[count - 1]


@test()
def test_a_websocket_client_and_server_talk_through_lbd(rig):
    from websockets.sync.client import connect
    from websockets.sync.server import serve

    def echo(connection):
        for message in connection:
            connection.send(message)

    server = serve(echo, "127.0.0.1", 0, max_size=64 * MIB, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rig.closers.append(server.shutdown)
    port = server.socket.getsockname()[1]
    lbd = rig.proxy([{"address": f"127.0.0.1:{port}", "zone": "a"}], NO_CHECKS)
    big = os.urandom(8 * MIB)
    with connect(f"ws://127.0.0.1:{rig.port}/chat", max_size=64 * MIB, compression=None) as client:
        for message in ("hello", "", "ü" * 1000, b"\x00\xff", big, "bye"):
            client.send(message)
            check(client.recv(timeout=30 * slowness()) == message, "another message came back")
        check(client.ping().wait(10), "no pong")
        check_equal(lbd.metric("lbd_tunnels", listener="public"), 1, "tunnels open")
        check_equal(lbd.metric("lbd_requests_in_flight", target_group="app"), 1, "in flight")
    check_equal(client.close_code, 1000, "close code")
    line = last_line(lbd)
    check_equal((line["status"], line["origin"]), (101, "target"), "logged")
    check(line["request_bytes"] > len(big) < line["response_bytes"], f"bytes: {line}")
    check("reason" not in line and "cut" not in line, f"a clean end is logged as a failure: {line}")
    check_equal(lbd.metric("lbd_tunnels", listener="public"), 0, "tunnels open after it")
    check_equal(lbd.metric("lbd_tunnels_total", listener="public"), 1, "tunnels opened")
    check_equal(lbd.metric("lbd_requests_in_flight", target_group="app"), 0, "in flight after it")


@test()
def test_the_handshake_reaches_the_target_as_it_must(rig):
    origin = tunnel_target(rig, read_to_end)
    rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        reply = opened(rig, wire)
        check_equal(reply.all("upgrade"), ["websocket"], "Upgrade for the client")
        check_equal(reply.all("connection"), ["Upgrade"], "Connection for the client")
        check_equal(reply.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "accept")
    seen = origin.seen[0].decode().split("\r\n")
    for line in ("Connection: Upgrade", "Upgrade: websocket", "sec-websocket-version: 13"):
        check_equal(seen.count(line), 1, f"{line!r} at the target")


@test()
def test_the_client_may_end_its_half_first(rig):
    got = []

    def script(connection):
        got.append(read_to_end(connection))
        connection.sendall(b"x" * 100_000)

    lbd = rig.proxy([tunnel_target(rig, script)], NO_CHECKS)
    with Wire(rig.port) as wire:
        opened(rig, wire)
        wire.send(b"last words")
        wire.socket.shutdown(1)
        check_equal(len(wire.stream.read()), 100_000, "what came after the half-close")
    check_equal(got, [b"last words"], "what the target got")
    line = last_line(lbd)
    check_equal((line["request_bytes"], line["response_bytes"]), (10, 100_000), "bytes logged")
    check("reason" not in line, f"logged as a failure: {line}")


@test()
def test_the_target_may_end_its_half_first(rig):
    got = []

    def script(connection):
        connection.sendall(b"last words")
        connection.shutdown(1)
        got.append(read_to_end(connection))

    rig.proxy([tunnel_target(rig, script)], NO_CHECKS)
    with Wire(rig.port) as wire:
        opened(rig, wire)
        check_equal(wire.stream.read(), b"last words", "what the client got")
        wire.send(b"y" * 100_000)
        wire.close()
    wait_until(lambda: got, 10, "the target saw no end")
    check_equal(len(got[0]), 100_000, "what came after the half-close")


@test()
def test_bytes_right_behind_the_handshake_are_the_tunnels_both_ways(rig):
    got = []

    def script(connection):
        got.append(connection.recv(65536))

    rig.proxy([tunnel_target(rig, script, SWITCH + b"\x81\x02hi")], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send(handshake() + "\x81\x05early")
        check_equal(wire.head().status, 101, "the handshake")
        check_equal(wire.stream.read(4), b"\x81\x02hi", "what came with the 101")
        wait_until(lambda: got, 10, "nothing came")
    check_equal(got, [b"\x81\x05early"], "what the target got")


@test()
def test_a_refused_handshake_is_an_answer_and_no_tunnel(rig):
    early = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
    no = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"
    origin = tunnel_target(rig, read_to_end, no)
    lbd = rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send(handshake() + early)
        check_equal((wire.reply().status), 200, "status")
        check(wire.at_end(), "what came behind a failed handshake was read as a request")
    check_equal(len(origin.seen), 1, "requests at the target")
    check_equal(lbd.metric("lbd_tunnels_total", listener="public"), 0, "tunnels")


@test()
def test_a_101_that_does_not_fit_what_was_asked_is_a_bad_response(rig):
    for fields in (b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\n", b"",
                   b"Connection: upgrade\r\n", b"Connection: upgrade\r\nUpgrade: websocket, x\r\n",
                   b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
                   b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"):
        origin = tunnel_target(rig, read_to_end, b"HTTP/1.1 101 X\r\n" + fields + b"\r\nraw")
        lbd = rig.proxy([origin], {**NO_CHECKS, "retries": {"attempts": 1}})
        with Wire(rig.port) as wire:
            wire.send(handshake())
            check_equal(wire.reply().status, 502, f"status with {fields}")
        check_equal(last_line(lbd)["reason"], "bad_response", "reason")
        lbd.stop()


@test()
def test_what_is_no_websocket_handshake_is_refused(rig):
    origin = tunnel_target(rig, read_to_end)
    lbd = rig.proxy([origin], NO_CHECKS)
    body = (*FIELDS, "content-length: 3")
    for name, sent, status in (
        ("another protocol", handshake(fields=("connection: upgrade", "upgrade: tls/1.0")), 501),
        ("two protocols", handshake(fields=("connection: upgrade", "upgrade: websocket, x")), 501),
        ("two fields", handshake(fields=(*FIELDS, "upgrade: x")), 501),
        ("not said to this hop", handshake(fields=FIELDS[1:]), 501),
        ("another method", handshake(line="POST {} HTTP/1.1"), 501),
        ("HTTP/1.0", handshake(line="GET {} HTTP/1.0"), 501),
        ("a body", handshake(fields=body) + "abc", 400),
        ("a chunked body", handshake(fields=(*FIELDS, "transfer-encoding: chunked")), 400),
    ):
        with Wire(rig.port) as wire:
            wire.send(sent)
            check_equal(wire.reply().status, status, name)
    check_equal(origin.connections, 0, "connections to the target")
    off = {"upgrade": "off", "default": {"forward": "app"}}
    lbd.stop()
    rig.proxy([origin], NO_CHECKS, off)
    check_equal(request(rig.port, "/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
                .status, 501, "with upgrades off")


def check_limit(rig, limits, talks):
    """A tunnel is ended by its limit; `talks`: although something moves all the time."""

    def script(connection):
        while talks:
            connection.sendall(b"tick")
            time.sleep(0.1)
        read_to_end(connection)

    lbd = rig.proxy([tunnel_target(rig, script)], NO_CHECKS, {"timeouts": limits})
    with Wire(rig.port) as wire:
        begin = time.monotonic()
        opened(rig, wire)
        try:
            wire.stream.read()
        except ConnectionResetError:
            pass
        check(time.monotonic() - begin >= 0.5, "it ended too soon")
    line = last_line(lbd)
    check_equal((line["status"], line["reason"], line.get("cut")), (101, "tunnel_timeout", True),
                "logged")
    check_equal(lbd.metric("lbd_request_failures_total", reason="tunnel_timeout"), 1, "counted")


@test()
def test_a_tunnel_in_which_nothing_moves_is_ended(rig):
    check_limit(rig, {"tunnel_idle": "500ms"}, talks=False)


@test()
def test_a_tunnel_lasts_no_longer_than_its_limit(rig):
    check_limit(rig, {"tunnel_idle": "300ms", "tunnel_total": "700ms"}, talks=True)


@test()
def test_limits_of_requests_do_not_end_a_tunnel(rig):
    limits = {"total": "300ms", "body_idle": "200ms", "write_idle": "200ms", "idle": "200ms"}
    group = {**NO_CHECKS, "timeouts": {"body_idle": "200ms", "response_head": "200ms"}}
    rig.proxy([tunnel_target(rig, lambda c: c.sendall(c.recv(100)))], group, {"timeouts": limits})
    with Wire(rig.port) as wire:
        opened(rig, wire)
        time.sleep(1)
        wire.send(b"still there")
        check_equal(wire.stream.read(), b"still there", "echo after a second")


@test()
def test_a_tunnel_lives_until_the_drain_deadline(rig):
    def echo(connection):
        while piece := connection.recv(65536):
            connection.sendall(piece)

    lbd = rig.proxy([tunnel_target(rig, echo)], NO_CHECKS, drain_deadline="2s")
    with Wire(rig.port) as wire:
        opened(rig, wire)
        lbd.process.signal(signal.SIGTERM)
        time.sleep(0.5)
        wire.send(b"still here?")
        check_equal(wire.stream.read(11), b"still here?", "echo while draining")
        begin = time.monotonic()
        check(wire.at_end(10), "it outlives the drain deadline")
        check(time.monotonic() - begin > 0.5, "it ended before the drain deadline")
    check_equal(lbd.process.wait(10), 0, "exit code")
    line = last_line(lbd)
    check_equal((line["status"], line["reason"]), (101, "drain_deadline"), "logged")


@test("default")
def test_a_tunnel_whose_reader_is_slow_takes_no_memory(rig):
    size = 128 * MIB
    sent = []

    def script(connection):
        piece = bytes(MIB)
        for _ in range(size // MIB):
            connection.sendall(piece)
            sent.append(1)

    lbd = rig.proxy([tunnel_target(rig, script)], NO_CHECKS)
    with Wire(rig.port, timeout=60) as wire, Peak(lbd) as peak:
        opened(rig, wire)
        time.sleep(1)
        check(len(sent) < 32, f"{len(sent)} MiB were taken although nobody read")
        got = 0
        while piece := wire.stream.read(MIB):
            got += len(piece)
        check_equal(got, size, "bytes")
    peak.check("a tunnel")


@test()
def test_a_websocket_passes_through_tls_and_its_ends_are_seen(rig):
    got = []

    def script(connection):
        connection.sendall(connection.recv(100))
        connection.shutdown(1)
        got.append(read_to_end(connection))

    port = free_port()
    files = Authority(rig.folder).make("shop")
    config = https_config(port, [tunnel_target(rig, script)], {"certificates": [files]})
    config["target_groups"]["app"].update(NO_CHECKS)
    lbd = rig.lbd(config)
    with connect(port) as wire:
        wire.sendall(handshake().encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += wire.recv(1)
        check(head.startswith(b"HTTP/1.1 101 "), f"the handshake: {head}")
        wire.sendall(b"hello")
        check_equal(wire.recv(100), b"hello", "echo")
        check_equal(wire.recv(100), b"", "the end of the target's half")
        wire.sendall(b"y" * 1000)
        wire.unwrap().close()
    wait_until(lambda: got, 10, "the target saw no end")
    check_equal(len(got[0]), 1000, "what came after the half-close")
    check("reason" not in last_line(lbd), f"logged as a failure: {last_line(lbd)}")

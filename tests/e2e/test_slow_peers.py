"""Clients that take their time, on purpose: each ends by a limit, with its reason."""
import contextlib
import socket
import time

from http_text import NO_CHECKS, get
from rig import RawOrigin, Wire, check, check_equal, test, wait_until


def trickle(wire, piece, every, limit):
    """Sends `piece` again and again until lbd closes; how long it took."""
    begin = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - begin < limit:
            wire.send(piece)
            time.sleep(every)
            wire.socket.setblocking(False)
            try:
                if wire.socket.recv(1, socket.MSG_PEEK) is not None:
                    break
            except BlockingIOError:
                pass
            finally:
                wire.socket.settimeout(10)
    return time.monotonic() - begin


def ended(lbd, status, reason):
    wait_until(lambda: lbd.access_log(), 10, "no line in the access log")
    line = lbd.access_log()[0]
    check_equal((line["status"], line["reason"]), (status, reason), "logged")
    check_equal(lbd.metric("lbd_request_failures_total", reason=reason), 1, "counted")


@test()
def test_a_body_that_trickles_below_the_rate_is_ended(rig):
    listener = {"timeouts": {"body_idle": "1s"}, "limits": {"body_bytes_per_second_min": 1000}}
    for field, piece in (("content-length: 1000000", b"x"),
                         ("transfer-encoding: chunked", b"1\r\nx\r\n")):
        lbd = rig.proxy([rig.origin()], listener=listener)
        with Wire(rig.port) as wire:
            wire.send(f"POST /echo HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n")
            took = trickle(wire, piece, 0.1, 10)
            check(0.8 < took < 5, f"it took {took:.1f} s")
            check_equal(wire.reply().status, 408, "status")
        ended(lbd, 408, "client_timeout")
        lbd.stop()


@test()
def test_a_body_that_holds_the_rate_may_take_its_time(rig):
    listener = {"timeouts": {"body_idle": "500ms"}, "limits": {"body_bytes_per_second_min": 1000}}
    rig.proxy([rig.origin()], listener=listener)
    with Wire(rig.port) as wire:
        wire.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n")
        for _ in range(10):
            wire.send(b"x" * 1000)
            time.sleep(0.2)
        check_equal(len(wire.reply().body), 10_000, "echo")


@test()
def test_a_target_that_reads_slowly_does_not_end_its_client(rig):
    """What the target takes its time for is not counted as waiting for the client."""
    size = 16 << 20

    def script(connection, _):
        left = size - len(origin.head(connection).partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= len(connection.recv(1 << 20))
            if left > size // 2:
                time.sleep(0.1)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, script)
    listener = {"timeouts": {"body_idle": "300ms"}, "limits": {"body_bytes_per_second_min": 100000}}
    rig.proxy([origin], NO_CHECKS, listener)
    with Wire(rig.port, timeout=60) as wire:
        wire.send(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n")
        wire.send(bytes(size))
        check_equal(wire.reply().body, b"ok", "body")


@test()
def test_a_head_that_trickles_is_ended_by_its_total_time(rig):
    lbd = rig.proxy([rig.origin()], listener={"timeouts": {"request_head": "1s"}})
    with Wire(rig.port) as wire:
        wire.send("GET / HTTP/1.1\r\nhost: x\r\n")
        took = trickle(wire, b"x: y\r\n", 0.1, 10)
        check(0.8 < took < 5, f"it took {took:.1f} s")
        check_equal(wire.reply().status, 408, "status")
    ended(lbd, 408, "client_timeout")


@test()
def test_a_reader_that_takes_a_little_now_and_then_is_ended(rig):
    lbd = rig.proxy([rig.origin()], listener={"timeouts": {"write_idle": "1s"}})
    with Wire(rig.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.send(get(f"/size?n={256 << 20}"))
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while not lbd.access_log() and time.monotonic() - begin < 15:
                wire.socket.recv(100)
                time.sleep(0.1)
    wait_until(lambda: lbd.access_log(), 10, "no line in the access log")
    line = lbd.access_log()[0]
    check_equal((line["status"], line["reason"], line["cut"]), (200, "client_timeout", True), "log")


@test()
def test_early_hints_are_kept_from_http_1_0(rig):
    def script(connection, _):
        origin.head(connection)
        hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        connection.sendall(hints + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send("GET / HTTP/1.0\r\nhost: x\r\n\r\n")
        check_equal(wire.head().status, 200, "the first head")

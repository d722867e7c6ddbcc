"""WebSocket conversations with a server, directly and through lbd: not a byte may differ.

The cases are in websocket_cases.py. tests/autobahn/compare.py does the same with the Autobahn
suite itself where there is a Python 2.7 for it.
"""
import base64
import contextlib
import hashlib
import socket
import ssl

import hpack

from h2_client import (DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS,
                       WINDOW_UPDATE, Attacker)
from h2_client import frame as h2_frame
from http_text import NO_CHECKS
from rig import check, check_equal, free_port, slowness, test, wait_until
from test_http2_websocket import connect_fields
from test_tls import Authority, client_context, https_config
from websocket_cases import CASES, NO_CODE
from websocket_server import EchoServer

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(
    hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
DEFLATE = "permessage-deflate"
REQUEST = ("GET /chat HTTP/1.1\r\nhost: shop.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
           f"sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n")
DEADLINE = 20


def places(rig):
    """(lbd, {name: function that holds a conversation there})"""
    server, plain, secure = EchoServer(), free_port(), free_port()
    rig.closers.append(server.close)
    files = Authority(rig.folder).make("shop")
    config = https_config(secure, [server], {"certificates": [files]}, group=NO_CHECKS)
    config["listeners"]["plain"] = {"listen": [f"127.0.0.1:{plain}"], "default": {"forward": "app"},
                                    "http2": {"cleartext": True}}
    lbd = rig.lbd(config)
    context = client_context()

    def at(port, tls=None):
        return lambda case: over_http1(case, port, tls)

    return lbd, {
        "direct": at(server.port), "http": at(plain), "https": at(secure, context),
        "http2": lambda case: over_http2(case, plain),
    }


def pieces_of(case):
    step = case.chop or len(case.sent) or 1
    return [case.sent[n:n + step] for n in range(0, len(case.sent), step)]


def dial(port, context):
    wire = socket.create_connection(("127.0.0.1", port), DEADLINE * slowness())
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(wire, server_hostname="shop.test") if context else wire


def over_http1(case, port, context):
    """(extensions agreed on, all bytes after the handshake until the server's end)"""
    with dial(port, context) as wire:
        more = f"sec-websocket-extensions: {DEFLATE}\r\n" if case.deflate else ""
        wire.sendall((REQUEST + more + "\r\n").encode())
        data = b""
        while b"\r\n\r\n" not in data:
            piece = wire.recv(65536)
            check(piece, f"{case.number}: no handshake: {data}")
            data += piece
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        check(lines[0].startswith("http/1.1 101 "), f"{case.number}: {lines}")
        check(f"sec-websocket-accept: {ACCEPT.lower()}" in lines, f"{case.number}: {lines}")
        # The server may be done before the last byte is there.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces_of(case):
                wire.sendall(piece)
        return DEFLATE in head.decode().lower(), data + to_end(wire, case)


def to_end(wire, case):
    data = b""
    try:
        while piece := wire.recv(65536):
            data += piece
    except TimeoutError:
        check(False, f"{case.number}: no end of the connection after {data[:200]}")
    except ssl.SSLEOFError:
        check(False, f"{case.number}: TLS ends without a close_notify")
    return data


def over_http2(case, port):
    """The same on a stream (RFC 8441)."""
    with Attacker(port) as client:
        client.wire.settimeout(DEADLINE * slowness())
        window = (2**31 - 1 - 65535).to_bytes(4, "big")
        client.send(h2_frame(SETTINGS, 0, 0, b"\x00\x04\x7f\xff\xff\xff")
                    + h2_frame(WINDOW_UPDATE, 0, 0, window))
        more = [("sec-websocket-extensions", DEFLATE)] if case.deflate else []
        block = client.encoder.encode([*connect_fields(), *more])
        client.send(h2_frame(HEADERS, END_HEADERS, 1, block))
        return Stream(client, case).converse()


class Stream:
    """What a client without threads needs to know of windows."""

    def __init__(self, client, case):
        self.client, self.case = client, case
        self.data, self.head, self.over = b"", None, False
        self.room, self.stream_room = 65535, 65535

    def converse(self):
        while self.head is None:
            self.hear()
        check_equal(self.head.get(":status"), "200", f"{self.case.number}: over HTTP/2")
        for piece in pieces_of(self.case):
            view = memoryview(piece)
            while view and not self.over:
                size = min(len(view), self.room, self.stream_room, 16384)
                if size == 0:
                    self.hear()
                    continue
                self.client.send(h2_frame(DATA, 0, 1, bytes(view[:size])))
                self.room, self.stream_room = self.room - size, self.stream_room - size
                view = view[size:]
        while not self.over:
            self.hear()
        self.client.send(h2_frame(DATA, END_STREAM, 1))
        return DEFLATE in self.head.get("sec-websocket-extensions", ""), self.data

    def hear(self):
        for kind, flags, stream, payload in self.client.frames(DEADLINE * slowness()):
            check(kind != GOAWAY, f"{self.case.number}: GOAWAY {payload}")
            if kind == SETTINGS and not flags:
                self.client.send(h2_frame(SETTINGS, 1, 0))
                self.learn(payload)
            elif kind == WINDOW_UPDATE:
                more = int.from_bytes(payload, "big")
                self.room += 0 if stream else more
                self.stream_room += more if stream else 0
            elif kind == HEADERS:
                self.head = dict(hpack.Decoder().decode(payload))
            elif kind == DATA:
                self.data += payload
            if kind in (HEADERS, DATA) and flags & END_STREAM or kind == RST_STREAM:
                self.over = True
            return
        check(False, f"{self.case.number}: nothing more comes; so far {self.data[:200]}")

    def learn(self, payload):
        for n in range(0, len(payload), 6):
            if payload[n:n + 2] == b"\x00\x04":  # the initial window
                self.stream_room += int.from_bytes(payload[n + 2:n + 6], "big") - 65535


def close_code(data):
    """Of the last frame, which must be a close; -1: it is none."""
    last = b""
    while len(data) >= 2:
        size, head = data[1] & 127, 2
        if size == 126:
            size, head = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(data[2:10], "big"), 10
        last, data = data[:head + size], data[head + size:]
    if last[:1] != b"\x88" or data:
        return -1
    return int.from_bytes(last[2:4], "big") if last[1] else NO_CODE


@test("default", 90)
def test_lbd_changes_no_verdict_over_http_https_and_http2(rig):
    lbd, there = places(rig)
    check(len({case.number for case in CASES}) == len(CASES) > 150, "cases, each with its number")
    for case in CASES:
        verdicts = {name: converse(case) for name, converse in there.items()}
        agreed, data = verdicts["direct"]
        check_equal(agreed, case.deflate, f"{case.number}: compression")
        check_equal(close_code(data), case.code, f"{case.number}: closed with")
        for name, verdict in verdicts.items():
            check(verdict == (agreed, data),
                  lambda: f"{case.number}: through {name} {verdict[0]} {verdict[1][:300]}, "
                          f"directly {agreed} {data[:300]}")
    tunnels = lbd.metric("lbd_tunnels_total")
    check_equal(tunnels, (len(there) - 1) * len(CASES), "tunnels opened")
    # Over HTTP/2 the connection may be gone before the end of its stream was looked at.
    def rows():
        return [row for row in lbd.access_log() if row["protocol"] == "HTTP/1.1"]

    wait_until(lambda: len(rows()) == 2 * len(CASES), 10, lambda: f"{len(rows())} lines")
    failed = [row for row in rows() if row["status"] != 101 or "reason" in row]
    check_equal(failed, [], "lines of tunnels that failed")

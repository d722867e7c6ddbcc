"""WebSocket over HTTP/2 (RFC 8441): extended CONNECT with clients, an upgrade at targets."""

import base64
import hashlib
import re

import hpack
from h2_client import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, Attacker, frame
from rig import RawOrigin, check, check_equal, free_port, simple_config, test, wait_until
from test_http2 import CLEARTEXT, proxy

WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


def connect_fields(path="/chat", protocol="websocket"):
    pseudo = {":method": "CONNECT", ":protocol": protocol, ":scheme": "http"}
    pseudo |= {":authority": "shop.test", ":path": path}
    return [*pseudo.items(), ("sec-websocket-version", "13")]


def websocket_target(rig, answer=None):
    """Takes an upgrade and sends every byte back in upper case; else gives `answer`."""

    def serve(connection, _):
        head = origin.head(connection)
        key = re.search(rb"(?i)sec-websocket-key: ([A-Za-z0-9+/]{22}==)\r\n", head)
        if answer or not key or b"upgrade: websocket" not in head.lower():
            return connection.sendall(answer or b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n")
        accept = base64.b64encode(hashlib.sha1(key[1] + WEBSOCKET).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\nsec-websocket-protocol: chat\r\n\r\nhello "
        )
        while piece := connection.recv(65536):
            connection.sendall(piece.upper())

    origin = RawOrigin(rig, serve)
    return origin


def tunnel(client, stream, fields):
    """Opens one; returns the decoded head of the answer."""
    client.send(frame(HEADERS, END_HEADERS, stream, client.encoder.encode(fields)))
    for kind, _, where, payload in client.frames(5):
        if kind == HEADERS and where == stream:
            return dict(hpack.Decoder().decode(payload))
        if kind == RST_STREAM and where == stream:
            return {":status": "reset"}
    return {}


@test()
def test_a_websocket_passes_on_a_stream_of_its_own(rig):
    lbd = proxy(rig, [websocket_target(rig)], group={"health_check": "off"})
    with Attacker(rig.port) as client:
        head = tunnel(client, 1, connect_fields())
        check_equal((head[":status"], head.get("sec-websocket-protocol")), ("200", "chat"), "head")
        check("sec-websocket-accept" not in head and "upgrade" not in head, f"fields: {head}")
        client.send(
            frame(DATA, 0, 1, b"one ") + frame(DATA, 0, 1, b"two ") + frame(DATA, 1, 1, b"end")
        )
        got, ended = b"", False
        for kind, flags, stream, payload in client.frames(5):
            if kind == DATA and stream == 1:
                got += payload
                ended = bool(flags & END_STREAM)
            if ended:
                break
        check_equal((got, ended), (b"hello ONE TWO END", True), "bytes back, and their end")
    wait_until(lambda: lbd.access_log(), 5, "no log line")
    row = lbd.access_log()[0]
    check_equal((row["status"], row["protocol"], row["method"]), (101, "HTTP/2.0", "GET"), "log")
    check_equal((row["request_bytes"], row["response_bytes"]), (11, 17), "bytes in the log")
    check_equal(lbd.metric("lbd_tunnels_total"), 1, "counted")


@test()
def test_a_target_that_does_not_upgrade_opens_no_tunnel(rig):
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    refuses = b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"
    for answer, expected in ((plain, "502"), (refuses, "403")):
        origin = websocket_target(rig, answer)
        port = free_port()
        group = {"health_check": "off", "passive": "off"}
        config = simple_config(port, [origin], listener=CLEARTEXT, group=group)
        rig.lbd(config, name=f"lbd-{expected}")
        with Attacker(port) as client:
            check_equal(tunnel(client, 1, connect_fields())[":status"], expected, "status")


@test()
def test_other_protocols_and_listeners_without_upgrades_refuse_an_extended_connect(rig):
    origin = websocket_target(rig)
    proxy(rig, [origin], group={"health_check": "off"})
    with Attacker(rig.port) as client:
        check_equal(
            tunnel(client, 1, connect_fields(protocol="connect-udp"))[":status"], "501", "udp"
        )
    port = free_port()
    listener = {**CLEARTEXT, "upgrade": "off"}
    group = {"health_check": "off"}
    rig.lbd(simple_config(port, [origin], listener=listener, group=group), name="lbd-off")
    with Attacker(port) as client:
        settings = [payload for kind, _, _, payload in client.frames(0.5) if kind == SETTINGS]
        check(b"\x00\x08\x00\x00\x00\x01" not in settings[0], "offered although it is off")
        check_equal(tunnel(client, 1, connect_fields())[":status"], "reset", "off")
    check_equal(origin.seen, [], "what reached the target")


@test()
def test_no_client_can_have_a_target_ejected_by_asking_for_what_it_does_not_do(rig):
    """Extended CONNECTs to a target that knows no WebSocket: 502 each, and none its fault."""
    origin = websocket_target(rig, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    passive = {"consecutive_5xx": 3, "consecutive_connect_errors": 3}
    lbd = proxy(rig, [origin], group={"health_check": "off", "passive": passive})
    for _ in range(10):
        with Attacker(rig.port) as client:
            check_equal(tunnel(client, 1, connect_fields())[":status"], "502", "status")
    check_equal(len(origin.seen), 10, "requests at the target: one each, none again")
    check_equal(lbd.metric("lbd_retries_total"), 0, "retries")
    check(lbd.states()[origin.text] != "ejected", f"states: {lbd.states()}")
    check_equal(lbd.metric("lbd_ejections_total"), 0, "ejections")

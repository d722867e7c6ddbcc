"""What a connection costs while it waits for its next request."""

import pathlib
import re
import socket
import ssl
import time

from rig import check, test
from test_openings import secure
from test_tls import client_context

CONNECTIONS = 3000
HEAD = (
    b"GET /headers HTTP/1.1\r\nHost: a.test\r\n"
    + b"".join(b"X-Field-%d: %s\r\n" % (i, b"v" * 40) for i in range(12))
    + b"\r\n"
)


def private_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\s+(\d+)", text)[1]) * 1024


def open_many(port, count, wrap=None):
    kept = []
    for _ in range(count):
        wire = socket.create_connection(("127.0.0.1", port))
        if wrap is not None:
            wire = wrap(wire)
        wire.sendall(HEAD)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += wire.recv(65536)
        kept.append(wire)
    return kept


def idle_bytes(lbd, port, count, wrap=None):
    kept = open_many(port, 200, wrap)
    time.sleep(1)
    before = private_bytes(lbd.process.pid)
    kept += open_many(port, count, wrap)
    time.sleep(1)
    each = (private_bytes(lbd.process.pid) - before) / count
    for wire in kept:
        wire.close()
    return each


@test(profile="default", timeout=60)  # a sanitizer takes memory of its own
def test_an_idle_connection_keeps_two_kib(rig):
    lbd = rig.proxy([rig.origin()])
    each = idle_bytes(lbd, rig.port, CONNECTIONS)
    print(f"  {each:.0f} bytes for each of {CONNECTIONS} idle connections")
    check(each <= 2048, f"{each:.0f} bytes for an idle connection")


@test(profile="default", timeout=90)
def test_an_idle_connection_over_tls_keeps_little_beside_what_openssl_keeps(rig):
    lbd, port = secure(rig)
    context = client_context()
    each = idle_bytes(
        lbd, port, CONNECTIONS, lambda wire: context.wrap_socket(wire, server_hostname="x")
    )
    print(f"  {each:.0f} bytes for each of {CONNECTIONS} idle connections over TLS")
    # Some 13 KiB are OpenSSL 3.0's: 7.6 its SSL, 2 its cipher contexts, the rest session and keys.
    check(each <= 17 * 1024, f"{each:.0f} bytes for an idle connection")

"""Attacks, each a bounded load on one port of 127.0.0.1, as a program of its own:

  attacks.py NAME PORT [--seconds 3] [--connections 50] [--rate PER_SECOND] [--bytes N]

It ends by itself after that time or that many connections and prints what became of them:
{"made": 50, "bytes": 4711, "ended": {"408": 50}}. What a connection ends with is the status of its
last response, "goaway CODE", "reset CODE" of a stream, "alert", "closed" or "open".
tests/e2e/test_attacks.py runs them in small, bench/macro/attacks.py for longer.
"""
import argparse
import collections
import contextlib
import json
import resource
import select
import socket
import struct
import sys
import threading
import time

PIECE = 64 * 1024
SECONDS_MAX, CONNECTIONS_MAX = 120, 100_000


class Site:
    """Where an attack goes and how far; it notes what happens."""

    def __init__(self, port, seconds, connections, rate, size):
        self.port, self.rate, self.size = port, rate, size
        self.seconds = min(seconds, SECONDS_MAX)
        self.connections = min(connections, CONNECTIONS_MAX)
        self.end = time.monotonic() + self.seconds
        self.made, self.bytes, self.ended = 0, 0, collections.Counter()
        self.lock = threading.Lock()

    def over(self):
        return time.monotonic() >= self.end

    def rounds(self):
        """As many as there may be connections, until the time is over, at the rate."""
        begin = time.monotonic()
        for number in range(self.connections):
            if self.rate:
                wait = begin + number / self.rate - time.monotonic()
                time.sleep(max(0, min(wait, self.end - time.monotonic())))
            if self.over():
                return
            yield number

    def dial(self, receive_buffer=0):
        """A connection, or None when it is not taken."""
        wire = socket.socket()
        if receive_buffer:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wire.settimeout(5)
        self.made += 1
        try:
            wire.connect(("127.0.0.1", self.port))
            return wire
        except OSError:
            self.ended["refused"] += 1
            wire.close()
            return None

    def send(self, wire, data):
        """False: the peer has hung up, or takes nothing for 5 s."""
        try:
            wire.sendall(data)
            self.bytes += len(data)
            return True
        except OSError:
            return False

    def outcome(self):
        return {"made": self.made, "bytes": self.bytes, "ended": dict(self.ended)}


def status_of(data):
    """How an HTTP/1.1 connection with these last bytes has ended."""
    return data[9:12].decode() if data.startswith(b"HTTP/1.") else "closed"


def read_status(wire, seconds=5):
    """The same, of what comes until the end of the connection or of the time."""
    data, end = b"", time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while (left := end - time.monotonic()) > 0:
            wire.settimeout(left)
            if not (piece := wire.recv(PIECE)):
                break
            data = (data + piece)[:PIECE]
        else:
            return "open"
    return status_of(data)


# --- many connections that take their time ---


def crowd(site, opening, piece=b"", every=0.2, taking=PIECE, receive_buffer=0):
    """All connections at once: `opening`, then `piece` and a read of `taking` bytes (0: of none)
    every `every` seconds, until each has ended or the time is over."""
    alive = {}
    for _ in site.rounds():
        wire = site.dial(receive_buffer)
        if wire is None:
            continue
        wire.setblocking(False)
        alive[wire] = b""
        step(site, alive, wire, opening, 0)
    due = time.monotonic()
    while alive and not site.over():
        for wire in list(alive):
            step(site, alive, wire, piece, taking)
        due += every
        time.sleep(max(0, min(due, site.end) - time.monotonic()))
    for wire in alive:
        site.ended["open"] += 1
        wire.close()


def step(site, alive, wire, piece, taking):
    try:
        if piece:
            site.bytes += wire.send(piece)
    except BlockingIOError:
        pass
    except OSError:
        taking = taking or PIECE  # why it has ended
    try:
        got = wire.recv(taking) if taking else None
    except BlockingIOError:
        return
    except OSError:
        got = b""
    if got:
        alive[wire] = alive[wire] or got[:64]
    if got == b"":
        site.ended[status_of(alive.pop(wire))] += 1
        wire.close()


def slow_heads(site):
    """A request head that comes byte by byte (Slowloris)."""
    crowd(site, b"GET /id HTTP/1.1\r\nhost: x\r\nx-slow: ", b"a")


def slow_bodies(site):
    """A request body that comes byte by byte (R-U-Dead-Yet)."""
    crowd(site, b"POST /checksum HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n", b"a")


def slow_reads(site):
    """A large response that is taken 100 bytes at a time."""
    request = b"GET /size?n=%d HTTP/1.1\r\nhost: x\r\n\r\n" % site.size
    crowd(site, request, taking=100, receive_buffer=4096)


def idle_connections(site):
    """Connections that say nothing."""
    crowd(site, b"", every=0.5)


def kept_connections(site):
    """Connections that bring one request and then nothing."""
    crowd(site, b"GET /id HTTP/1.1\r\nhost: x\r\n\r\n", every=0.5)


# --- connections and heads without end ---


def connection_flood(site):
    """Connections that are reset as soon as they stand."""
    for _ in site.rounds():
        if wire := site.dial():
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
            site.ended["reset by us"] += 1


def request_flood(site):
    """A connection for each request, which is reset before the answer."""
    for _ in site.rounds():
        if wire := site.dial():
            site.send(wire, b"GET /id HTTP/1.1\r\nhost: x\r\n\r\n")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
            site.ended["reset by us"] += 1


def pour(site, wire, piece):
    """`site.size` bytes of it, until the peer stops them; then how the connection ended. What has
    been answered is looked at now and then: a reset would take it away."""
    sent, data = 0, b""
    with contextlib.suppress(OSError):
        while sent < site.size and not site.over():
            readable, writable, _ = select.select([wire], [wire], [], 1)
            if readable:
                got = wire.recv(PIECE)
                data = (data + got)[:PIECE]
                if not got or data:
                    break
            if writable:
                sent += wire.send(piece)
    site.bytes += sent
    site.ended[status_of(data) if data else read_status(wire)] += 1


def huge_heads(site):
    """A head of very many lines."""
    each_round(site, b"GET /id HTTP/1.1\r\nhost: x\r\n",
               b"".join(b"x-%d: %b\r\n" % (n, b"a" * 1000) for n in range(64)))


def huge_lines(site):
    """A header line without an end."""
    each_round(site, b"GET /id HTTP/1.1\r\nhost: x\r\nx-long: ", b"a" * PIECE)


def chunk_extensions(site):
    """A chunk whose extension has no end."""
    each_round(site, CHUNKED + b"5;", b"extension=value;" * (PIECE // 16))


def chunk_extension_each(site):
    """Chunks of a byte, each with an extension."""
    each_round(site, CHUNKED, b"1;name=value\r\nx\r\n" * (PIECE // 18))


CHUNKED = b"POST /checksum HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def each_round(site, opening, piece):
    for _ in site.rounds():
        if wire := site.dial():
            with wire:
                wire.sendall(opening)
                pour(site, wire, piece)


def all_attacks():
    """{name: function}; those of HTTP/2 and TLS are in modules of their own."""
    import attacks_h2
    import attacks_tls

    own = (slow_heads, slow_bodies, slow_reads, idle_connections, kept_connections,
           connection_flood, request_flood, huge_heads, huge_lines, chunk_extensions,
           chunk_extension_each)
    return {f.__name__: f for f in (*own, *attacks_h2.ATTACKS, *attacks_tls.ATTACKS)}


def main():
    known = all_attacks()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=known)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0, help="connections a second; 0: no limit")
    parser.add_argument("--bytes", type=int, default=10 << 20)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    site = Site(args.port, args.seconds, args.connections, args.rate, args.bytes)
    known[args.name](site)
    print(json.dumps(site.outcome()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

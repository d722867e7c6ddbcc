"""A second reader of HTTP/1.1 requests, naive and strict, that shares nothing with lbd's.

It reads RFC 9112 as narrowly as it can be read: whatever two readers could take differently is an
error. What lbd sends to a target must pass it.
"""
import re

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
TARGET = re.compile(rb"(?:/[\x21\x22\x24-\x7e]*|\*)\Z")
HOST = re.compile(rb"(?:[0-9A-Za-z\-._~!$&'()*+;=%]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{0,5})?\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
SIZE = re.compile(rb"[0-9a-f]{1,15}\Z")
LENGTH = re.compile(rb"(?:0|[1-9][0-9]{0,17})\Z")


class Ambiguous(Exception):
    """Not one message that every reader would read alike."""


class Unfinished(Exception):
    """More bytes are needed."""


def require(condition, what):
    if not condition:
        raise Ambiguous(what)


class Message:
    """One request. `raw` is every byte of it, `rest` what follows."""

    def __init__(self, data):
        line, at = take_line(data, 0)
        words = line.split(b" ")
        require(len(words) == 3, f"request line {line!r}")
        self.method, self.target, version = words
        require(TOKEN.match(self.method), f"method {self.method!r}")
        require(TARGET.match(self.target), f"target {self.target!r}")
        require(version == b"HTTP/1.1", f"version {version!r}")
        self.fields, at = take_fields(data, at)
        self.trailers, self.body = [], b""
        lengths, codings = self.all(b"content-length"), self.all(b"transfer-encoding")
        require(len(self.all(b"host")) == 1, "not exactly one Host")
        require(HOST.match(self.all(b"host")[0]), f"Host {self.all(b'host')[0]!r}")
        require(len(lengths) + len(codings) <= 1, "two ways to find the end")
        if codings:
            require(codings[0] == b"chunked", f"coding {codings[0]!r}")
            at = self.take_chunks(data, at)
        elif lengths:
            require(LENGTH.match(lengths[0]), f"length {lengths[0]!r}")
            size = int(lengths[0])
            if len(data) < at + size:
                raise Unfinished
            self.body, at = data[at : at + size], at + size
        self.raw, self.rest = data[:at], data[at:]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name]

    def take_chunks(self, data, at):
        while True:
            line, at = take_line(data, at)
            require(SIZE.match(line), f"chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                self.trailers, at = take_fields(data, at)
                framing = (b"content-length", b"transfer-encoding", b"host", b"trailer")
                for name, _ in self.trailers:
                    require(name.lower() not in framing, f"trailer {name!r}")
                return at
            if len(data) < at + size + 2:
                raise Unfinished
            require(data[at + size : at + size + 2] == b"\r\n", "no line end after a chunk")
            self.body, at = self.body + data[at : at + size], at + size + 2


def take_line(data, at):
    end = data.find(b"\r\n", at)
    line = data[at:] if end < 0 else data[at:end]
    lone = line[:-1] if end < 0 and line.endswith(b"\r") else line
    require(b"\r" not in lone and b"\n" not in lone, f"a bare line end in {line!r}")
    if end < 0:
        raise Unfinished
    return line, end + 2


def take_fields(data, at):
    fields = []
    while True:
        line, at = take_line(data, at)
        if not line:
            return fields, at
        name, colon, value = line.partition(b":")
        require(colon and TOKEN.match(name), f"field {line!r}")
        require(value.startswith(b" ") and VALUE.match(value), f"value {value!r}")
        value = value[1:]
        require(value == value.strip(b" \t"), f"blanks round {value!r}")
        fields.append((name, value))

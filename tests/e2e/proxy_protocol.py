"""The PROXY protocol as its peers speak it: headers to send, and an origin that wants one."""
import socket
import struct

from http_text import answer

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="192.0.2.7", destination="198.51.100.1", ports=(4711, 443)):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def packed(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def v2(source="192.0.2.7", destination="198.51.100.1", ports=(4711, 443), more=b""):
    """`more`: TLVs."""
    rest = packed(source) + packed(destination) + struct.pack("!HH", *ports) + more
    family = 0x21 if ":" in source else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(rest)) + rest


V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
V2_LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


def v2_with_checksum(**more):
    header = v2(more=b"\x03\x00\x04" + b"\0" * 4, **more)
    return header[:-4] + struct.pack("!I", crc32c(header))


def read_header(stream):
    """(source, source port, destination, destination port), "local", or None at the end."""
    first = stream.read(1)
    if not first:
        return None
    if first == b"P":
        line = first + stream.readline(200)
        assert line.endswith(b"\r\n") and len(line) <= 107, line
        words = line.decode().split()
        assert words[0] == "PROXY", line
        if words[1] == "UNKNOWN":
            return "local"
        assert len(words) == 6 and words[1] == ("TCP6" if ":" in words[2] else "TCP4"), line
        return words[2], int(words[4]), words[3], int(words[5])
    fixed = first + stream.read(15)
    assert fixed[:12] == SIGNATURE, fixed
    command, family, length = struct.unpack("!BBH", fixed[12:])
    rest = stream.read(length)
    if command == 0x20:
        return "local"
    assert command == 0x21 and family in (0x11, 0x21), fixed
    size, kind = (4, socket.AF_INET) if family == 0x11 else (16, socket.AF_INET6)
    source, destination = rest[:size], rest[size : 2 * size]
    ports = struct.unpack("!HH", rest[2 * size : 2 * size + 4])
    return (
        socket.inet_ntop(kind, source),
        ports[0],
        socket.inet_ntop(kind, destination),
        ports[1],
    )


class ProxiedScript:
    """For RawOrigin: wants a header, then answers each request with its connection's number.

    `headers` has those of clients in order, `local` counts connections that lbd made for itself.
    """

    def __init__(self):
        self.headers, self.local, self.requests = [], 0, []

    def __call__(self, connection, number):
        stream = connection.makefile("rb")
        header = read_header(stream)
        if header is None:
            return
        if header == "local":
            self.local += 1
        else:
            self.headers.append(header)
        while line := stream.readline():
            self.requests.append((header, line))
            while stream.readline() not in (b"\r\n", b""):
                pass
            answer(connection, str(number).encode())

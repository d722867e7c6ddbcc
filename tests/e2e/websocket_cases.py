"""What a WebSocket client may say, rightly and wrongly: by the sections of the Autobahn test suite
(1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragments, 6 UTF-8, 7 closing, 9 limits, 10 and
12 other), with the code that the conversation must be closed with by a server that echoes."""
import zlib
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
NORMAL, PROTOCOL, BAD_DATA, NO_CODE = 1000, 1002, 1007, 0


@dataclass(frozen=True)
class Case:
    number: str
    code: int  # of the server's close frame; NO_CODE: it has none
    sent: bytes
    chop: int = 0  # bytes that are written at a time; 0: all
    deflate: bool = False  # permessage-deflate is asked for


def mask(data):
    size = len(data)
    if not size:
        return b""
    key = (MASK * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return mixed.to_bytes(size, "big")


def frame(opcode, data=b"", end=True, bits=0):
    """A client's frame. `bits`: the reserved ones."""
    size = len(data)
    head = bytes([(0x80 if end else 0) | bits << 4 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + MASK + mask(data)


def close(code=NORMAL, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


HELLO = frame(TEXT, b"Hello, world!")
SIZES = (0, 125, 126, 127, 128, 65535, 65536)


def framing():
    for group, opcode in (("1.1", TEXT), ("1.2", BINARY)):
        filler = b"*" if opcode == TEXT else b"\xfe"
        for n, size in enumerate(SIZES, 1):
            yield f"{group}.{n}", NORMAL, frame(opcode, filler * size) + close()
        yield f"{group}.8", NORMAL, frame(opcode, filler * 65536) + close(), 997


def pings():
    yield "2.1", NORMAL, frame(PING) + close()
    yield "2.2", NORMAL, frame(PING, b"Hello, world!") + close()
    yield "2.3", NORMAL, frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff") + close()
    yield "2.4", NORMAL, frame(PING, b"\xfe" * 125) + close()
    yield "2.5", PROTOCOL, frame(PING, b"\xfe" * 126) + close()
    yield "2.6", NORMAL, frame(PING, b"\xfe" * 125) + close(), 1
    yield "2.7", NORMAL, frame(PONG) + close()
    yield "2.8", NORMAL, frame(PONG, b"unsolicited") + close()
    yield "2.9", NORMAL, frame(PONG, b"unsolicited") + frame(PING, b"asked") + close()
    many = b"".join(frame(PING, b"payload-%d" % n) for n in range(10)) + close()
    yield "2.10", NORMAL, many
    yield "2.11", NORMAL, many, 1


def reserved_bits():
    for n, bits in enumerate(range(1, 8), 1):
        yield f"3.{n}", PROTOCOL, HELLO + frame(TEXT, b"odd", bits=bits) + frame(PING), n % 2
    yield "3.8", PROTOCOL, frame(PING, b"odd", bits=1)
    yield "3.9", PROTOCOL, frame(CLOSE, b"\x03\xe8", bits=2)


def opcodes():
    for group, first in (("4.1", 3), ("4.2", 11)):
        for n, opcode in enumerate(range(first, first + 5), 1):
            body = b"unknown" if n % 2 else b""
            yield f"{group}.{n}", PROTOCOL, HELLO + frame(opcode, body) + frame(PING), n == 5


def fragments():
    begin, middle, last = frame(TEXT, b"one", False), frame(0, b"two", False), frame(0, b"three")
    yield "5.1", PROTOCOL, frame(PING, b"one", False) + frame(0, b"two")
    yield "5.2", PROTOCOL, frame(PONG, b"one", False) + frame(0, b"two")
    for n, chop in ((3, 0), (4, 1), (5, 3)):
        yield f"5.{n}", NORMAL, begin + last + close(), chop
    for n, chop in ((6, 0), (7, 1), (8, 3)):
        yield f"5.{n}", NORMAL, begin + frame(PING, b"between") + last + close(), chop
    for n, chop in ((9, 0), (10, 1), (11, 3)):
        yield f"5.{n}", PROTOCOL, last + HELLO + close(), chop
    for n, chop in ((12, 0), (13, 1), (14, 3)):
        yield f"5.{n}", PROTOCOL, middle + HELLO + close(), chop
    yield "5.15", PROTOCOL, begin + last + middle + last
    yield "5.16", PROTOCOL, (middle + begin + last) * 2
    yield "5.17", PROTOCOL, (last + begin + last) * 2
    yield "5.18", PROTOCOL, begin + frame(TEXT, b"another")
    ping = frame(PING, b"between")
    yield "5.19", NORMAL, begin + middle + ping + middle + middle + ping + last + close()
    yield "5.20", NORMAL, begin + middle + ping + middle + middle + ping + last + close(), 1


WELL = {
    "6.2": "Hello-µ@ßöäüàá-UTF-8!!".encode(), "6.5": "κόσμε".encode(),
    "6.6": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", "6.7": b"\x00", "6.8": b"\xc2\x80",
    "6.9": b"\xe0\xa0\x80", "6.10": b"\xf0\x90\x80\x80", "6.11": b"\x7f", "6.13": b"\xdf\xbf",
    "6.15": b"\xef\xbf\xbf", "6.17": b"\xf4\x8f\xbf\xbf", "6.18": b"\xed\x9f\xbf",
    "6.19": b"\xee\x80\x80", "6.20": b"\xef\xbf\xbd", "6.22": b"\xef\xbf\xbe",
}
ILL = {
    "6.3": "κόσμε".encode() + b"\xed\xa0\x80edited", "6.4": b"\xf4\x90\x80\x80edited",
    "6.12": b"\xf7\xbf\xbf\xbf", "6.14": b"\xf8\x88\x80\x80\x80",
    "6.16": b"\xfc\x84\x80\x80\x80\x80",
    "6.21.1": b"\xed\xa0\x80", "6.21.2": b"\xed\xad\xbf", "6.21.3": b"\xed\xbf\xbf",
    "6.23.1": b"\x80", "6.23.2": b"\xbf", "6.23.3": b"\x80\xbf\x80", "6.23.4": b"\xc0 \xc1 ",
    "6.23.5": b"\xe0 \xe1 ", "6.23.6": b"\xf0 \xf1 ", "6.23.7": b"\xfe", "6.23.8": b"\xff",
    "6.23.9": b"\xc0\xaf", "6.23.10": b"\xe0\x80\xaf", "6.23.11": b"\xf0\x80\x80\xaf",
    "6.23.12": b"\xc1\xbf", "6.23.13": b"\xe0\x9f\xbf", "6.23.14": b"\xed\xa0\x80\xed\xb0\x80",
    "6.23.15": b"\xc0", "6.23.16": b"\xe0\x80", "6.23.17": b"\xf0\x80\x80",
}


def in_bytes(data):
    """A text message of a fragment for each byte."""
    rest = [frame(0, data[n:n + 1], n == len(data) - 1) for n in range(1, len(data))]
    return frame(TEXT, data[:1], len(data) == 1) + b"".join(rest)


def utf8():
    yield "6.1.1", NORMAL, frame(TEXT) + close()
    yield "6.1.2", NORMAL, frame(TEXT, b"", False) + frame(0, b"", False) + frame(0) + close()
    yield "6.1.3", NORMAL, (frame(TEXT, b"", False) + frame(0, b"between", False) + frame(0)
                            + close())
    for code, texts in ((NORMAL, WELL), (BAD_DATA, ILL)):
        for number, data in texts.items():
            yield f"{number}-whole", code, frame(TEXT, data) + close()
            yield f"{number}-bytes", code, in_bytes(data) + close()
    yield "6.24", BAD_DATA, frame(TEXT, ILL["6.3"]) + close(), 1


CODES_WELL = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
CODES_ILL = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)


def closing():
    yield "7.1.1", NORMAL, HELLO + close()
    yield "7.1.2", NORMAL, close() + close()
    yield "7.1.3", NORMAL, close() + frame(PING)
    yield "7.1.4", NORMAL, close() + HELLO
    yield "7.1.5", NORMAL, frame(TEXT, b"one", False) + close() + frame(0, b"two")
    yield "7.1.6", NORMAL, frame(TEXT, b"*" * (256 << 10)) + close() + HELLO
    yield "7.3.1", NO_CODE, frame(CLOSE)
    yield "7.3.2", PROTOCOL, frame(CLOSE, b"a")
    yield "7.3.3", NORMAL, close()
    yield "7.3.4", NORMAL, close(reason=b"a reason")
    yield "7.3.5", NORMAL, close(reason=b"*" * 123)
    yield "7.3.6", PROTOCOL, close(reason=b"*" * 124)
    yield "7.5.1", BAD_DATA, close(reason=ILL["6.3"])
    for n, code in enumerate(CODES_WELL, 1):
        yield f"7.7.{n}", code, close(code)
    for n, code in enumerate(CODES_ILL, 1):
        yield f"7.9.{n}", PROTOCOL, close(code)
    yield "7.13.1", PROTOCOL, close(5000)
    yield "7.13.2", PROTOCOL, close(65535)


def limits():
    for group, opcode in (("9.1", TEXT), ("9.2", BINARY)):
        for n, size in enumerate((64 << 10, 256 << 10, 1 << 20, 4 << 20), 1):
            yield f"{group}.{n}", NORMAL, frame(opcode, b"*" * size) + close()
    for n, size in enumerate((256, 1 << 10, 4 << 10, 16 << 10, 64 << 10), 1):
        parts = [frame(0, b"*" * size, False)] * ((1 << 20) // size - 1)
        yield f"9.3.{n}", NORMAL, (frame(TEXT, b"*" * size, False) + b"".join(parts) + frame(0)
                                   + close())
    for n, chop in enumerate((64, 256, 1024, 2048), 1):
        yield f"9.5.{n}", NORMAL, frame(TEXT, b"*" * (64 << 10)) + close(), chop
    for n, size in enumerate((0, 16, 64, 256, 1024), 1):
        yield f"9.7.{n}", NORMAL, frame(TEXT, b"*" * size) * 200 + close()


def other():
    yield "10.1.1", NORMAL, frame(TEXT, b"*" * 65536) + close(), 1300
    yield "10.2.1", PROTOCOL, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"  # no frame at all
    yield "10.2.2", PROTOCOL, bytes([0x81, 5]) + b"plain"  # not masked
    yield "10.2.3", PROTOCOL, b"\x81\xff" + b"\xff" * 8  # a length above 2^63


def deflated(data):
    maker = zlib.compressobj(wbits=-15)
    return (maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed():
    for n, size in enumerate((0, 16, 1024, 65536, 1 << 20), 1):
        packed = frame(TEXT, deflated(b"compress me " * (size // 12)), bits=4)
        yield Case(f"12.1.{n}", NORMAL, packed + close(), deflate=True)
    yield Case("12.2.1", NORMAL, HELLO + close(), deflate=True)
    yield Case("12.2.2", PROTOCOL, frame(PING, b"x", bits=4) + close(), deflate=True)
    yield Case("12.2.3", BAD_DATA, frame(TEXT, b"\xff" * 20, bits=4) + close(), deflate=True)


SECTIONS = (framing, pings, reserved_bits, opcodes, fragments, utf8, closing, limits, other)
CASES = [Case(*row) for section in SECTIONS for row in section()] + list(compressed())

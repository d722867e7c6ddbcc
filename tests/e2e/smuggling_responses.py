"""What hostile targets send, and what the client gets of it."""
import dataclasses

POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


@dataclasses.dataclass
class Reply:
    name: str
    sent: bytes
    status: int  # what the client gets
    body: bytes | None  # None: it is cut, and the client sees that
    reason: str | None
    method: str = "GET"
    late: bytes = b""  # sent a moment after the rest
    closes: bool = False  # the target closes behind it
    reuses: bool = False  # the target's connection carries the next request


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def good(name, sent, body="ok", status=200, **more):
    return Reply(name, octets(sent), status, octets(body), None, **more)


def bad(name, sent, **more):
    return Reply(name, octets(sent) + octets(POISON), 502, b"", "bad_response", **more)


def cut(name, sent, reason, **more):
    return Reply(name, octets(sent), 200, None, reason, **more)


def ok(fields="Content-Length: 2\r\n", body="ok", line="HTTP/1.1 200 OK"):
    return f"{line}\r\n{fields}\r\n{body}"


def rows():
    yield from status_lines()
    yield from framing()
    yield from fields()
    yield from interim()
    yield from bodiless()
    yield from chunks()
    yield from behind()


def status_lines():
    for line in ("HTTP/1.1 200\tOK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/1.2 200 OK",
                 "HTTP/2 200 OK", "HTTP/0.9 200 OK", "http/1.1 200 OK", "ICY 200 OK", "200 OK",
                 "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 abc OK",
                 "HTTP/1.1 +20 OK", "HTTP/1.1 2 0 OK", "HTTP/1.1200 OK", " HTTP/1.1 200 OK",
                 "HTTP/1.1 200 O\0K", "HTTP/1.1 200 O\x01K", "HTTP/1.1 200 O\x7fK", "\0", "",
                 "HTTP/1.1 200 OK\r", "HTTP/11 200 OK", "HTTP/1.10 200 OK", "SSH-2.0-OpenSSH_9.2",
                 "220 mail.example ESMTP", "<html>", "HTTP/1.1", "RTSP/1.0 200 OK"):
        yield bad(f"the status line {line!r}", ok(line=line))
    yield bad("a bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok")
    yield bad("a bare LF at the end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok")
    yield good("no phrase", ok(line="HTTP/1.1 200 "), reuses=True)
    yield good("neither phrase nor space", ok(line="HTTP/1.1 200"), reuses=True)
    yield good("HTTP/1.0", ok(line="HTTP/1.0 200 OK"))
    yield good("HTTP/1.0 kept alive",
               ok("Connection: keep-alive\r\nContent-Length: 2\r\n", line="HTTP/1.0 200 OK"),
               reuses=True)
    yield good("an odd status", ok(line="HTTP/1.1 299 Odd"), status=299, reuses=True)


def framing():
    both = "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"
    yield bad("length and coding", ok(both, "2\r\nok\r\n0\r\n\r\n"))
    yield bad("coding and length", ok("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "ok"))
    yield bad("two lengths", ok("Content-Length: 2\r\n" * 2))
    yield bad("two lengths that differ", ok("Content-Length: 2\r\nContent-Length: 3\r\n"))
    for value in ("+2", "-2", "2, 2", "2 2", "0x2", "2.0", "", "two", "99999999999999999999", "2;"):
        yield bad(f"the length {value!r}", ok(f"Content-Length: {value}\r\n"))
    for value in ("gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "identity", "",
                  "xchunked", "chunked;x", "chunked,", "\x0bchunked"):
        yield bad(f"the coding {value!r}",
                  ok(f"Transfer-Encoding: {value}\r\n", "2\r\nok\r\n0\r\n\r\n"))
    yield bad("two codings", ok("Transfer-Encoding: chunked\r\n" * 2, "2\r\nok\r\n0\r\n\r\n"))
    yield bad("chunked in HTTP/1.0",
              ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n", "HTTP/1.0 200 OK"))
    yield good("a body up to the close", ok(""), closes=True)
    yield cut("a body shorter than its length", ok("Content-Length: 5\r\n"), "target_reset",
              closes=True)


def fields():
    for name, line in (("a folded line", "X: a\r\n b"), ("a bare CR", "X: a\rb"),
                       ("a bare LF", "X: a\nb"),
                       ("a length behind a bare CR", "X:\rContent-Length: 5"),
                       ("NUL", "X: a\0b"), ("a control", "X: a\x01"), ("DEL", "X: a\x7f"),
                       ("a space before the colon", "X : a"), ("no colon", "X"), ("no name", ": a"),
                       ("a space in a name", "X Y: a"), ("a parenthesis in a name", "X(: a"),
                       ("a byte above ASCII in a name", "X\xe9: a"),
                       ("a space before a length's colon", "Content-Length : 5"),
                       ("a space before a coding's colon", "Transfer-Encoding : chunked")):
        yield bad(name, ok(f"{line}\r\nContent-Length: 2\r\n"))
    yield bad("more fields than the limit", ok("X: y\r\n" * 2000 + "Content-Length: 2\r\n"))
    yield bad("a line longer than the limit", ok(f"X: {'y' * 70000}\r\nContent-Length: 2\r\n"))
    yield good("Connection names the length",
               ok("Connection: content-length\r\nContent-Length: 2\r\n"), reuses=True)
    yield good("obs-text in a value", ok("X: \xe9\r\nContent-Length: 2\r\n"), reuses=True)


def interim():
    yield bad("101 that nobody asked for",
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
    yield bad("101 without a word", "HTTP/1.1 101 Switching Protocols\r\n\r\n")
    yield bad("a flood of interim responses", "HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
    yield bad("a flood of 100", "HTTP/1.1 100 Continue\r\n\r\n" * 100)
    yield bad("an interim response with a length",
              "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok" + ok())
    yield bad("an interim response with a coding",
              "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok())
    yield bad("an interim response with a body", "HTTP/1.1 103 Early Hints\r\n\r\nok" + ok())
    yield good("interim responses", "HTTP/1.1 100 Continue\r\n\r\n"
               "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + ok(), reuses=True)


def bodiless():
    """What has no body, whatever it says, leaves what follows for nobody."""
    for status in (204, 304):
        line = f"HTTP/1.1 {status} None"
        yield good(f"{status} with a body", ok(line=line), "", status)
        yield good(f"{status} with chunks",
                   ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n", line), "", status)
        yield good(f"{status} with another response", ok("", POISON, line), "", status)
        yield good(f"{status}", ok("", "", line), "", status, reuses=True)
    yield good("HEAD with a body", ok(), "", method="HEAD")
    yield good("HEAD with chunks", ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), "",
               method="HEAD")
    yield good("HEAD with another response", ok(body=POISON), "", method="HEAD")
    yield good("HEAD", ok(body=""), "", method="HEAD", reuses=True)


def chunked(body):
    return ok("Transfer-Encoding: chunked\r\n", body)


def early_and_late(name, body):
    """Bad chunks that come with the head, and after the client has it."""
    yield bad(name, chunked(body))
    yield cut(f"{name}, later", chunked("2\r\nok\r\n"), "bad_response", late=octets(body))


def chunks():
    for size in ("0x2", "+2", "-2", " 2", "2 ", "g", "", "2,", "FFFFFFFFFFFFFFFF", "2\t", "2_"):
        yield from early_and_late(f"the chunk size {size!r}", f"{size}\r\nok\r\n0\r\n\r\n")
    for name, body in (("a bare LF behind a size", "2\nok\r\n0\r\n\r\n"),
                       ("a bare LF in an extension", "2;x\nok\r\n0\r\n\r\n"),
                       ("a bare CR in an extension", "2;x\ry\r\nok\r\n0\r\n\r\n"),
                       ("a chunk longer than its size", "1\r\nok\r\n0\r\n\r\n"),
                       ("a bare LF behind a chunk", "2\r\nok\n0\r\n\r\n"),
                       ("a bare LF at the end", "2\r\nok\r\n0\r\n\n"),
                       ("a trailer without a colon", "2\r\nok\r\n0\r\nX\r\n\r\n"),
                       ("a trailer that frames", "2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n"),
                       ("a trailer that codes", "2\r\nok\r\n0\r\nTransfer-Encoding: x\r\n\r\n"),
                       ("endless trailers", "0\r\n" + "X: y\r\n" * 100 + "\r\n")):
        yield from early_and_late(name, body)
    yield cut("endless extensions", chunked(f"2\r\nok\r\n2;{'e' * 5000}\r\nok\r\n0\r\n\r\n"),
              "bad_response")
    for name, body in (("in a size", "2"), ("in a chunk", "5\r\nok"),
                       ("behind a chunk", "2\r\nok\r\n"),
                       ("before the last line end", "2\r\nok\r\n0\r\n")):
        yield cut(f"chunks that stop {name}", chunked(body), "target_reset", closes=True)
    yield good("chunks", chunked("1;x=y\r\no\r\n1\r\nk\r\n0\r\n\r\n"), reuses=True)
    yield good("chunks and trailers", chunked("2\r\nok\r\n0\r\nX: y\r\n\r\n"), reuses=True)


def behind():
    """Bytes behind a response belong to no request."""
    yield good("another response behind a length", ok(body="ok" + POISON))
    yield good("a line end behind a length", ok(body="ok\r\n"))
    yield good("another response behind chunks",
               ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n" + POISON))
    yield good("another response, later", ok(), late=octets(POISON))
    yield good("another response behind none", ok(body=POISON, fields="Content-Length: 0\r\n"), "")
    yield good("Connection: close, and more", ok("Connection: close\r\nContent-Length: 2\r\n",
                                                "ok" + POISON))

"""The request smuggling table: chunked bodies, their extensions and trailers."""
from smuggling import HOST, Row, octets, passed, post, refused, get, sent_chunked, sent_get

CHUNKED = "Transfer-Encoding: chunked\r\n"
SIZES = [
    "0x3", "0X3", "+3", "-3", " 3", "3 ", "\t3", "3\t", "3 ;x", "_3", "3_", "3,", "g", "", ";x",
    "3.0", "'3'", "\xb3", "\x003", "3\0", "0000000000000003", "FFFFFFFFFFFFFFFF",
    "10000000000000003", "ffffffffffffffff0", "3\x0b", "-0", "+0", "0x", "3h", "\\x33",
]
EXTENSIONS = [
    ("a bare LF in an extension", "3;x\nabc\r\n0\r\n\r\n"),
    ("a bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
    ("a bare CR behind the size", "3\rabc\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "3;x\ry\r\nabc\r\n0\r\n\r\n"),
    ("CR CR LF behind the size", "3\r\r\nabc\r\n0\r\n\r\n"),
    ("a quoted line end in an extension", '3;x="\n"\r\nabc\r\n0\r\n\r\n'),
    ("a chunk quoted in an extension", '3;x="\r\n5"\r\nabc\r\n0\r\n\r\n', '5"\r'),
    ("NUL in an extension", "3;x\0\r\nabc\r\n0\r\n\r\n"),
    ("a control in an extension", "3;\x01\r\nabc\r\n0\r\n\r\n"),
    ("DEL in an extension", "3;x\x7f\r\nabc\r\n0\r\n\r\n"),
    ("extensions beyond the cap", f"3;{'e' * 5000}\r\nabc\r\n0\r\n\r\n"),
    ("many extensions beyond the cap", f"1;{'e' * 900}\r\na\r\n" * 5 + "0\r\n\r\n",
     "a", "a", "a", "a"),
    ("a chunk longer than its size", "3\r\nabcd\r\n0\r\n\r\n", "abc"),
    ("a chunk shorter than its size", "4\r\nabc\r\n0\r\n\r\n", "abc\r"),
    ("no line end behind a chunk", "3\r\nabc0\r\n\r\n", "abc"),
    ("two line ends behind a chunk", "3\r\nabc\r\n\r\n0\r\n\r\n", "abc"),
    ("a bare LF behind a chunk", "3\r\nabc\n0\r\n\r\n", "abc"),
    ("a bare CR behind a chunk", "3\r\nabc\r0\r\n\r\n", "abc"),
    ("LF CR behind a chunk", "3\r\nabc\n\r0\r\n\r\n", "abc"),
    ("a bare LF at the end", "0\r\n\n"),
    ("a bare CR at the end", "0\r\n\rX"),
    ("a bare LF behind the last size", "0\n\r\n"),
    ("a space at the end", "0\r\n \r\n"),
]
TRAILERS = [
    ("a space in a trailer's name", "X Y: z\r\n"),
    ("a space before a trailer's colon", "X : y\r\n"),
    ("a trailer without a colon", "XY\r\n"), ("a trailer without a name", ": y\r\n"),
    ("a folded trailer", "X: y\r\n z\r\n"), ("a folded first trailer", " X: y\r\n"),
    ("NUL in a trailer", "X: \0\r\n"), ("a control in a trailer", "X: \x01\r\n"),
    ("a bare LF in a trailer", "X: y\nZ: w\r\n"), ("a bare CR in a trailer", "X: y\rZ: w\r\n"),
    ("a byte above ASCII in a trailer's name", "X\xe9: y\r\n"),
    ("trailers beyond the cap", "X: 0123456789\r\n" * 1200),
    ("more trailers than the cap", "X: y\r\n" * 65),
]

FRAMING_TRAILERS = [
    "Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "content-length: 0",
    "Content_Length: 5", "Transfer.Encoding: chunked",
]
LEFT_OUT_TRAILERS = [
    "Authorization: x", "Cookie: x", "Set-Cookie: x", "Content-Type: a/b", "Content-Encoding: gzip",
    "Content-Range: bytes 0-1/2", "Trailer: X", "Connection: close", "Upgrade: websocket",
    "TE: trailers", "Expect: 100-continue", "Cache-Control: no-store", "Range: bytes=0-1",
    "X-Forwarded-For: 9.9.9.9", "X_Forwarded_For: 9.9.9.9", "Forwarded: for=x", "Via: 1.1 x",
    "x-request-id: x", "If-Match: x", "Max-Forwards: 0", "Keep-Alive: 5", "Pragma: x",
]


def chunked(body):
    return post(CHUNKED, body)


def cut_at(row, *chunks):
    """The head and these chunks may have gone out before the rest was seen to be bad."""
    row.cut = octets(sent_chunked(*chunks).removesuffix("0\r\n\r\n"))
    return row


def rows():
    for size in SIZES:
        row = refused(f"chunk size {size!r}", chunked(f"{size}\r\nabc\r\n0\r\n\r\n"), "bad_chunk")
        yield cut_at(row)
    for name, body, *sent in EXTENSIONS:
        yield cut_at(refused(name, chunked(body), "bad_chunk"), *sent)
    for name, fields in TRAILERS:
        yield cut_at(refused(name, chunked(f"0\r\n{fields}\r\n"), "bad_chunk"))
    for line in FRAMING_TRAILERS:
        yield cut_at(refused(f"the trailer {line}", chunked(f"3\r\nabc\r\n0\r\n{line}\r\n\r\n"),
                             "bad_trailer"), "abc")
    yield from well_formed()
    yield from trailers()
    yield from cut()


def well_formed():
    yield passed("one chunk", chunked("3\r\nabc\r\n0\r\n\r\n"), sent_chunked("abc"))
    yield passed("no chunk", chunked("0\r\n\r\n"), sent_chunked())
    yield passed("a size in capitals", chunked("A\r\n0123456789\r\n0\r\n\r\n"),
                 sent_chunked("0123456789"))
    yield passed("a padded size", chunked("0003\r\nabc\r\n000\r\n\r\n"), sent_chunked("abc"))
    yield passed("extensions are left here", chunked('3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n'),
                 sent_chunked("abc"))
    yield passed("a request for a chunk",
                 chunked("23\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n"),
                 sent_chunked("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
    yield passed("a request behind a chunked body",
                 chunked("3\r\nabc\r\n0\r\n\r\n") + get(target="/2"),
                 sent_chunked("abc"), sent_get("/2"))
    yield passed("a chunked body behind a chunked body",
                 chunked("3\r\nabc\r\n0\r\n\r\n") + chunked("2\r\nde\r\n0\r\n\r\n"),
                 sent_chunked("abc"), sent_chunked("de"))
    yield passed("an empty line between requests",
                 chunked("0\r\n\r\n") + "\r\n" + get(target="/2"), sent_chunked(), sent_get("/2"))


def trailers():
    yield passed("trailers are passed on",
                 post(f"Trailer: X-Sum, X-More\r\n{CHUNKED}",
                      "3\r\nabc\r\n0\r\nX-Sum:  1 \r\nX-More:\r\n\r\n"),
                 sent_chunked("abc", fields="Trailer: X-Sum, X-More\r\n",
                              trailers="X-Sum: 1\r\nX-More: \r\n"))
    yield passed("64 trailers", chunked("0\r\n" + "X: y\r\n" * 64 + "\r\n"),
                 sent_chunked(trailers="X: y\r\n" * 64))
    for line in LEFT_OUT_TRAILERS:
        yield passed(f"the trailer {line} is left out", chunked(f"0\r\n{line}\r\nX: y\r\n\r\n"),
                     sent_chunked(trailers="X: y\r\n"))
    yield passed("an announcement without a chunked body", get("Trailer: X\r\n"), sent_get())
    yield passed("TE: trailers, said to this hop", get("Connection: TE\r\nTE: trailers\r\n"),
                 sent_get(fields="TE: trailers\r\n")[:-2] + "Connection: TE\r\n\r\n")
    yield passed("TE: trailers, not said to this hop", get("TE: trailers\r\n"), sent_get())
    yield passed("a request behind trailers",
                 chunked("0\r\nX: y\r\n\r\n") + get(target="/2"),
                 sent_chunked(trailers="X: y\r\n"), sent_get("/2"))


def cut():
    for name, body in (("in a size", "3"), ("behind a size", "3\r\n"), ("in a chunk", "3\r\n"),
                       ("behind a chunk", "3\r\nabc"), ("before the last chunk", "3\r\nabc\r\n"),
                       ("in a trailer", "0\r\nX: y"), ("before the last line end", "0\r\n")):
        yield Row(f"a chunked body that stops {name}", octets(chunked(body)), (408,),
                  ("client_timeout",), (None,), (), True,
                  octets(sent_chunked("abc").removesuffix("0\r\n\r\n")))
    yield Row("a head that stops", octets(f"GET / HTTP/1.1\r\n{HOST}"), (408,),
              ("client_timeout",), (None,), (), True)

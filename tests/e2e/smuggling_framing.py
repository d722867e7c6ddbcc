"""The request smuggling table: fields and how bodies are delimited."""
from smuggling import (HOST, SMUGGLED, Row, acceptable, ambiguous, get, octets, passed, post,
                       refused, sent_chunked, sent_get, sent_post)

CHUNKED = "Transfer-Encoding: chunked\r\n"
LENGTHS = [
    "+3", "-3", "3,3", "3, 3", "3,4", "0,3", "3 3", "3;", "3.0", "3e0", "0x3", "0X3", "3h", "0b11",
    "", "NaN", "\xb3", "1_0", "3\t3", "'3'", '"3"', "18446744073709551619", "9999999999999999999",
    "1000000000000000000", "000000000000000000003", "-0", "+0", "3,", ",3", "3\x0b",
]
CODINGS = [
    "xchunked", "chunkedx", "chunke", "chunked, chunked", "chunked,chunked", "gzip, chunked",
    "chunked, gzip", "identity", "chunked, identity", "identity, chunked", "", ",chunked",
    "chunked,", ", chunked", "chunked;q=1", "chunked ; a=b", '"chunked"', "'chunked'",
    "\x0bchunked",
    "chunked\x0b", "\x0cchunked", "chunked\x00", "chunked\x7f", "c hunked", "x chunked",
    "chunked\tx", "gzip", "cow", "trailers", "chunked\xa0", "\xefchunked", "ch\xfcnked", "br",
]
NAMES = [
    ("a space", "X Y"), ("a space before the colon", "X "), ("a tab before the colon", "X\t"),
    ("nothing", ""), ("a colon first", ":X"), ("a parenthesis", "X(Y)"), ("a slash", "X/Y"),
    ("an equals sign", "X=Y"), ("a quote", '"X"'), ("a comma", "X,Y"), ("a brace", "{X}"),
    ("an at sign", "X@Y"), ("a byte above ASCII", "X\xe9"), ("NUL", "X\0"), ("a control", "X\x01"),
    ("a vertical tab", "X\x0b"), ("DEL", "X\x7f"), ("a semicolon", "X;Y"), ("brackets", "[X]"),
]
LOOKALIKES = [
    "Content_Length: 5", "Content-Length-: 5", "-Content-Length: 5", "Content.Length: 5",
    "ContentLength: 5", "Content--Length: 5", "Content-Length_: 5", "Transfer_Encoding: chunked",
    "Transfer-Encoding_: chunked", "TransferEncoding: chunked", "Transfer.Encoding: chunked",
    "Transfer-Encoding!: chunked", "X_Forwarded_For: 9.9.9.9", "X_Forwarded_Proto: https",
    "x_forwarded_host: b", "X_Request_Id: 1", "Host_: b", "_Host: b",
]


def rows():
    yield from lengths()
    yield from codings()
    yield from both()
    yield from names_and_values()
    yield from lookalikes()
    yield from connection_fields()
    yield from expectations_and_upgrades()


def lengths():
    for value in LENGTHS:
        bad_byte = "\x0b" in value
        yield refused(f"length {value!r}", post(f"Content-Length: {value}\r\n", "abc"),
                      "bad_header" if bad_byte else "bad_content_length")
    yield refused("two lengths that agree", post("Content-Length: 3\r\n" * 2, "abc"),
                  "multiple_content_length")
    yield refused("two lengths that differ",
                  post("Content-Length: 3\r\ncontent-length: 0\r\n", "abc"),
                  "multiple_content_length")
    yield refused("a space behind the name of a length", post("Content-Length : 3\r\n", "abc"),
                  "bad_header")
    yield passed("a length", post("Content-Length: 3\r\n", "abc"), sent_post("abc"))
    yield passed("a length in odd case", post("cOnTeNt-LeNgTh:3\r\n", "abc"), sent_post("abc"))
    yield passed("length 0", post("Content-Length: 0\r\n"), sent_post(""))
    yield passed("neither length nor coding", post(""), "POST / HTTP/1.1\r\nHost: a\r\n~\r\n")
    yield acceptable("a padded length", post("Content-Length: 003\r\n", "abc"), "padded_length",
                     sent_post("abc"))
    yield passed("a request for a body",
                 post(f"Content-Length: {len(SMUGGLED)}\r\n", SMUGGLED), sent_post(SMUGGLED))
    yield passed("a request behind a body", post("Content-Length: 3\r\n", "abc") + get(target="/2"),
                 sent_post("abc"), sent_get("/2"))
    yield passed("a request behind an empty body",
                 post("Content-Length: 0\r\n") + get(target="/2"), sent_post(""), sent_get("/2"))
    yield refused("a length on GET that lies behind the next request",
                  get("Content-Length: 5, 5\r\n"), "bad_content_length")
    yield acceptable("GET with length 0", get("Content-Length: 0\r\n"), "zero_length_without_use",
                     sent_get()[:-2] + "Content-Length: 0\r\n\r\n")
    yield ambiguous("GET with a body", get("Content-Length: 3\r\n") + "abc", "length_without_use",
                    sent_post("abc").replace("POST", "GET"))
    yield ambiguous("TRACE with a body",
                    post("Content-Length: 3\r\n", "abc").replace("POST", "TRACE"),
                    "length_without_use", sent_post("abc").replace("POST", "TRACE"))
    yield ambiguous("GET with a chunked body", get(CHUNKED) + "3\r\nabc\r\n0\r\n\r\n",
                    "coding_without_use", sent_chunked("abc").replace("POST", "GET"))
    yield Row("a body that stops", octets(post("Content-Length: 9\r\n", "abc")), (408,),
              ("client_timeout",), (None,), (), True,
              octets(f"POST / HTTP/1.1\r\nHost: a\r\n~Content-Length: 9\r\n\r\nabc"))


def codings():
    for value in CODINGS:
        bad_byte = any(c in value for c in "\x00\x0b\x0c\x7f")
        yield refused(f"coding {value!r}",
                      post(f"Transfer-Encoding: {value}\r\n", "3\r\nabc\r\n0\r\n\r\n"),
                      "bad_header" if bad_byte else "bad_transfer_encoding")
    yield refused("two codings", post(CHUNKED * 2, "0\r\n\r\n"), "bad_transfer_encoding")
    yield refused("a coding, then chunked",
                  post(f"Transfer-Encoding: gzip\r\n{CHUNKED}", "0\r\n\r\n"),
                  "bad_transfer_encoding")
    yield refused("chunked, then identity",
                  post(f"{CHUNKED}Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
                  "bad_transfer_encoding")
    yield refused("a space behind the name of a coding",
                  post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "bad_header")
    yield refused("a tab behind the name of a coding",
                  post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), "bad_header")
    yield refused("chunked in HTTP/1.0",
                  f"POST / HTTP/1.0\r\n{HOST}{CHUNKED}\r\n0\r\n\r\n", "bad_transfer_encoding")
    yield refused("chunked in HTTP/1.0, kept alive",
                  f"POST / HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n{CHUNKED}\r\n0\r\n\r\n",
                  "bad_transfer_encoding")
    yield passed("chunked in odd case", post("tRANSFER-eNCODING:\tcHUNKED \r\n", "0\r\n\r\n"),
                 sent_chunked())


def both():
    fields = ["Content-Length: 3\r\n", CHUNKED]
    body = "3\r\nabc\r\n0\r\n\r\n"
    for name, pair in (("length, then coding", fields), ("coding, then length", fields[::-1])):
        yield refused(name, post("".join(pair), body), "both_length_and_coding")
    for value in ("identity", "xchunked", "chunked, chunked", "gzip", ""):
        yield refused(f"a length beside coding {value!r}",
                      post(f"Content-Length: 3\r\nTransfer-Encoding: {value}\r\n", body),
                      "both_length_and_coding")
    yield refused("a zero length beside chunked", post(f"Content-Length: 0\r\n{CHUNKED}", body),
                  "both_length_and_coding")
    yield refused("both in HTTP/1.0", f"POST / HTTP/1.0\r\n{HOST}{''.join(fields)}\r\n{body}",
                  "both_length_and_coding")
    yield refused("both on GET", get("".join(fields)) + body, "both_length_and_coding")


def names_and_values():
    for name, text in NAMES:
        yield refused(f"{name} in a name", get(f"{text}: v\r\n"), "bad_header")
    yield refused("no colon", get("XY\r\n"), "bad_header")
    for name, char in (("NUL", "\0"), ("a control", "\x01"), ("a vertical tab", "\x0b"),
                       ("a form feed", "\x0c"), ("a backspace", "\x08"), ("DEL", "\x7f"),
                       ("an escape", "\x1b")):
        for place in ("y{}z", "{}z", "y{}"):
            yield refused(f"{name} in the value {place}", get(f"X: {place.format(char)}\r\n"),
                          "bad_header")
    yield passed("every token character in a name", get("!#$%&'*+-.^_`|~09azAZ: v\r\n"),
                 sent_get(fields="!#$%&'*+-.^_`|~09azAZ: v\r\n"))
    yield passed("an empty value", get("X:\r\n"), sent_get(fields="X: \r\n"))
    yield passed("blanks round a value", get("X:\t v w \t\r\n"), sent_get(fields="X: v w\r\n"))
    yield acceptable("bytes above ASCII in a value", get("X: \xe9\xff\r\n"), "non_ascii_header",
                     sent_get(fields="X: \xe9\xff\r\n"))
    yield passed("a colon in a value", get("X: Host: b\r\n"), sent_get(fields="X: Host: b\r\n"))


def lookalikes():
    """They are never sent on; beside real framing they are refused."""
    for line in LOOKALIKES:
        yield ambiguous(f"the look-alike {line}", get(f"{line}\r\n"), "suspicious_header",
                        sent_get())
        if "ontent" in line or "ransfer" in line:
            yield refused(f"the look-alike {line} beside a length",
                          post(f"{line}\r\nContent-Length: 3\r\n", "abc"), "suspicious_framing")
    yield passed("no look-alikes", get("Content-Language: de\r\nTransfer-Rate: 3\r\nX_Y: 1\r\n"),
                 sent_get(fields="Content-Language: de\r\nTransfer-Rate: 3\r\nX_Y: 1\r\n"))


def connection_fields():
    for option in ("Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "Expect",
                   "Cookie", "x-request-id", "close, Host", "Via"):
        yield ambiguous(f"Connection: {option}", get(f"Connection: {option}\r\n"),
                        "connection_names_field", sent_get())
    yield ambiguous("Connection: content-length beside a body",
                    post("Connection: content-length\r\nContent-Length: 3\r\n", "abc"),
                    "connection_names_field", sent_post("abc"))
    yield ambiguous("Connection: transfer-encoding beside a body",
                    post(f"Connection: transfer-encoding\r\n{CHUNKED}", "3\r\nabc\r\n0\r\n\r\n"),
                    "connection_names_field", sent_chunked("abc"))
    yield passed("a hop-by-hop field", get("Connection: X-Mine\r\nX-Mine: 1\r\nX-Stays: 1\r\n"),
                 sent_get(fields="X-Stays: 1\r\n"))
    yield passed("fields of this hop", get("Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n"
                                           "Proxy-Authorization: x\r\n"), sent_get())
    yield passed("Connection: close", get("Connection: close\r\n"), sent_get(), closes=True)


def expectations_and_upgrades():
    for value in ("200-ok", "100-continue, x", "", "100-continue;a", "x", "100-continuex"):
        yield refused(f"Expect: {value!r}",
                      post(f"Expect: {value}\r\nContent-Length: 3\r\n", "abc"),
                      None, 417, "bad_expectation")
    yield passed("Expect with its body at once",
                 post("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"), sent_post("abc"))
    yield passed("Expect without a body", get("Expect: 100-continue\r\n"), sent_get())
    yield passed("Expect in HTTP/1.0",
                 f"POST / HTTP/1.0\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
                 sent_post("abc"), closes=True)
    yield passed("Upgrade: h2c is passed over",
                 get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                     "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), sent_get())
    for value in ("TLS/1.0", "foo", "HTTP/2.0"):
        yield Row(f"Upgrade: {value}",
                  octets(get(f"Connection: Upgrade\r\nUpgrade: {value}\r\n") + SMUGGLED), (501,),
                  ("unsupported",), (None,), (), True)
    handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    yield Row("a WebSocket handshake that the target answers with 200",
              octets(get(handshake) + SMUGGLED), (200,), (None,), (None,),
              (octets(sent_get(fields="Sec-WebSocket-Version: 13\r\n").removesuffix("\r\n")
                      + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),), True)
    yield refused("a WebSocket handshake with a body",
                  get(handshake + "Content-Length: 3\r\n") + "abc", "body_with_upgrade")
    yield refused("a WebSocket handshake with chunks",
                  get(handshake + CHUNKED) + "0\r\n\r\n", "body_with_upgrade")

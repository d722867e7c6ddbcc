"""The request smuggling table: request lines, targets, hosts and line ends."""
from smuggling import HOST, acceptable, ambiguous, get, passed, refused, sent_get

METHODS = [
    ("a control", "G\x01T"), ("a NUL", "G\0ET"), ("a tab", "GET\t/x"), ("a colon", "GET:"),
    ("a parenthesis", "GET("), ("a slash", "GE/T"), ("a byte above ASCII", "G\xc9T"),
    ("a quote", '"GET"'), ("an at sign", "GET@"), ("DEL", "GET\x7f"), ("a brace", "{GET}"),
]
VERSIONS = [
    "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3", "HTTP/1.10", "HTTP/01.1", "HTTP/1,1", "HTTP/1.",
    "HTTP/11", "http/1.1", "HTTP /1.1"[5:], "HTTPS/1.1", "ICY/1.1", "HTTP/1.1x", "HTTP/+1.1",
    "HTTP/1.1\t", "HTTP/1.1\x0b", "HTTP/\xb9.1", "RTSP/1.0",
]
TARGETS = [
    ("a fragment", "/a#b"), ("a fragment behind a query", "/?a#b"), ("NUL", "/a\0b"),
    ("a tab", "/a\tb"), ("a vertical tab", "/a\x0bb"), ("DEL", "/a\x7f"), ("a control", "/\x01"),
    ("a byte above ASCII", "/\xe9"), ("UTF-8", "/\xc3\xa9"), ("no slash", "a"),
    ("authority-form", "a:80"), ("only a query", "?a"), ("a scheme alone", "http:"),
    ("absolute without slashes", "http:a/"), ("an asterisk for GET", "*"), ("more than *", "*/x"),
    ("another scheme", "ftp://a/"), ("a file", "file:///etc/passwd"),
    ("javascript", "javascript:1"),
    ("no authority", "http:///x"), ("user information", "http://u:p@a/"),
    ("an at sign", "http://a@b/"), ("a comma in the authority", "http://a,b/"),
    ("a backslash in the authority", "http://a\\@b/"), ("a bad port", "http://a:8o/"),
    ("a port too large", "http://a:65536/"), ("two ports", "http://a:80:81/"),
    ("half an IPv6", "http://[::1/"), ("a name in brackets", "http://[evil]/"),
    ("a fragment behind an authority", "http://a#b/"), ("h2c as a scheme", "h2c://a/"),
]
HOSTS = [
    ("a path", "a/b"), ("a query", "a?b"), ("a fragment", "a#b"), ("user information", "u@a"),
    ("a space", "a b"), ("a tab", "a\tb"), ("a list", "a, b"), ("a list without a space", "a,b"),
    ("a port of letters", "a:x"), ("a signed port", "a:+80"), ("a port too large", "a:99999"),
    ("two ports", "a:80:80"), ("only a port", ":80"), ("half an IPv6", "[::1"),
    ("a name in brackets", "[a]x"), ("text behind IPv6", "[::1]x"), ("a zone", "[fe80::1%eth0]"),
    ("a backslash", "a\\b"), ("quotes", '"a"'), ("angle brackets", "<a>"), ("a pipe", "a|b"),
    ("a caret", "a^b"), ("braces", "{a}"), ("a byte above ASCII", "\xe9"), ("an URL", "http://a"),
]
LINE_ENDS = [
    ("bare LF behind the request line", f"GET / HTTP/1.1\n{HOST}\r\n"),
    ("bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("bare LF at the end", f"GET / HTTP/1.1\r\n{HOST}\n"),
    ("LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
    ("LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
    ("bare LF inside a value", f"GET / HTTP/1.1\r\n{HOST}X: y\nZ: w\r\n\r\n"),
    ("a length behind bare LF", f"POST / HTTP/1.1\r\n{HOST}X: y\nContent-Length: 9\r\n\r\n"),
    ("two CR before LF", f"GET / HTTP/1.1\r\r\n{HOST}\r\n"),
    ("bare CR inside a value", f"GET / HTTP/1.1\r\n{HOST}X: y\rZ: w\r\n\r\n"),
    ("bare CR behind the colon", f"GET / HTTP/1.1\r\n{HOST}X:\rZ: w\r\n\r\n"),
    ("a coding behind bare CR",
     f"GET / HTTP/1.1\r\n{HOST}X: y\rTransfer-Encoding: chunked\r\n\r\n"),
    ("CR before CR LF", f"GET / HTTP/1.1\r\n{HOST}X: y\r\r\n\r\n"),
    ("bare CR for the empty line", f"GET / HTTP/1.1\r\n{HOST}\r\r\n"),
    ("a folded line", f"GET / HTTP/1.1\r\n{HOST}X: y\r\n z\r\n\r\n"),
    ("a line folded by a tab", f"GET / HTTP/1.1\r\n{HOST}X: y\r\n\tz\r\n\r\n"),
    ("a folded Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    ("a folded length", f"POST / HTTP/1.1\r\n{HOST}Content-Length:\r\n 9\r\n\r\n"),
    ("a folded coding", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding:\r\n chunked\r\n\r\n"),
    ("a chunked folded", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: x\r\n chunked\r\n\r\n"),
    ("a first line that is folded", f"GET / HTTP/1.1\r\n X: y\r\n{HOST}\r\n"),
    ("a last line of blanks", f"GET / HTTP/1.1\r\n{HOST} \r\n\r\n"),
]


def rows():
    for name, method in METHODS:
        why = "bad_method" if "\t" not in method else "bad_request_line"
        if name == "a tab":
            why = "bad_method"
        yield refused(f"{name} in the method", f"{method} / HTTP/1.1\r\n{HOST}\r\n", why)
    for version in VERSIONS:
        yield refused(f"version {version!r}", get(version=version), "bad_version")
    for name, target in TARGETS:
        yield refused(f"{name} in the target", get(target=target), "bad_uri")
    for name, host in HOSTS:
        yield refused(f"{name} in Host", get(host=f"Host: {host}\r\n"), "bad_host")
    for name, text in LINE_ENDS:
        yield refused(name, text, "bad_line_end")
    yield from request_lines()
    yield from targets()
    yield from hosts()


def request_lines():
    yield refused("no target", f"GET HTTP/1.1\r\n{HOST}\r\n", "bad_request_line")
    yield refused("HTTP/0.9", "GET /\r\n\r\n", "bad_request_line")
    yield refused("a method alone", f"GET\r\n{HOST}\r\n", "bad_request_line")
    yield refused("a space first", f" GET / HTTP/1.1\r\n{HOST}\r\n", "bad_method")
    yield refused("two spaces before the target", get(target=" /"), "bad_request_line")
    yield refused("two spaces before the version", get(target="/ "), "bad_version")
    yield refused("a space in the target", get(target="/a b"), "bad_version")
    yield refused("a space behind the version", get(version="HTTP/1.1 "), "bad_version")
    yield refused("a version in the target", get(target="/ HTTP/1.1"), "bad_version")
    yield refused("a tab between method and target", f"GET\t/ HTTP/1.1\r\n{HOST}\r\n", "bad_method")
    yield refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "bad_line_end")
    yield refused("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_version")
    yield refused("a PROXY header", f"PROXY TCP4 9.9.9.9 8.8.8.8 1 2\r\n{get()}", "bad_version")
    yield refused("a response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_method")
    for method in ("BREW", "get", "Get", "GETT", "QUERYX", "X"):
        yield refused(f"the method {method}", f"{method} / HTTP/1.1\r\n{HOST}\r\n", None, 501,
                      "unsupported")
    for target in ("a:443", "/", "http://a/", "*"):
        yield refused(f"CONNECT {target}", f"CONNECT {target} HTTP/1.1\r\n{HOST}\r\n", None, 501,
                      "unsupported")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "PURGE"):
        yield passed(f"the method {method}", f"{method} /m HTTP/1.1\r\n{HOST}\r\n",
                     f"{method} /m HTTP/1.1\r\nHost: a\r\n~\r\n")
    yield passed("empty lines first", "\r\n\r\n" + get(), sent_get())
    yield refused("five empty lines first", "\r\n" * 5 + get(), "bad_line_end")
    yield passed("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", sent_get(), closes=True)
    yield passed("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", sent_get(host=""), closes=True)
    yield passed("HTTP/1.0 kept alive", get("Connection: keep-alive\r\n", version="HTTP/1.0"),
                 sent_get())
    yield passed("asterisk-form", f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n",
                 "OPTIONS * HTTP/1.1\r\nHost: a\r\n~\r\n")


def targets():
    for name, target in (("dots", "/../x"), ("two slashes", "//x"), ("a bare question mark", "/?"),
                         ("two question marks", "/?a?b"), ("an encoded slash", "/a%2fb"),
                         ("an encoded line end in the query", "/?t=a%0d%0ab"),
                         ("half an encoding", "/%"), ("no encoding", "/%zz"),
                         ("semicolons", "/a;b=c"), ("an URL in the path", "/http://b/"),
                         ("an at sign in the path", "/@b"), ("an asterisk", "/*")):
        yield passed(f"{name} in the target", get(target=target), sent_get(target))
    for char in '"<>\\^`{|}':
        yield acceptable(f"{char} in the target", get(target=f"/{char}"), "non_compliant_uri",
                         sent_get(f"/{char}"))
    for code in ("%00", "%0a", "%0D", "%1f", "%7F"):
        yield ambiguous(f"{code} in the path", get(target=f"/a{code}"), "ambiguous_uri",
                        sent_get(f"/a{code}"))
    yield passed("absolute-form", get(target="http://a/x?y"), sent_get("/x?y"))
    yield passed("absolute-form in capitals", get(target="HTTP://A/x"), sent_get("/x", host="A"))
    yield passed("absolute-form without a path", get(target="http://a"), sent_get("/"))
    yield passed("absolute-form with a query only", get(target="http://a?q"), sent_get("/?q"))
    for host in ("b", "a:80", "b.a", ""):
        yield ambiguous(f"absolute-form beside Host {host!r}",
                        get(target="http://a/x", host=f"Host: {host}\r\n"), "host_mismatch",
                        sent_get("/x"))
    yield refused("absolute-form without Host", "GET http://a/ HTTP/1.1\r\n\r\n", "bad_host")
    yield refused("absolute-form with two Hosts", get("Host: a\r\n", "http://a/"), "bad_host")


def hosts():
    yield refused("no Host", "GET / HTTP/1.1\r\n\r\n", "bad_host")
    yield refused("two Hosts", get("Host: a\r\n"), "bad_host")
    yield refused("two Hosts that differ", get("hOST: b\r\n"), "bad_host")
    yield refused("two Hosts in HTTP/1.0", get("Host: b\r\n", version="HTTP/1.0"), "bad_host")
    yield refused("a Host behind a space", get("Host : b\r\n"), "bad_header")
    for host in ("a.example", "a:80", "a:", "127.0.0.1:80", "[::1]", "[::1]:80", "a_b",
                 "xn--e-ifa"):
        yield passed(f"Host {host}", get(host=f"Host: {host}\r\n"), sent_get(host=host))
    yield passed("an empty Host", get(host="Host:\r\n"), sent_get(host=""))
    yield passed("blanks round Host", get(host="Host: \t a \t\r\n"), sent_get())
    yield passed("a Host of another", get("X-Host: b\r\nX-Forwarded-Host: b\r\n"),
                 sent_get(fields="X-Host: b\r\n"))

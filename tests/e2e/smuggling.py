"""Rows of the request smuggling table: what a client sends, what lbd answers, what a target gets.

`passed` rows name every byte that reaches the target; `~` stands for the fields lbd adds itself
(X-Forwarded-Proto, X-Forwarded-Port, x-request-id), which the test checks by a pattern.
`refused` rows reach no target with a single byte, and nothing behind them is read. A body that
turns out bad on its way may have begun to go out (`cut`): the target sees a request without an end,
and the end of its connection.
"""
import dataclasses

HOST = "Host: a\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclasses.dataclass
class Row:
    name: str
    sent: bytes
    statuses: tuple  # of all final responses, in order
    reasons: tuple = ()  # of each: the access log's reason, or None
    desync: tuple = ()  # of each: (class, reason), or None
    reached: tuple = ()  # each message the target got, byte for byte
    closes: bool = False  # lbd closes after the last response
    cut: bytes = b""  # the most that may reach a target of a request that is never whole


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def refused(name, sent, why, status=400, reason="client_protocol", smuggled=True):
    """`why`: the desync reason, or None for what is well-formed and still not served."""
    sent = octets(sent) + (octets(SMUGGLED) if smuggled else b"")
    found = ("severe", why) if why else None
    return Row(name, sent, (status,), (reason,), (found,), (), True)


def passed(name, sent, *reached, why=None, closes=False):
    """`why`: (class, reason) when it is not compliant."""
    count = len(reached)
    return Row(name, octets(sent), (200,) * count, (None,) * count, (why,) * count,
               tuple(octets(each) for each in reached), closes)


def ambiguous(name, sent, reason, reached):
    """Forwarded, and both connections are closed: what is sent behind it is never read."""
    row = passed(name, sent, reached, why=("ambiguous", reason), closes=True)
    row.sent += octets(SMUGGLED)
    return row


def acceptable(name, sent, reason, reached):
    return passed(name, sent, reached, why=("acceptable", reason))


def in_strictest(row):
    """What the mode `strictest` makes of it: only what is compliant passes."""
    if not any(found and found[0] in ("acceptable", "ambiguous") for found in row.desync):
        return row
    return Row(row.name, row.sent, (400,), ("client_protocol",), row.desync[:1], (), True)


def in_monitor(row):
    """What the mode `monitor` makes of it: nothing is refused but what never passes."""
    found = row.desync[0]
    stays = any(option in row.sent.lower() for option in (b"connection: close", b"http/1.0"))
    if stays or not found or (found[0] != "ambiguous" and found[1] != "suspicious_framing"):
        return row
    reached = row.reached or (octets(sent_post("abc")),)
    return Row(row.name, row.sent, (200, 200), (None, None), (found, None),
               (*reached, octets(sent_get("/smuggled"))))


def post(fields, body=""):
    return f"POST / HTTP/1.1\r\n{HOST}{fields}\r\n{body}"


def get(fields="", target="/", host=HOST, version="HTTP/1.1"):
    return f"GET {target} {version}\r\n{host}{fields}\r\n"


def sent_get(target="/", fields="", host="a"):
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}~\r\n"


def sent_post(body, fields="", target="/"):
    return (f"POST {target} HTTP/1.1\r\nHost: a\r\n{fields}~"
            f"Content-Length: {len(body)}\r\n\r\n{body}")


def sent_chunked(*chunks, fields="", trailers=""):
    """As lbd writes it; each chunk as it was read."""
    text = f"POST / HTTP/1.1\r\nHost: a\r\n{fields}~Transfer-Encoding: chunked\r\n\r\n"
    for chunk in chunks:
        text += f"{len(chunk):x}\r\n{chunk}\r\n"
    return text + f"0\r\n{trailers}\r\n"

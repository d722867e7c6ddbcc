"""Compression of responses: who gets which coding, what is left alone, and that nothing waits."""

import gzip
import subprocess
import time
import zlib

from h2_client import H2Client
from rig import RawOrigin, Wire, check, check_equal, test, wait_until

TEXT = b"".join(b"line %d of a page\n" % n for n in range(4000))
ON = {"compression": {}}


def page(fields="content-type: text/html; charset=utf-8\r\n", body=TEXT, status="200 OK"):
    head = f"HTTP/1.1 {status}\r\n{fields}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def target(rig, answers):
    """Answers by path: bytes, or a list of pieces sent one by one as `go` is set."""

    def serve(connection, _):
        while head := origin.head(connection):
            connection.sendall(answers[head.split()[1].decode()])

    origin = RawOrigin(rig, serve)
    return origin


def ask(port, path="/", accept="gzip", method="GET", version="1.1", more=""):
    with Wire(port) as wire:
        wanted = f"accept-encoding: {accept}\r\n" if accept else ""
        wire.send(f"{method} {path} HTTP/{version}\r\nhost: a\r\n{wanted}{more}\r\n")
        reply = wire.reply(method) if method == "HEAD" else wire.reply()
    return reply


def start(rig, answers, listener=ON, **more):
    group = {"health_check": "off", "passive": "off"}
    return rig.proxy([target(rig, answers)], group, listener, **more)


@test()
def test_each_client_gets_what_it_asks_for(rig):
    lbd = start(rig, {"/": page()}, workers=1)
    plain = ask(rig.port, accept="")
    check_equal((plain.body, plain.headers["content-length"]), (TEXT, str(len(TEXT))), "plain")
    check_equal(plain.headers["vary"], "Accept-Encoding", "Vary of a plain one")
    zipped = ask(rig.port, accept="gzip")
    check_equal(zipped.headers["content-encoding"], "gzip", "coding")
    check("content-length" not in zipped.headers, "a length of other bytes")
    check_equal(gzip.decompress(zipped.body), TEXT, "gzip")
    check(len(zipped.body) < len(TEXT) / 4, f"{len(zipped.body)} bytes of {len(TEXT)}")
    for coding in ("br", "zstd", "gzip"):
        url = f"http://127.0.0.1:{rig.port}/"
        command = ["curl", "-s", "--compressed", "-H", f"accept-encoding: {coding}", url]
        done = subprocess.run(command, capture_output=True, timeout=20)
        check_equal((done.returncode, done.stdout), (0, TEXT), f"{coding}, as curl reads it")
    check_equal(lbd.metric("lbd_compressed_responses_total", coding="gzip"), 2, "counted")
    check(lbd.metric("lbd_compression_in_bytes_total", coding="br") == len(TEXT), "bytes in")
    wait_until(lambda: len(lbd.access_log()) == 5, 5, "log")
    line = lbd.access_log()[1]
    check_equal((line["coding"], line["plain_bytes"]), ("gzip", len(TEXT)), "log")
    check_equal(line["response_bytes"], len(zipped.body), "bytes sent in the log")


@test()
def test_what_must_not_be_changed_is_not(rig):
    html = "content-type: text/html\r\n"
    answers = {
        "/image": page("content-type: image/png\r\n"),
        "/untyped": page(""),
        "/coded": page(html + "content-encoding: br\r\n"),
        "/part": page(html + "content-range: bytes 0-9/99\r\n", status="206 Partial"),
        "/fixed": page(html + "cache-control: public, no-transform\r\n"),
        "/small": page(html, b"x" * 100),
        "/none": b"HTTP/1.1 204 No Content\r\n" + html.encode() + b"\r\n",
    }
    start(rig, {**answers, "/page": page()})
    for path, answer in answers.items():
        reply = ask(rig.port, path)
        check_equal(reply.body, answer.partition(b"\r\n\r\n")[2], path)
        coding = "br" if path == "/coded" else None
        check_equal(reply.headers.get("content-encoding"), coding, f"coding of {path}")
        check("vary" not in reply.headers, f"Vary of {path}")
    old = ask(rig.port, "/page", version="1.0")
    check("content-encoding" not in old.headers, "an HTTP/1.0 client")


@test()
def test_fields_that_told_of_the_plain_bytes_change(rig):
    fields = (
        'content-type: application/problem+json\r\netag: "v1"\r\naccept-ranges: bytes\r\n'
        "content-md5: abc\r\nvary: Cookie\r\nx-mine: yes\r\n"
    )
    weak = fields.replace('"v1"', 'W/"v1"').replace("Cookie", "accept-encoding")
    start(rig, {"/": page(fields), "/weak": page(weak)})
    reply = ask(rig.port)
    check_equal(gzip.decompress(reply.body), TEXT, "body")
    check_equal((reply.headers["etag"], reply.headers["x-mine"]), ('W/"v1"', "yes"), "fields")
    check("accept-ranges" not in reply.headers and "content-md5" not in reply.headers, "stale ones")
    reply = ask(rig.port, "/weak")
    check_equal((reply.headers["etag"], reply.headers["vary"]), ('W/"v1"', "accept-encoding"), "")
    plain = ask(rig.port, accept="")
    check_equal(plain.headers["etag"], '"v1"', "of the plain one")
    refused = ask(rig.port, more="cache-control: no-transform\r\n")
    check_equal(refused.body, TEXT, "who wants no transformation")


@test()
def test_head_and_304_tell_of_what_get_would_give(rig):
    fields = 'content-type: text/html\r\netag: "v1"\r\n'
    unchanged = b'HTTP/1.1 304 Not Modified\r\netag: "v1"\r\n\r\n'
    head = f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(TEXT)}\r\n\r\n".encode()
    start(rig, {"/": page(fields), "/head": head, "/304": unchanged})
    full = ask(rig.port)
    told = ask(rig.port, "/head", method="HEAD")
    for name in ("content-encoding", "etag", "vary", "content-type"):
        check_equal(told.headers.get(name), full.headers[name], f"{name} of HEAD")
    check("content-length" not in told.headers, "HEAD has the plain length")
    again = ask(rig.port, "/304")
    check_equal((again.status, again.headers["etag"]), (304, 'W/"v1"'), "304")
    check_equal(again.headers["vary"], "Accept-Encoding", "Vary of 304")
    plain = ask(rig.port, "/304", accept="")
    check_equal((plain.headers["etag"], "vary" in plain.headers), ('"v1"', False), "a plain 304")


@test()
def test_an_event_stream_is_coded_and_never_held_back(rig):
    def serve(connection, _):
        origin.head(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            connection.sendall(b"%x\r\ndata: %d\n\n\r\n" % (9, number))
            time.sleep(0.4)
        connection.sendall(b"0\r\n\r\n")

    origin = RawOrigin(rig, serve)
    rig.proxy([origin], {"health_check": "off"}, {**ON, "http2": {"cleartext": True}})
    inflater, came = zlib.decompressobj(31), []
    with H2Client(rig.port) as client:
        stream = client.start("/", fields=[("accept-encoding", "gzip")])
        begin, seen = time.monotonic(), 0
        answer = client.answers[stream]
        while not answer.ended:
            client.receive()
            if text := inflater.decompress(answer.body[seen:]):
                came.append((time.monotonic() - begin, text))
            seen = len(answer.body)
    check_equal([text for _, text in came], [b"data: %d\n\n" % n for n in range(3)], "events")
    check(came[2][0] - came[0][0] > 0.6, f"they came together: {came}")


@test(timeout=90)
def test_large_bodies_and_clients_that_leave_cost_no_memory(rig):
    piece, count = bytes(range(256)) * 256, 480  # 30 MiB

    def serve(connection, _):
        while origin.head(connection):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
                % (len(piece) * count)
            )
            for _ in range(count):
                connection.sendall(piece)

    origin = RawOrigin(rig, serve)
    lbd = rig.proxy([origin], {"health_check": "off"}, ON)
    check_equal(gzip.decompress(ask(rig.port).body), piece * count, "a body of 30 MiB")
    before = lbd.process.rss_bytes()
    for _ in range(60):
        with Wire(rig.port) as wire:
            wire.send("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
            wire.head()
    wait_until(lambda: lbd.metric("lbd_requests_in_flight") == 0, 20, "they end")
    grown = lbd.process.rss_bytes() - before
    check(grown < 32 << 20, f"{grown >> 20} MiB more after 60 that left")

"""Responses of hostile targets: none of them may desynchronise a client."""
import time

import smuggling_responses
from http_text import NO_CHECKS
from rig import Failed, RawOrigin, Wire, check, check_equal, slowness, test, wait_until

GROUP = {**NO_CHECKS, "retries": {"attempts": 1}}
PROBE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nprobe"


class Target:
    """Sends what the row that is asked for says, whatever that is; /probe is answered properly."""

    def __init__(self, rig, rows):
        self.rows, self.carried = rows, {}  # row number or "probe": connection number
        self.origin = RawOrigin(rig, self.serve)

    def serve(self, connection, number):
        while head := self.origin.head(connection):
            path = head.split(b" ")[1].decode()[1:]
            self.carried[path] = number
            if path == "probe":
                connection.sendall(PROBE)
                continue
            row = self.rows[int(path)]
            connection.sendall(row.sent)
            if row.late:
                time.sleep(0.05)
                connection.sendall(row.late)
            if row.closes:
                return


def strict_reply(wire, method):
    """(status, body, whole): a response as narrowly as it can be read; None at the end."""
    reply = wire.head()
    while reply and reply.status < 200:
        check(not reply.all("content-length") and not reply.all("transfer-encoding"),
              f"an interim response with framing: {reply.fields}")
        reply = wire.head()
    if not reply:
        return None
    lengths, codings = reply.all("content-length"), reply.all("transfer-encoding")
    check(len(lengths) + len(codings) <= 1, f"two ways to find the end: {reply.fields}")
    if method == "HEAD" or reply.status in (204, 304):
        return reply.status, b"", True
    if codings:
        check_equal(codings, ["chunked"], "coding")
        return reply.status, *strict_chunks(wire)
    check(lengths, "a body up to the end of the connection")
    body = wire.stream.read(int(lengths[0]))
    return reply.status, body, len(body) == int(lengths[0])


def strict_chunks(wire):
    body = b""
    while line := wire.stream.readline():
        size = int(line.removesuffix(b"\r\n"), 16)
        if size == 0:
            while (field := wire.stream.readline()) not in (b"\r\n", b""):
                check(b":" in field, f"trailer {field!r}")
            return body, field == b"\r\n"
        piece = wire.stream.read(size + 2)
        body += piece[:size]
        if piece[size:] != b"\r\n":
            break
    return body, False


def check_row(port, target, number, row):
    with Wire(port) as wire:
        wire.send(f"{row.method} /{number} HTTP/1.1\r\nHost: a\r\n\r\n")
        status, body, whole = strict_reply(wire, row.method)
        check_equal(status, row.status, f"{row.name}: status")
        if row.body is None:
            check(not whole, f"{row.name}: the client takes it for whole: {body!r}")
            check(wire.at_end(), f"{row.name}: the connection stays open")
            return
        check(whole, f"{row.name}: the client's response is cut")
        if status != 502:
            check_equal(body, row.body, f"{row.name}: body")
        if row.late:
            time.sleep(0.2 * slowness())
        wire.send("GET /probe HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(strict_reply(wire, "GET"), (200, b"probe", True), f"{row.name}: the next one")
        same = target.carried["probe"] == target.carried[str(number)]
        check_equal(same, row.reuses, f"{row.name}: the target's connection carries the next one")


@test("default", timeout=180)
def test_no_response_of_a_hostile_target_desynchronises_a_client(rig):
    rows = list(smuggling_responses.rows())
    check(len(rows) >= 120, f"only {len(rows)} rows")
    target = Target(rig, rows)
    lbd = rig.proxy([target.origin], GROUP, workers=1)
    wrong = []
    for number, row in enumerate(rows):
        try:
            check_row(rig.port, target, number, row)
        except Failed as failure:
            wrong.append(str(failure))
    check(not wrong, "\n    ".join([f"{len(wrong)} rows are wrong", *wrong]))

    def logged():
        lines = [line for line in lbd.access_log() if line["uri"] != "/probe"]
        return lines if len(lines) == len(rows) else None

    lines = wait_until(logged, 10, "the access log has not every row")
    for row, line in zip(rows, lines, strict=True):
        check_equal(line.get("reason"), row.reason, f"{row.name}: logged reason")
        check_equal(line.get("cut", False), row.body is None, f"{row.name}: logged as cut")
    for reason in ("bad_response", "target_reset"):
        counted = lbd.metric("lbd_request_failures_total", target_group="app", reason=reason)
        check_equal(counted, sum(row.reason == reason for row in rows), f"counted {reason}")

"""Request smuggling: what hostile bytes make of lbd, and what reaches a target of them."""
import re
import socket

import threading

import smuggling_bodies
import smuggling_framing
import smuggling_lines
from http_text import NO_CHECKS
from rig import Failed, RawOrigin, Wire, check, check_equal, test, wait_until
from smuggling import in_monitor, in_strictest
from strict_reader import Ambiguous, Message, Unfinished

OWN = re.compile(rb"X-Forwarded-Proto: http\r\nX-Forwarded-Port: \d+\r\n"
                 rb"x-request-id: [0-9a-f]{32}\r\n")
CHUNK = re.compile(rb"([1-9a-f][0-9a-f]*)\r\n")
PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
LISTENER = {
    "forwarded_headers": {"x_forwarded_for": "remove", "forwarded": False, "via": False},
    "timeouts": {"request_head": "300ms", "body_idle": "300ms"},
}


def all_rows():
    tables = (smuggling_lines, smuggling_framing, smuggling_bodies)
    return [row for table in tables for row in table.rows()]


class Recorder:
    """A target that keeps every byte it gets and answers each request it understands."""

    def __init__(self, rig):
        self.lock, self.messages, self.unclear, self.cut = threading.Lock(), [], [], []
        self.origin = RawOrigin(rig, self.serve)

    def serve(self, connection, _):
        data = b""
        while True:
            try:
                piece = connection.recv(65536)
            except OSError:
                piece = b""
            data += piece
            try:
                while data:
                    message = Message(data)
                    data = message.rest
                    with self.lock:
                        self.messages.append(message)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            except Unfinished:
                pass
            except Ambiguous as why:
                with self.lock:
                    self.unclear.append(f"{why}: {data!r}")
                return
            if not piece:
                if data:
                    with self.lock:
                        self.cut.append(data)
                return

    def take(self):
        with self.lock:
            messages, self.messages = self.messages, []
            unclear, self.unclear = self.unclear, []
            cut, self.cut = self.cut, []
        return messages, unclear, cut


def converse(port, row, step):
    """Sends the row's bytes, `step` at a time, then a probe; (statuses, did lbd close)."""
    statuses, closed = [], False
    with Wire(port) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = row.sent
        try:
            for at in range(0, len(sent), step):
                wire.send(sent[at : at + step])
        except OSError:
            pass  # refused before its end
        for _ in row.statuses:
            reply = wire.reply()
            statuses.append(reply.status if reply else None)
        if row.closes:
            closed = wire.at_end()
        else:
            wire.send(PROBE)
            reply = wire.reply()
            check_equal(reply and reply.status, 200, f"{row.name}: the probe behind it")
            check_equal(reply.body, b"ok", f"{row.name}: the probe's body")
    return tuple(statuses), closed


def merged(raw):
    """A chunked message, whole or not, with the data of its chunks in one: what a split leaves."""
    head, end, rest = raw.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return raw
    body = b""
    while found := CHUNK.match(rest):
        size, at = int(found[1], 16), found.end()
        if rest[at + size : at + size + 2] != b"\r\n":
            break
        body, rest = body + rest[at : at + size], rest[at + size + 2 :]
    return head + end + body + rest


def check_row(port, recorder, row, step, cuts):
    """`cuts`: of it and the rows before it, of which the target may see the end only now."""
    statuses, closed = converse(port, row, step)
    check_equal(statuses, row.statuses, f"{row.name}: statuses")
    check_equal(closed, row.closes, f"{row.name}: closed")
    messages, unclear, cut = recorder.take()
    check_equal(unclear, [], f"{row.name}: unclear at the target")
    as_compared = bytes if step > 1 else merged
    for piece in (as_compared(OWN.sub(b"~", each)) for each in cut):
        check(any(as_compared(each).startswith(piece) for each in cuts),
              f"{row.name}: a request without an end at the target: {piece!r}")
    reached = [as_compared(OWN.sub(b"~", message.raw)) for message in messages]
    expected = [as_compared(each) for each in row.reached]
    if not row.closes:
        check_equal(reached.pop(), b"GET /probe HTTP/1.1\r\nHost: probe\r\n~\r\n",
                    f"{row.name}: the probe at the target")
    check_equal(reached, expected, f"{row.name}: reached the target")


def expected_log(rows):
    for row in rows:
        for status, reason, found in zip(row.statuses, row.reasons, row.desync, strict=True):
            yield row.name, status, reason, found
        if not row.closes:
            yield f"{row.name}: probe", 200, None, None


def check_log(lbd, rows):
    expected = list(expected_log(rows))
    wait_until(lambda: len(lbd.access_log()) >= len(expected), 10,
               lambda: f"{len(lbd.access_log())} lines of {len(expected)} in the access log")
    lines = lbd.access_log()
    check_equal(len(lines), len(expected), "lines in the access log")
    for line, (name, status, reason, found) in zip(lines, expected, strict=True):
        check_equal(line["status"], status, f"{name}: logged status")
        check_equal(line.get("reason"), reason, f"{name}: logged reason")
        classed = (line["desync_class"], line["desync_reason"]) if "desync_class" in line else None
        check_equal(classed, found, f"{name}: logged class")


def check_counters(lbd, rows):
    found, reasons = {}, {}
    for _, _, reason, desync in expected_log(rows):
        reasons[reason] = reasons.get(reason, 0) + 1
        found[desync] = found.get(desync, 0) + 1
    for (of, why), count in ((k, v) for k, v in found.items() if k):
        counted = lbd.metric("lbd_desync_requests_total", listener="public", reason=why)
        check_equal(counted, count, f"lbd_desync_requests_total of {of}, {why}")
        check_equal(lbd.metric("lbd_desync_requests_total", **{"class": of, "reason": why}), count,
                    f"lbd_desync_requests_total of {of}, {why} by its class")
    for reason, count in ((k, v) for k, v in reasons.items() if k):
        check_equal(lbd.metric("lbd_request_failures_total", reason=reason), count,
                    f"lbd_request_failures_total of {reason}")


def run_table(rig, step=1 << 20, rows=None, **listener):
    """`step`: how many bytes each send has."""
    recorder = Recorder(rig)
    lbd = rig.proxy([recorder.origin], NO_CHECKS, {**LISTENER, **listener}, workers=1)
    rows = rows or all_rows()
    check(len(rows) >= 400, f"only {len(rows)} rows")
    wrong, cuts = [], set()
    for row in rows:
        cuts.add(row.cut)
        try:
            check_row(rig.port, recorder, row, step, cuts)
        except Failed as failure:
            wrong.append(str(failure))
            recorder.take()
    check(not wrong, "\n    ".join([f"{len(wrong)} rows are wrong", *wrong]))
    check_log(lbd, rows)
    check_counters(lbd, rows)


@test("default", timeout=180)
def test_nothing_two_readers_could_take_differently_reaches_a_target(rig):
    run_table(rig)


@test("default", timeout=300)
def test_the_smuggling_table_holds_when_it_comes_byte_by_byte(rig):
    run_table(rig, step=1)


@test("default", timeout=180)
def test_strictest_passes_only_what_is_compliant(rig):
    run_table(rig, rows=[in_strictest(row) for row in all_rows()], desync="strictest")


@test("default", timeout=180)
def test_monitor_only_counts_what_is_not_refused_in_every_mode(rig):
    run_table(rig, rows=[in_monitor(row) for row in all_rows()], desync="monitor")

"""The access log as other tools know it: clf, combined, an ALB's; sampled; to a socket."""

import json
import re
import shlex
import socket
import threading

from h2_client import H2Client
from rig import RawOrigin, Wire, check, check_equal, request, test
from rig import wait_until

# The expression of the Athena table in AWS's user guide ("Query Application Load Balancer logs"),
# up to the 29 fields that lbd writes.
ALB = re.compile(
    r"([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*):([0-9]*) ([^ ]*)[:-]([0-9]*) ([-.0-9]*) ([-.0-9]*) "
    r"([-.0-9]*) (|[-0-9]*) (-|[-0-9]*) ([-0-9]*) ([-0-9]*) \"([^ ]*) (.*) (- |[^ ]*)\" "
    r"\"([^\"]*)\" ([A-Z0-9-_]+) ([A-Za-z0-9.-]*) ([^ ]*) \"([^\"]*)\" \"([^\"]*)\" \"([^\"]*)\" "
    r"([-.0-9]*) ([^ ]*) \"([^\"]*)\" \"([^\"]*)\" \"([^ ]*)\" \"([^\\s]+?)\" \"([^\\s]+)\" "
    r"\"([^ ]*)\" \"([^ ]*)\"$"
)


def logging(rig, targets, settings, listener=None):
    path = rig.folder / "lines.log"
    log = {"path": str(path), **settings}
    group = {"health_check": "off"}
    return rig.proxy(targets, group, listener, access_log=log, workers=1), path


def lines_of(path, count):
    read = lambda: path.read_text().splitlines() if path.exists() else []
    wait_until(lambda: len(read()) >= count, 10, lambda: f"{len(read())} of {count} lines")
    return read()


@test()
def test_combined_lines_are_those_that_log_analysers_read(rig):
    _, path = logging(rig, [rig.origin()], {"format": "combined"})
    request(rig.port, "/size?n=1000", headers={"Referer": "http://from/", "User-Agent": 'a "b"'})
    line = lines_of(path, 1)[0]
    pattern = (
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
        r'"GET /size\?n=1000 HTTP/1\.1" 200 1000 "http://from/" "a \\x22b\\x22"'
    )
    check(re.fullmatch(pattern, line), line)


@test()
def test_an_albs_lines_are_read_by_the_expression_that_aws_gives(rig):
    listener = {
        "rules": [
            {"when": {"path": "/old/*"}, "then": {"redirect": {"path": "/new"}}},
            {"when": {"path": "/plain"}, "then": {"respond": {"status": 418}}},
            {"when": {"path": "/id"}, "then": {"forward": "app"}},
        ],
        "http2": {"cleartext": True},
        "trace": {"x_amzn_trace_id": "make"},
    }
    origin = rig.origin()
    _, path = logging(rig, [origin], {"format": "alb"}, listener)
    request(rig.port, "/id")
    request(rig.port, "/old/x")
    request(rig.port, "/plain")
    request(rig.port, "/status/404", headers={"User-Agent": "me"})
    with H2Client(rig.port) as client:
        client.fetch("/id")
    with Wire(rig.port) as wire:
        wire.send("GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n")
        wire.reply()
    strange = [line for line in lines_of(path, 6) if not ALB.match(line)]
    check_equal(strange, [], "lines that do not match")
    rows = [shlex.split(line) for line in lines_of(path, 6)]
    check_equal({len(row) for row in rows}, {29}, "fields")
    check_equal([row[0] for row in rows], ["http", "http", "http", "http", "h2", "http"], "types")
    check_equal([row[8] for row in rows], ["200", "301", "418", "404", "200", "400"], "statuses")
    check_equal([row[20] for row in rows], ["3", "1", "2", "0", "3", "-1"], "rules")
    actions = ["forward", "redirect", "fixed-response", "forward", "forward", "-"]
    check_equal([row[22] for row in rows], actions, "actions")
    check(rows[1][23].endswith("/new"), f"redirect_url {rows[1][23]}")
    check_equal((rows[0][4], rows[0][25], rows[0][26]), (origin.text, origin.text, "200"), "target")
    check_equal((rows[5][27], rows[5][28]), ("Severe", "bad_header"), "classification")
    check(re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", rows[0][17]), f"trace {rows[0][17]}")


@test()
def test_a_sample_leaves_out_what_went_well_and_counts_it(rig):
    lbd, path = logging(rig, [rig.origin()], {"sample": "10%", "slow": "200ms"})
    with Wire(rig.port) as wire:
        for _ in range(300):
            wire.send("GET /id HTTP/1.1\r\nhost: x\r\n\r\n")
            wire.reply()
    for _ in range(5):
        request(rig.port, "/status/503")
        request(rig.port, "/slow?ms=250")
    count = lambda: lbd.metric("lbd_access_log_lines_total")
    left_out = lambda: lbd.metric("lbd_access_log_sampled_out_total")
    wait_until(lambda: count() + left_out() == 310, 10, "310 requests accounted for")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    check_equal(sum(line["status"] == 503 for line in lines), 5, "errors")
    check_equal(sum(line["uri"] == "/slow?ms=250" for line in lines), 5, "slow ones")
    check(10 <= count() - 10 <= 60, f"{count()} lines of 310")


def read(listener, held, got):
    """Takes one connection and keeps its lines until it ends."""
    held.append(listener.accept()[0])
    with held[0].makefile("r") as stream:
        while line := stream.readline():
            got.append(line)


@test()
def test_lines_go_to_a_socket_whose_reader_may_be_restarted(rig):
    path = str(rig.folder / "log.sock")
    log = {"path": f"unix:{path}", "format": "clf"}
    rig.proxy([rig.origin()], {"health_check": "off"}, access_log=log)
    request(rig.port, "/id?nobody-listens-yet")
    for round_ in range(2):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            got, held = [], []
            reader = threading.Thread(target=read, args=(listener, held, got), daemon=True)
            reader.start()
            for number in range(20):
                request(rig.port, f"/id?{round_}-{number}")
            wait_until(lambda: any(f"{round_}-19" in line for line in got), 10, "the last line")
            check(all(line.startswith("127.0.0.1 - - [") for line in got), f"lines: {got[:2]}")
            held[0].shutdown(socket.SHUT_RDWR)
            held[0].close()
        rig.folder.joinpath("log.sock").unlink()
        if round_ == 0:
            check(any("nobody-listens-yet" in line for line in got), "the first line is lost")


@test()
def test_a_trace_begins_here_or_goes_on_over_either_protocol(rig):
    def serve(connection, _):
        while origin.head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    def last(name):
        found = re.findall(rb"(?i)\r\n%s: ([^\r]+)" % name, origin.seen[-1])
        return [value.decode() for value in found]

    origin = RawOrigin(rig, serve)
    make = {"traceparent": "make", "x_amzn_trace_id": "make", "sampled": "0%"}
    listener = {"trace": make, "http2": {"cleartext": True}}
    lbd = rig.proxy([origin], {"health_check": "off"}, listener=listener, workers=1)
    reply = request(rig.port, "/a")
    made = f"00-{reply.headers['x-request-id']}-[0-9a-f]{{16}}-00"
    check(re.fullmatch(made, last(b"traceparent")[0]), f"{last(b'traceparent')}, not {made}")
    check_equal(len(last(b"x-amzn-trace-id")), 1, "X-Amzn-Trace-Id")
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with H2Client(rig.port) as client:
        client.fetch("/b", fields=[("traceparent", parent), ("tracestate", "v=1")])
    check_equal(last(b"traceparent"), [parent], "passed on")
    check_equal(last(b"tracestate"), ["v=1"], "its state")
    wait_until(lambda: len(lbd.access_log()) == 2, 5, "two lines")
    ids = [line["trace_id"] for line in lbd.access_log()]
    check_equal(ids, [reply.headers["x-request-id"], parent[3:35]], "in the log")
    lbd.config["listeners"]["public"]["trace"] = {"traceparent": "remove"}
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    request(rig.port, "/c", headers={"traceparent": parent, "tracestate": "v=1"})
    check_equal(last(b"traceparent") + last(b"tracestate"), [], "removed")

"""The JSON access log, one line per request, and the daemon's own log."""
import datetime
import json

from rig import RawOrigin, Wire, check, check_equal, free_port, request, test, wait_until


def log_of(lbd, count):
    wait_until(lambda: len(lbd.access_log()) >= count, 5, f"fewer than {count} access log lines")
    return lbd.access_log()


def find(line, *names):
    """The value of the first of these keys, at any depth; None when there is none."""
    for key, value in line.items():
        if key in names:
            return value
        if isinstance(value, dict) and (inner := find(value, *names)) is not None:
            return inner
    return None


@test()
def test_each_request_is_one_line_with_all_that_an_operator_asks_for(rig):
    origin = rig.origin()
    lbd = rig.proxy([origin])
    reply = request(rig.port, "/size?n=1000", headers={"Host": "shop.example", "User-Agent": "me"})
    check_equal(reply.status, 200, "status")
    line = log_of(lbd, 1)[0]
    check_equal(find(line, "status"), 200, "status")
    check_equal(find(line, "method"), "GET", "method")
    check_equal(find(line, "host"), "shop.example", "host")
    check(str(find(line, "path", "target_path", "url", "uri")).startswith("/size"), "path")
    check_equal(find(line, "target", "upstream"), origin.text, "target")
    check_equal(find(line, "zone"), "a", "zone")
    check_equal(find(line, "target_group", "group"), "app", "target group")
    check_equal(find(line, "listener"), "public", "listener")
    check_equal(find(line, "user_agent"), "me", "user agent")
    check(find(line, "bytes_sent", "response_bytes", "sent_bytes") >= 1000, "bytes sent")
    check(find(line, "generation") is not None, "generation")
    check_equal(find(line, "request_id"), reply.headers["x-request-id"], "request id")
    when = find(line, "at", "time", "timestamp", "@timestamp")
    datetime.datetime.fromisoformat(str(when).replace("Z", "+00:00"))


@test()
def test_phase_timings_add_up(rig):
    lbd = rig.proxy([rig.origin()])
    request(rig.port, "/slow?ms=300")
    line = log_of(lbd, 1)[0]
    keys = {key: value for key, value in flat(line).items() if isinstance(value, (int, float))}
    ttfb = next((v for k, v in keys.items() if "ttfb" in k or "response_head" in k), None)
    total = next((v for k, v in keys.items() if "total" in k or "duration" in k), None)
    check(ttfb is not None and total is not None, f"no ttfb and total in {line}")
    unit = 1 if total < 10 else 1000
    check(0.28 * unit < ttfb <= total < 0.8 * unit, f"ttfb {ttfb}, total {total}")


def flat(line, prefix=""):
    found = {}
    for key, value in line.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


@test()
def test_a_failure_has_its_reason_and_its_attempts(rig):
    closed = {"address": f"127.0.0.1:{free_port()}", "zone": "a"}
    off = {"health_check": "off", "passive": "off"}
    lbd = rig.proxy([closed], {**off, "retries": {"attempts": 2}})
    check_equal(request(rig.port, "/x").status, 502, "status")
    line = log_of(lbd, 1)[0]
    check_equal(find(line, "reason"), "connect_failed", f"reason: {line}")
    attempts = find(line, "attempts")
    count = len(attempts) if isinstance(attempts, list) else attempts
    check(count and count >= 1, f"attempts: {line}")


@test()
def test_a_client_that_leaves_is_logged_as_client_gone(rig):
    lbd = rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send("GET /slow?ms=3000 HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_until(lambda: lbd.metric("lbd_requests_in_flight") == 1, 5, "in flight")
    line = log_of(lbd, 1)[0]
    check_equal((find(line, "status"), find(line, "reason")), (499, "client_gone"), "line")


@test()
def test_hostile_bytes_cannot_forge_a_line(rig):
    def script(connection, _):
        origin.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    origin = RawOrigin(rig, script)
    lbd = rig.proxy([origin], {"health_check": "off"})
    with Wire(rig.port) as wire:
        agent = 'x","status":"forged\\\x09\x80\xff'
        wire.send(f"GET /%0a%22?q=\" HTTP/1.1\r\nhost: x\r\nuser-agent: {agent}\r\n\r\n")
        wire.reply()
    path = lbd.folder / "access.log"
    wait_until(lambda: path.exists() and path.read_bytes().endswith(b"\n"), 5, "a log line")
    lines = path.read_bytes().decode("utf-8").splitlines()  # valid UTF-8, or this raises
    check_equal(len(lines), 1, "lines")
    check(find(json.loads(lines[0]), "status") != "forged", "a field was forged")


@test()
def test_a_request_too_long_for_the_log_is_a_line_all_the_same(rig):
    """60 KiB of target, of user agent and of host: each is cut, the rest of the line is whole."""
    long = {
        "request_line_bytes_max": "64KiB",
        "header_bytes_max": "64KiB",
        "headers_bytes_max": "256KiB",
    }
    lbd = rig.proxy([rig.origin()], listener={"limits": long})
    with Wire(rig.port) as wire:
        target = "/id?" + "q" * (60 * 1024)
        agent = "user-agent: " + "x\"\\" * (20 * 1024)
        wire.send(f"GET {target} HTTP/1.1\r\nhost: {'h' * 60000}\r\n{agent}\r\n\r\n")
        wire.reply()
    line = log_of(lbd, 1)[0]
    check(find(line, "uri").startswith("/id?qqq") and find(line, "uri").endswith("\u2026"), "uri")
    check(find(line, "host").endswith("h\u2026"), "host")
    check(find(line, "user_agent").endswith("\u2026"), "user agent")
    check(find(line, "duration_seconds") is not None, "what comes after them")
    check_equal(lbd.metric("lbd_access_log_dropped_total"), 0, "dropped lines")


@test()
def test_two_hundred_requests_make_two_hundred_lines_even_through_a_stop(rig):
    lbd = rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        for _ in range(200):
            wire.send("GET /id HTTP/1.1\r\nhost: x\r\n\r\n")
            wire.reply()
    lbd.stop()
    check_equal(len(lbd.access_log()), 200, "lines after the stop")
    ids = {find(line, "request_id") for line in lbd.access_log()}
    check_equal(len(ids), 200, "distinct request ids")

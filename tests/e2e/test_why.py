"""`lbd why`: the log line, the metric and the command agree on why a request ended as it did."""
import json
import threading

from h2_client import HEADERS, RST_STREAM, Attacker, H2Client
from http_text import NO_CHECKS, answer, get
from rig import RawOrigin, Wire, check, check_equal, free_port, request, test, wait_until
from test_grpc import Cart, channel, path
from test_grpc import proxy as grpc_proxy

OFF = {**NO_CHECKS, "passive": "off"}
TRUSTING = {"forwarded_headers": {"trusted_proxies": ["127.0.0.0/8"]}}


def line_of(lbd, count=1):
    """The log's line number `count`, from 1."""
    wait_until(lambda: len(lbd.access_log()) >= count, 5, f"fewer than {count} lines")
    return lbd.access_log()[count - 1]


def why(lbd, request_id):
    """What `lbd why ID` says, as fields; the text says the same."""
    code, out, err = lbd.cli("why", request_id, "--output", "json")
    check_equal(code, 0, f"lbd why {request_id}: {err}")
    found = json.loads(out)["requests"]
    text = lbd.cli("why", request_id)[1]
    for sentence in found[0]["sentences"]:
        check(sentence in text, f"{sentence!r} is not in {text}")
    return found[0]


def check_agreement(lbd, line, reason, **labels):
    """The line, one count of the metric, and `lbd why` have this reason; returns the last."""
    check_equal(line.get("reason"), reason, f"the log's line {line}")
    count = lbd.metric("lbd_request_failures_total", reason=reason, **labels)
    check_equal(count, 1, f"the metric's {reason}")
    said = why(lbd, line["request_id"])
    for key in ("reason", "reason_flag", "status", "rule", "listener", "time", "uri", "client_port",
                "request_bytes", "response_bytes"):
        check_equal(said[key], line.get(key, ""), key)
    sentences = " ".join(said["sentences"])
    check(f"Reason: {reason} ({line['reason_flag']}). {said['what']}" in sentences, sentences)
    check(f"Look at: {said['look_at']}." in said["sentences"], sentences)
    return said


@test()
def test_a_smuggling_attempt_is_found_by_the_id_of_its_answer(rig):
    lbd = rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send("POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 4\r\n"
                  "transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")
        reply = wire.reply()
    check_equal(reply.status, 400, "status")
    line = line_of(lbd)
    check_equal(line["request_id"], reply.headers["x-request-id"], "the log's id")
    said = check_agreement(lbd, line, "client_protocol", target_group="")
    check_equal((said["desync_class"], said["desync_reason"]), ("severe", "both_length_and_coding"),
                "desync")
    check_equal((said["attempts"], said["method"]), ([], "POST"), "attempts, method")
    check("before a rule was looked for" in said["sentences"][1], said["sentences"][1])


@test()
def test_what_is_no_request_at_all_has_an_id_all_the_same(rig):
    lbd = rig.proxy([rig.origin()])
    with Wire(rig.port) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        reply = wire.reply()
    line = line_of(lbd)
    check_equal(line["request_id"], reply.headers["x-request-id"], "id")
    said = check_agreement(lbd, line, "client_protocol")
    check("something that is no request" in said["sentences"][0], said["sentences"][0])


@test()
def test_an_unreachable_target_is_named_with_each_attempt(rig):
    dead = [{"address": f"127.0.0.1:{free_port()}", "zone": zone} for zone in "ab"]
    lbd = rig.proxy(dead, {**OFF, "retries": {"attempts": 2}})
    check_equal(request(rig.port, "/x").status, 502, "status")
    said = check_agreement(lbd, line_of(lbd), "connect_failed", target_group="app")
    check_equal(sorted((each["target"], each["zone"]) for each in said["attempts"]),
                sorted((each["address"], each["zone"]) for each in dead), "attempts")
    check_equal({each["reason"] for each in said["attempts"]}, {"connect_failed"}, "their reasons")
    check("Attempt 2 at " in said["sentences"][3], said["sentences"])
    check("The target refused or reset" in said["sentences"][3], said["sentences"])


@test()
def test_a_timeout_says_how_long_the_target_was_waited_for(rig):
    done = threading.Event()

    def script(connection, _):
        origin.head(connection)
        done.wait(20)

    origin = RawOrigin(rig, script)
    lbd = rig.proxy([origin], {**OFF, "timeouts": {"response_head": "100ms"}})
    check_equal(request(rig.port, "/slow", "POST", body=b"12345").status, 504, "status")
    done.set()
    said = check_agreement(lbd, line_of(lbd), "target_timeout", target_group="app")
    check(said["attempts"][0]["failed_seconds"] >= 0.1, f"{said['attempts']}")
    check(said["attempts"][0]["connect_seconds"] > 0, f"{said['attempts']}")
    check_equal(said["request_bytes"], 5, "bytes of the request")


@test()
def test_a_retry_that_succeeded_is_kept_though_nothing_failed(rig):
    good = rig.origin()
    dead = f"127.0.0.1:{free_port()}"
    lbd = rig.proxy([good.target(), {"address": dead, "zone": "a"}],
                    {**OFF, "balance": "round_robin", "retries": {"attempts": 2}}, workers=1)
    for _ in range(2):  # one of them begins at the dead one
        check_equal(request(rig.port, "/id").status, 200, "status")
    line_of(lbd, 2)
    line = next(each for each in lbd.access_log() if len(each["attempts"]) == 2)
    check("reason" not in line, f"{line}")
    check_equal(lbd.metric("lbd_request_failures_total"), 0, "failures")
    said = why(lbd, line["request_id"])
    check_equal((said["reason"], said["kept_for"], said["status"]), ("", "retried", 200), "why")
    check_equal([(each["target"], each["reason"], each["status"]) for each in said["attempts"]],
                [(dead, "connect_failed", 0), (good.text, "", 200)], "attempts")
    phases = said["phases"]
    check(abs(sum(phases.values()) - said["duration_seconds"]) < 1e-4, f"{phases} of {said}")
    other = next(each for each in lbd.access_log() if len(each["attempts"]) == 1)
    check_equal(lbd.cli("why", other["request_id"])[0], 1, "what went well is not kept")


@test()
def test_a_429_a_5xx_of_the_target_and_a_slow_one_are_told_apart_in_the_list(rig):
    origin = rig.origin()
    lbd = rig.proxy([origin], listener={
        "rules": [{"name": "limited", "when": {"path": "/limited"}, "then": {"forward": "app"},
                   "rate_limits": [{"by": "all", "requests": 1, "per": "1h"}]}]},
        workers=1, access_log={"path": str(rig.folder / "lbd/access.log"), "slow": "150ms"})
    check_equal(request(rig.port, "/limited").status, 200, "within the limit")
    limited = request(rig.port, "/limited")
    check_equal(limited.status, 429, "over the limit")
    check_agreement(lbd, line_of(lbd, 2), "rate_limited", target_group="")
    failed = request(rig.port, "/status/503").headers["x-request-id"]
    slow = request(rig.port, "/slow?ms=200").headers["x-request-id"]
    line_of(lbd, 4)
    check_equal((why(lbd, failed)["kept_for"], why(lbd, failed)["origin"]), ("error", "target"),
                "the target's 503")
    check_equal(why(lbd, slow)["kept_for"], "slow", "the slow one")
    lines = lbd.cli("why")[1].splitlines()
    check_equal(len(lines), 4, f"a head and three lines: {lines}")
    ids = (limited.headers["x-request-id"], failed, slow)
    for line, request_id, rest in zip(lines[1:], ids, ("429", "503", "200")):
        check(request_id in line and f" {rest} " in line, line)
    check_equal(len(lbd.cli("why", "--limit", "1")[1].splitlines()), 2, "--limit")
    check(slow in lbd.cli("why", "--limit", "1")[1], "the newest")


@test()
def test_what_http_2_refuses_is_found_with_its_id_or_in_the_list(rig):
    lbd = rig.proxy([rig.origin()], listener={
        "http2": {"cleartext": True},
        "limits": {"header_bytes_max": "4KiB", "headers_bytes_max": "4KiB"}})
    with H2Client(rig.port) as client:
        got = client.fetch("/x", fields=[("x-long", "y" * 3000), ("x-longer", "y" * 3000)])
    check_equal(got.status, 431, "status")
    line = line_of(lbd)
    check_equal(line["request_id"], got.fields["x-request-id"], "id")
    check_equal(check_agreement(lbd, line, "header_too_large")["protocol"], "HTTP/2.0", "protocol")
    with Attacker(rig.port) as attacker:  # is reset: no answer that could have told an id
        attacker.send(attacker.request(1, "/x", "GET", ("connection", "close")))
        kinds = {kind for kind, _, stream, _ in attacker.frames(1) if stream == 1}
    check(RST_STREAM in kinds and HEADERS not in kinds, f"{kinds}")
    line = line_of(lbd, 2)
    said = check_agreement(lbd, line, "client_protocol")
    check_equal(said["status"], 0, "nobody got a status")
    check(line["request_id"] in lbd.cli("why")[1], "in the list")


@test()
def test_a_grpc_call_that_lbd_fails_and_one_that_the_server_fails(rig):
    cart = Cart(rig)
    lbd = grpc_proxy(rig, [cart])
    with channel(rig.port) as made:
        call = made.unary_unary(path("Fail"))
        for code in ("13", "5"):  # INTERNAL is one, NOT_FOUND is an answer
            check(call.future(b"%s" % code.encode(), timeout=15).exception() is not None, code)
    line = line_of(lbd, 2) and lbd.access_log()[0]
    said = why(lbd, line["request_id"])
    check_equal((said["kept_for"], said["grpc_status"], said["reason"]), ("error", 13, ""), "why")
    check_equal(lbd.cli("why", lbd.access_log()[1]["request_id"])[0], 1, "an answer is not kept")
    dead = {"address": f"127.0.0.1:{free_port()}", "zone": "a"}
    lbd.config["target_groups"]["app"].update(OFF, targets=[dead], retries={"attempts": 1})
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    with channel(rig.port) as made:
        failed = made.unary_unary(path("Echo")).future(b"", timeout=15).exception()
    check(failed is not None, "no server")
    said = check_agreement(lbd, line_of(lbd, 3), "connect_failed", target_group="app")
    check_equal((said["grpc_status"], said["status"]), (14, 200), "what the client got")


@test()
def test_requests_of_one_id_are_all_shown_the_newest_first(rig):
    dead = {"address": f"127.0.0.1:{free_port()}", "zone": "a"}
    lbd = rig.proxy([dead], OFF, TRUSTING)
    for path_ in ("/first", "/second", "/third"):
        request(rig.port, path_, headers={"x-request-id": "mine-1"})
    line_of(lbd, 3)
    found = lbd.json("why", "mine-1")["requests"]
    check_equal([each["uri"] for each in found], ["/third", "/second", "/first"], "order")
    text = lbd.cli("why", "mine-1")[1]
    check_equal(text.count("request mine-1\n"), 3, text)
    check(text.index("/third") < text.index("/first"), text)


@test()
def test_an_unknown_id_says_what_is_kept_and_where_else_to_look(rig):
    lbd = rig.proxy([rig.origin()])
    code, out, err = lbd.cli("why", "no\x1bsuch")
    check_equal((code, out), (1, ""), "exit code and output")
    for part in ("'no\\x1Bsuch'", "1024", "access log", "took 1 s"):
        check(part in err, f"{part} is not in {err}")
    check("nothing has failed" in lbd.cli("why")[1], "an empty list")


@test()
def test_hostile_bytes_of_a_request_reach_no_terminal(rig):
    dead = {"address": f"127.0.0.1:{free_port()}", "zone": "a"}
    lbd = rig.proxy([dead], OFF)
    with Wire(rig.port) as wire:
        wire.send(get("/a\\b\"" + "%1b" + "\x9b31m" + "q" * 9000))
        wire.reply()
    line = line_of(lbd)
    for text in (lbd.cli("why", line["request_id"])[1], lbd.cli("why")[1]):
        check("\x9b" not in text and "\x1b" not in text, repr(text))
        check("/a\\x5Cb\"%1b" in text and "..." in text, text)


@test()
def test_it_works_without_an_access_log_and_a_flood_of_refusals_leaves_failures(rig):
    origin = RawOrigin(rig, lambda connection, _: origin.head(connection)
                       and answer(connection, b"ok"))
    lbd = rig.proxy([{"address": f"127.0.0.1:{free_port()}", "zone": "a"}, origin.target()],
                    {**OFF, "retries": {"attempts": 1}, "balance": "round_robin"},
                    {"rules": [{"name": "closed", "when": {"path": "/closed"},
                                "then": {"forward": "app"}, "access": {"deny": ["127.0.0.1"]}}]},
                    access_log="off", workers=1)
    failed = [reply for reply in (request(rig.port, "/x") for _ in range(2)) if reply.status == 502]
    check_equal(len(failed), 1, "one of two was refused by its target")
    with Wire(rig.port) as wire:
        for _ in range(1500):
            wire.send(get("/closed"))
            last = wire.reply()
    check_equal(last.status, 403, "status")
    said = why(lbd, last.headers["x-request-id"])
    check_equal(said["reason"], "access_denied", "the last of the flood")
    said = why(lbd, failed[0].headers["x-request-id"])
    check_equal((said["reason"], said["uri"]), ("connect_failed", "/x"), "what came before it")
    check(said["time"].startswith("20"), said["time"])
    check_equal(len(lbd.json("why", "--limit", "1000")["requests"]), 1000, "most of a list")

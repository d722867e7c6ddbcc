"""What rules do with a request: weighted groups, rewrites, header fields, limits, error pages."""
import subprocess
import time

from http_text import NO_CHECKS
from rig import RawOrigin, Wire, check, check_equal, free_port, request, simple_config, test

FORWARD = {"forward": "app"}


def ruled(rig, rules, targets=None, *, groups=None, **listener):
    """lbd with these rules before the default group; more `groups` by name."""
    rig.port = free_port()
    targets = targets or [rig.origin()]
    config = simple_config(rig.port, targets, NO_CHECKS, {"rules": rules, **listener})
    for name, of_group in (groups or {}).items():
        config["target_groups"][name] = {**config["target_groups"]["app"], "targets": of_group}
    return rig.lbd(config)


def head_that_arrives(rig, path, rule, **more):
    """The bytes that a target gets for a GET of `path` under one rule that matches all."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: x\r\n\r\n"
    target = RawOrigin(rig, lambda connection, _: (target.head(connection),
                                                   connection.sendall(answer)))
    ruled(rig, [{"then": FORWARD, **rule}], [target.target()])
    reply = request(rig.port, path, headers={"host": "shop.test:80", **more})
    check_equal(reply.status, 200, "status")
    lines = target.seen[0].decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, value = line.split(": ", 1)
        fields.setdefault(name.lower(), []).append(value)
    return lines[0], fields


@test()
def test_weighted_groups_get_their_shares(rig):
    old, new = rig.origin("old"), rig.origin("new")
    rule = {"then": {"forward": {"app": 75, "canary": 25, "never": 0}}}
    nobody = [{"address": "127.0.0.1:9", "zone": "a"}]
    daemon = ruled(rig, [rule], [old], groups={"canary": [new.target()], "never": nobody})
    with Wire(rig.port) as wire:
        for _ in range(400):
            wire.send("GET /id HTTP/1.1\r\nhost: x\r\n\r\n")
            check_equal(wire.reply().status, 200, "status")
    share = daemon.metric("lbd_target_responses_total", target_group="canary") / 400
    check(0.15 < share < 0.35, f"the canary's share is {share}")


@test()
def test_a_rewrite_changes_what_the_target_gets_and_nothing_else(rig):
    line, fields = head_that_arrives(rig, "/shop/cart?debug=1&a=b", {"rewrite": {
        "host": "inner.test:8080",
        "path_prefix": {"from": "/shop/", "to": "/v2"},
        "query": {"remove": ["debug"], "set": {"who": "#{client_ip}"}, "add": {"x": "a b"}},
    }})
    check_equal(line, "GET /v2/cart?a=b&who=127.0.0.1&x=a%20b HTTP/1.1", "request line")
    check_equal(fields["host"], ["inner.test:8080"], "host")
    check('host="shop.test:80"' in fields["forwarded"][0], f"forwarded: {fields['forwarded']}")


@test()
def test_a_path_is_rewritten_by_a_regular_expression(rig):
    path_regex = {"match": r"^/api/v(\d+)/(.*)$", "to": r"/\2/\1"}
    line, _ = head_that_arrives(rig, "/api/v7/users/1?x=/api/v9/", {"rewrite": {
        "path_regex": path_regex}})
    check_equal(line, "GET /users/1/7?x=/api/v9/ HTTP/1.1", "request line")


@test()
def test_a_rewritten_request_is_not_routed_again_and_is_logged_as_it_came(rig):
    loop = {"name": "first", "when": {"path": "/a/*"}, "then": FORWARD,
            "rewrite": {"path_prefix": {"from": "/a", "to": "/b"}}}
    trap = {"name": "trap", "when": {"path": "/b/*"}, "then": {"respond": {"status": 418}}}
    daemon = ruled(rig, [loop, trap])
    check(request(rig.port, "/a/x").status != 418, "the second rule got it")
    line = daemon.stop() or daemon.access_log()[-1]
    check_equal((line["rule"], line["uri"]), ("first", "/a/x"), "log")


@test()
def test_header_fields_of_the_request_are_removed_set_and_added(rig):
    edits = {"remove": ["X-Debug", "x-forwarded-port"],
             "set": {"X-Client": "#{client_ip}", "x-who": "lbd"}, "add": {"X-Via": "#{host}"}}
    _, fields = head_that_arrives(rig, "/", {"request_headers": edits}, **{
        "X-Debug": "1", "X-Who": "client", "X-Via": "before", "X-Client": "9.9.9.9"})
    check("x-debug" not in fields and "x-forwarded-port" not in fields, f"{fields}")
    check_equal(fields["x-who"], ["lbd"], "set")
    check_equal(fields["x-client"], ["127.0.0.1"], "set to a variable")
    check_equal(fields["x-via"], ["before", "shop.test"], "added")


@test()
def test_header_fields_of_every_response_of_a_rule_are_changed(rig):
    edits = {"remove": ["Server"], "set": {"Strict-Transport-Security": "max-age=60"},
             "add": {"X-Id": "#{request_id}"}}
    gone = [{"address": "127.0.0.1:9", "zone": "a"}]
    rules = [
        {"when": {"path": "/fixed"}, "then": {"respond": {"status": 204}}},
        {"when": {"path": "/moved"}, "then": {"redirect": {"path": "/x"}}},
        {"when": {"path": "/down"}, "then": {"forward": "gone"}},
        {"when": {"path": "/id"}, "then": FORWARD},
    ]
    ruled(rig, [{**rule, "response_headers": edits} for rule in rules], groups={"gone": gone})
    for path, status in {"/fixed": 204, "/moved": 301, "/down": 502, "/id": 200}.items():
        reply = request(rig.port, path)
        check_equal(reply.status, status, path)
        check_equal(reply.headers.get("strict-transport-security"), "max-age=60", path)
        check("server" not in reply.headers, f"{path}: Server is there")
        check(len(reply.headers["x-id"]) == 32, f"{path}: {reply.headers['x-id']}")


@test()
def test_a_client_cannot_split_a_header_by_what_a_variable_holds(rig):
    ruled(rig, [{"then": {"respond": {"status": 200, "body": "ok"}},
                 "response_headers": {"set": {"X-Path": "#{path}?#{query}"}}}])
    reply = request(rig.port, "/a%0d%0aSet-Cookie:x=1?b%0d%0a")
    check_equal(reply.headers["x-path"], "a%0d%0aSet-Cookie:x=1?b%0d%0a", "as it was sent")
    check("set-cookie" not in reply.headers, "a header was split")


@test()
def test_deadlines_of_a_rule_replace_those_of_listener_and_group(rig):
    silent = RawOrigin(rig, lambda connection, _: time.sleep(5))
    rules = [{"when": {"path": "/head"}, "then": FORWARD, "timeouts": {"response_head": "200ms"}},
             {"when": {"path": "/total"}, "then": FORWARD, "timeouts": {"total": "300ms"}}]
    ruled(rig, rules, [silent.target()])
    for path in ("/head", "/total"):
        began = time.monotonic()
        reply = request(rig.port, path)
        check_equal((reply.status, reply.headers["x-lbd-reason"]), (504, "target_timeout"), path)
        check(time.monotonic() - began < 3, f"{path}: took {time.monotonic() - began:.1f} s")


@test()
def test_a_rule_says_how_often_its_requests_are_tried(rig):
    closing = RawOrigin(rig, lambda connection, _: closing.head(connection))
    rules = [{"when": {"path": "/once"}, "then": FORWARD, "retries": {"attempts": 1}},
             {"when": {"path": "/four"}, "then": FORWARD, "retries": {"attempts": 4}}]
    ruled(rig, rules, [closing.target()])
    for path, times in {"/once": 1, "/four": 4}.items():
        before = len(closing.seen)
        check_equal(request(rig.port, path).status, 502, path)
        check_equal(len(closing.seen) - before, times, f"{path}: attempts")


@test()
def test_a_body_limit_of_a_rule_is_for_bodies_of_any_framing(rig):
    ruled(rig, [{"when": {"path": "/echo"}, "then": FORWARD, "limits": {"body_bytes_max": "1KiB"}}],
          limits={"body_bytes_max": "64KiB"})
    most = b"x" * 1024
    check_equal(request(rig.port, "/echo", "POST", body=most).body, most, "at the limit")
    check_equal(request(rig.port, "/echo", "POST", body=b"x" * 1025).status, 413, "above it")
    with Wire(rig.port) as wire:
        wire.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        wire.send("400\r\n" + "x" * 1024 + "\r\n1\r\nx\r\n0\r\n\r\n")
        reply = wire.reply()
        check_equal(reply.status, 413, "chunked")
        check_equal(reply.headers["x-lbd-reason"], "body_too_large", "chunked")
    unlimited = request(rig.port, "/size?n=1", "POST", body=b"x" * 2000)
    check_equal(unlimited.status, 200, "another rule")


@test()
def test_error_pages_come_by_status_or_class_and_keep_the_reason(rig):
    page = rig.folder / "503.html"
    page.write_text("<h1>#{status} #{reason}</h1><p>#{request_id}</p>")
    pages = {"502": {"body": "${file:%s}" % page},
             "4xx": {"content_type": "text/plain", "body": "no"}}
    rules = [{"when": {"path": "/down"}, "then": {"forward": "gone"}},
             {"when": {"path": "/own"}, "then": {"respond": {"status": 404, "body": "mine"}}}]
    gone = [{"address": "127.0.0.1:9", "zone": "a"}]
    ruled(rig, rules, groups={"gone": gone}, error_pages=pages)
    down = request(rig.port, "/down")
    check_equal(down.headers["content-type"], "text/html; charset=utf-8", "media type")
    text = f"<h1>502 connect_failed</h1><p>{down.headers['x-request-id']}</p>"
    check_equal(down.body.decode(), text, "page")
    check_equal(down.headers["x-lbd-reason"], "connect_failed", "reason")
    check_equal(request(rig.port, "/own").body, b"mine", "an answer that is no error of lbd's")
    with Wire(rig.port) as wire:
        wire.send("nonsense\r\n\r\n")
        reply = wire.reply()
        check_equal((reply.status, reply.body), (400, b"no"), "what could not even be read")


@test()
def test_rules_are_the_same_for_clients_of_http_2(rig):
    rule = {"when": {"path": "/a/*", "cookie": {"b": "2"}, "header": {"X-Lab": "*"}},
            "then": FORWARD, "rewrite": {"path_prefix": {"from": "/a", "to": "/headers"}},
            "request_headers": {"set": {"X-Who": "#{host}"}},
            "response_headers": {"set": {"X-Lbd-Path": "#{path}"}}}
    ruled(rig, [rule], http2={"cleartext": True}, default={"respond": {"status": 404}})
    command = ["curl", "-s", "-i", "--http2-prior-knowledge", "-H", "X-Lab: 1",
               "-H", "Cookie: a=1; b=2", f"http://127.0.0.1:{rig.port}/a"]
    missed = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    check(missed.startswith("HTTP/2 404"), missed)
    command[-1] += "/"
    met = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    check(met.startswith("HTTP/2 200") and "\nx-lbd-path: a/" in met, met)
    check('"127.0.0.1"' in met.split("X-Who")[-1][:20], f"the target did not see X-Who: {met}")

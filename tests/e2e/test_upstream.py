"""What a client sees when targets misbehave: retries, reasons, and nothing done twice."""
from http_text import NO_CHECKS, answer, get
from rig import QUICK_CHECK, RawOrigin, Wire, check, check_equal, free_port, request
from rig import simple_config, test


@test()
def test_a_reused_connection_that_dies_is_retried_once_on_a_fresh_one(rig):
    """The target answers one request per connection, then closes when the next one arrives."""

    def script(connection, _):
        if origin.head(connection):
            answer(connection)
            origin.head(connection)  # read the second request, then close without a byte

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS, workers=1)
    with Wire(rig.port) as wire:
        for number in range(6):
            wire.send(get())
            check_equal(wire.reply().status, 200, f"request {number}")


@test()
def test_a_post_is_not_retried_when_the_target_may_have_seen_it(rig):
    def script(connection, _):
        if origin.head(connection):
            answer(connection)
            origin.head(connection)

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS, workers=1)
    with Wire(rig.port) as wire:
        wire.send(get())
        check_equal(wire.reply().status, 200, "the first request")
        wire.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        reply = wire.reply()
        check_equal(reply.status, 502, "a POST on a connection that died")
        check_equal(reply.headers.get("x-lbd-reason"), "target_reset", "reason")
    posts = [head for head in origin.seen if head.startswith(b"POST")]
    check_equal(len(posts), 1, "how often the target saw the POST")


@test()
def test_a_connect_failure_tries_another_target_even_for_a_post(rig):
    closed = {"address": f"127.0.0.1:{free_port()}", "zone": "a"}
    rig.proxy([closed, rig.origin()], {**NO_CHECKS, "passive": "off"})
    for number in range(20):
        reply = request(rig.port, "/echo", "POST", body=b"x")
        check_equal(reply.status, 200, f"request {number}")


@test()
def test_a_truncated_response_is_not_passed_off_as_whole(rig):
    def script(connection, _):
        origin.head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")

    origin = RawOrigin(rig, script)
    rig.proxy([origin], NO_CHECKS)
    with Wire(rig.port) as wire:
        wire.send(get())
        reply = wire.reply()
        whole = reply.status == 200 and len(reply.body) == 100
        check(not whole and wire.at_end(), "a truncated body, and the connection goes on")


@test()
def test_each_failure_of_a_target_has_its_status_and_reason(rig):
    def broken(connection, _):
        connection.recv(65536)
        connection.sendall(b"NOT HTTP AT ALL\r\n\r\n")

    def silent(connection, _):
        connection.recv(65536)
        connection.recv(65536)

    def resets(connection, _):
        connection.recv(65536)

    one = {**NO_CHECKS, "retries": {"attempts": 1}, "timeouts": {"response_head": "500ms"}}
    port = free_port()
    config = simple_config(port, [])
    config["listeners"]["public"]["rules"] = []
    del config["listeners"]["public"]["default"]
    del config["target_groups"]["app"]
    targets = {
        "broken": RawOrigin(rig, broken).target(),
        "silent": RawOrigin(rig, silent).target(),
        "resets": RawOrigin(rig, resets).target(),
        "closed": {"address": f"127.0.0.1:{free_port()}"},
        "down": {"address": f"127.0.0.1:{free_port()}"},
    }
    for name, target in targets.items():
        rule = {"name": name, "when": {"path": f"/{name}"}, "then": {"forward": name}}
        config["listeners"]["public"]["rules"].append(rule)
        group = {"protocol": "http", "port": 80, **one, "targets": [target]}
        if name == "down":  # its checks fail, and it is not to be tried all the same
            group |= {"health_check": QUICK_CHECK, "fail_open": False}
        config["target_groups"][name] = group
    lbd = rig.lbd(config)
    for name, status, reason in (
        ("broken", 502, "bad_response"),
        ("silent", 504, "target_timeout"),
        ("resets", 502, "target_reset"),
        ("closed", 502, "connect_failed"),
        ("down", 503, "no_healthy_target"),
        ("nowhere", 404, "no_route"),
    ):
        reply = request(port, f"/{name}")
        found = (reply.status, reply.headers.get("x-lbd-reason"))
        check_equal(found, (status, reason), f"/{name}")
    failures = lbd.metric("lbd_request_failures_total", reason="target_timeout")
    check_equal(failures, 1, "lbd_request_failures_total{reason=target_timeout}")

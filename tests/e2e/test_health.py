"""Health checks, passive ejection and fail-open, with targets that misbehave on demand."""
import time

from loadgen import Call, Load
from rig import QUICK_CHECK, RawOrigin, check, check_equal, free_port, request, simple_config
from rig import test, wait_until


def check_of(**more):
    return {"health_check": {**QUICK_CHECK, "unhealthy": 2, **more}}


def reason_of(lbd, address):
    return next(t for t in lbd.targets() if t["address"] == address).get("reason", "")


@test()
def test_a_new_target_serves_after_its_first_pass_only(rig):
    late = rig.origin("late", options=["--boot-seconds", "2"])
    lbd = rig.proxy([late], {**check_of(healthy=3, interval="300ms"), "fail_open": False})
    check_equal(request(rig.port, "/id").status, 503, "before the first pass")
    began = time.monotonic()
    lbd.wait_states({late.text: "healthy"}, 6)
    check_equal(request(rig.port, "/id").status, 200, "after the first pass")
    check(time.monotonic() - began < 3.5, "more than one pass was needed")


@test()
def test_a_target_goes_down_after_so_many_failures_and_up_after_so_many_passes(rig):
    one, two = rig.origins("aa")
    lbd = rig.proxy([one, two], check_of(healthy=2, unhealthy=2))
    lbd.wait_states({one.text: "healthy", two.text: "healthy"})
    two.set_health(500)
    lbd.wait_states({two.text: "unhealthy"}, 3)
    for _ in range(20):
        check_equal(request(rig.port, "/id").headers["x-instance"], one.name, "who answers")
    two.set_health(200)
    lbd.wait_states({two.text: "healthy"}, 3)


@test()
def test_each_way_to_fail_a_check_keeps_its_reason(rig):
    wrong, slow, closes = rig.origin("wrong"), rig.origin("slow"), None

    def hang_up(connection, _):
        connection.recv(65536)

    closes = RawOrigin(rig, hang_up)
    refused = f"127.0.0.1:{free_port()}"
    wrong.set_health(500)
    slow.set_health(200, wait_ms=3000)
    targets = [wrong, slow, closes, {"address": refused, "zone": "a"}]
    lbd = rig.proxy(targets, check_of(timeout="200ms"))
    expected = {
        wrong.text: "500",
        slow.text: "time",
        closes.text: "clos",
        refused: "refused",
    }
    lbd.wait_states({address: "unhealthy" for address in expected}, 6)
    for address, word in expected.items():
        reason = str(reason_of(lbd, address)).lower()
        check(word in reason or (word == "clos" and "reset" in reason), f"{word}: {reason!r}")


@test()
def test_a_body_that_lacks_the_expected_text_fails_the_check(rig):
    origin = rig.origin()
    lbd = rig.proxy([origin], check_of(body="ok"))
    lbd.wait_states({origin.text: "healthy"})
    lbd.reload({**lbd.config, "target_groups": {"app": {**lbd.config["target_groups"]["app"],
                                                        **check_of(body="never said")}}})
    lbd.wait_states({origin.text: "unhealthy"})


@test()
def test_a_tcp_check_needs_only_a_connection(rig):
    def silent(connection, _):
        connection.recv(1)

    origin = RawOrigin(rig, silent)
    lbd = rig.proxy([origin], check_of(protocol="tcp"))
    lbd.wait_states({origin.text: "healthy"})
    origin.listener.close()


@test()
def test_a_check_port_of_its_own_is_used(rig):
    serving, checked = rig.origin("serving"), rig.origin("checked")
    lbd = rig.proxy([serving], check_of(port=checked.port))
    lbd.wait_states({serving.text: "healthy"})
    checked.set_health(503)
    lbd.wait_states({serving.text: "unhealthy"})
    check_equal(request(serving.port, "/healthz").status, 200, "the serving port is fine itself")


@test()
def test_a_dead_target_is_ejected_within_a_second_by_traffic_alone(rig):
    """Active checks are far apart here: only passive detection can be this quick."""
    one, two = rig.origins("aa")
    lbd = rig.proxy([one, two], check_of(interval="60s", timeout="2s"))
    lbd.wait_states({one.text: "healthy", two.text: "healthy"})
    load = Load(f"http://127.0.0.1:{rig.port}", [Call("/id")], profile=[(0, 100)], seconds=5)
    load.start()
    time.sleep(1)
    two.kill()
    killed = load.now()
    lbd.wait_states({two.text: "ejected"}, 1.5)
    summary = load.wait()
    late = load.failures(since=killed + 1.0)
    check(not late, f"{len(late)} failures a second after the death: {late[:2]}")
    check(summary["failures"] == 0, f"GETs failed though they may be retried: {summary['errors']}")
    count = lambda reason: lbd.metric("lbd_ejections_total", target_group="app", reason=reason)
    check(count("connect_errors") >= 1, "lbd_ejections_total")
    check_equal(count("failed_responses"), 0, "of other ejections")


@test()
def test_consecutive_5xx_eject_and_the_ejection_ends(rig):
    one, two = rig.origins("aa")
    passive = {"passive": {"consecutive_5xx": 5, "ejection": "2s"}}
    lbd = rig.proxy([one, two], {**check_of(), **passive})
    lbd.wait_states({one.text: "healthy", two.text: "healthy"})
    two.fail_next(500, 1000)
    for _ in range(40):
        request(rig.port, "/id")
    lbd.wait_states({two.text: "ejected"}, 1)
    statuses = [request(rig.port, "/id").status for _ in range(40)]
    check_equal(statuses.count(500), 0, "requests that went to the ejected target")
    two.fail_next(500, 0)
    lbd.wait_states({two.text: "healthy"}, 6)
    instances = {request(rig.port, "/id").headers["x-instance"] for _ in range(40)}
    check_equal(instances, {one.name, two.name}, "who answers after the ejection")


@test()
def test_all_down_is_served_anyway_unless_fail_open_is_off(rig):
    one, two = rig.origins("aa")
    lbd = rig.proxy([one, two], check_of())
    for origin in (one, two):
        origin.set_health(500)
    lbd.wait_states({one.text: "unhealthy", two.text: "unhealthy"})
    check_equal(request(rig.port, "/id").status, 200, "fail-open")
    wait_until(lambda: lbd.metric("lbd_fail_open_requests_total") >= 1, 3, "fail-open is counted")
    closed = {**lbd.config["target_groups"]["app"], "fail_open": False}
    lbd.reload({**lbd.config, "target_groups": {"app": closed}})
    reply = request(rig.port, "/id")
    check_equal(reply.status, 503, "fail_open: false")
    check_equal(reply.headers.get("x-lbd-reason"), "no_healthy_target", "reason")


@test("default", 120)
def test_a_thousand_checked_targets_do_not_disturb_the_data_plane(rig):
    """1,000 addresses of one origin on 127.x, checked each second, beside steady traffic."""
    origin = rig.origin("many", address="0.0.0.0")
    spread = [f"127.9.{n // 250}.{n % 250 + 1}:{origin.port}" for n in range(1000)]
    targets = [{"address": address, "zone": "a"} for address in spread]
    lbd = rig.proxy(targets, check_of(interval="1s", timeout="1s"))

    def all_up():
        return sum(t["state"] == "healthy" for t in lbd.targets()) == 1000

    wait_until(all_up, 20, "not all 1,000 targets become healthy")
    load = Load(f"http://127.0.0.1:{rig.port}", [Call("/id")], profile=[(0, 100)], seconds=8)
    summary = load.start().wait()
    check_equal(summary["failures"], 0, f"failures {summary['errors']}")
    check(all_up(), "targets flap")
    check(summary["p99"] < 0.25, f"p99 {summary['p99']:.3f} s")


@test("default", 180)
def test_ten_thousand_targets_are_checked_beside_load_and_their_end_harms_nobody(rig):
    """Each has a port of its own, all are checked at one, which a second lbd answers at."""
    origin, port, serving = rig.origin("serving"), free_port(), free_port()
    checked = simple_config(port, [origin], listener={"default": {"respond": {"status": 200}}})
    answers = rig.lbd(checked, name="answers")
    crowd = {
        "protocol": "http",
        "health_check": {**QUICK_CHECK, "interval": "5s", "timeout": "2s", "port": port},
        "targets": [{"address": f"127.0.0.1:{number}", "zone": "a"}
                    for number in range(20_000, 30_000)],
    }
    config = simple_config(serving, [origin])
    config["target_groups"]["crowd"] = crowd
    lbd = rig.lbd(config)
    load = Load(f"http://127.0.0.1:{serving}", [Call("/id")], profile=[(0, 100)], seconds=150)
    load.start()

    def count(state):
        return lbd.metric("lbd_targets", target_group="crowd", state=state)

    def checks(result):
        return lbd.metric("lbd_health_checks_total", target_group="crowd", result=result)

    wait_until(lambda: count("healthy") == 10_000, 60, lambda: f"{count('healthy')} are up")
    before = checks("pass")
    wait_until(lambda: checks("pass") - before >= 10_000, 60, "no second round of checks")
    check_equal(checks("fail"), 0, "failed checks beside load")
    answers.stop()
    wait_until(lambda: count("unhealthy") == 10_000, 60, lambda: f"{count('unhealthy')} are down")
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures beside the checks: {summary['errors']}")
    check(summary["requests"] >= 500, f"{summary['requests']} requests")
    check_equal(lbd.metric("lbd_health_checks_skipped_total"), 0, "checks skipped")

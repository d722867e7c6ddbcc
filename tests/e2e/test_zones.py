"""Zones: own zone first, spill when it is short of capacity, survive the loss of one."""
import collections
import os
import signal
import time

from loadgen import Call, Load
from rig import QUICK_CHECK, RawOrigin, check, check_equal, free_port, request, simple_config, test
from rig import wait_until

FAST = {"health_check": {**QUICK_CHECK, "unhealthy": 2}}


def answered_by(port, count):
    names = [request(port, "/id").headers["x-instance"] for _ in range(count)]
    return collections.Counter(name.partition("-")[0] for name in names)


def all_healthy(lbd, origins):
    lbd.wait_states({origin.text: "healthy" for origin in origins})


@test()
def test_requests_stay_in_the_own_zone_while_it_suffices(rig):
    origins = rig.origins("aabbcc")
    lbd = rig.proxy(origins, {**FAST, "zones": {"prefer": "local"}})
    all_healthy(lbd, origins)
    zones = answered_by(rig.port, 60)
    check(zones["a"] >= 57, f"requests by zone: {dict(zones)}")


@test()
def test_zone_preference_off_uses_every_zone_alike(rig):
    origins = rig.origins("abc")
    lbd = rig.proxy(origins, {**FAST, "zones": {"prefer": "off"}, "balance": "round_robin"})
    all_healthy(lbd, origins)
    zones = answered_by(rig.port, 60)
    check(min(zones[z] for z in "abc") >= 12, f"requests by zone: {dict(zones)}")


@test()
def test_strict_zones_never_leave_the_own_zone(rig):
    origins = rig.origins("ab")
    lbd = rig.proxy(origins, {**FAST, "zones": {"prefer": "strict"}, "fail_open": False})
    all_healthy(lbd, origins)
    origins[0].kill()
    lbd.wait_states({origins[0].text: "unhealthy"})
    check_equal(request(rig.port, "/id").status, 503, "the own zone is empty")


@test(timeout=90)
def test_traffic_spills_over_when_the_own_zone_is_full(rig):
    """Zone a has one of five targets and gets five times what it can take."""
    origins = rig.origins("abbcc", options=["--share", "0.1", "--work-ms", "8"])
    group = {**FAST, "zones": {"prefer": "local"}, "balance": "least_requests"}
    lbd = rig.proxy(origins, group)
    all_healthy(lbd, origins)
    load = Load(f"http://127.0.0.1:{rig.port}", profile=[(0, 36)], seconds=15).start()
    summary = load.wait()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    late = collections.Counter(o.instance for o in load.outcomes if o.at > 8)
    own = late[origins[0].name] / sum(late.values())
    # It can take a fifth to a third of them, as fast as this machine is.
    print(f"  {own:.0%} of the late ones: {late}")
    check(0 < own < 0.6, f"{own:.0%} still went to the own zone: {late}")


@test(timeout=60)
def test_a_killed_zone_costs_no_idempotent_request_after_detection(rig):
    origins = rig.origins("aabbcc")
    lbd = rig.proxy(origins, {**FAST, "zones": {"prefer": "local"}})
    all_healthy(lbd, origins)
    calls = [Call("/id"), Call("/slow?ms=50"), Call("/echo", "POST", b"x" * 500, 0.2, b"x" * 500)]
    load = Load(f"http://127.0.0.1:{rig.port}", calls, profile=[(0, 150)], seconds=8).start()
    time.sleep(2)
    for origin in origins[:2]:
        origin.kill()
    killed = load.now()
    lbd.wait_states({origin.text: "unhealthy" for origin in origins[:2]}, 3)
    load.wait()
    late = load.failures(since=killed + 1.0)
    check(not late, f"{len(late)} requests failed a second after the zone died: {late[:3]}")
    idempotent = load.failures(methods=("GET",))
    check(not idempotent, f"{len(idempotent)} GETs failed at the moment itself: {idempotent[:3]}")
    zones = answered_by(rig.port, 30)
    check_equal(zones["a"], 0, "requests to the dead zone")
    check(zones["b"] and zones["c"], f"only one of the others serves: {dict(zones)}")


@test()
def test_a_zone_that_returns_serves_again(rig):
    origins = rig.origins("ab")
    lbd = rig.proxy(origins, {**FAST, "zones": {"prefer": "local"}})
    all_healthy(lbd, origins)
    origins[0].kill()
    lbd.wait_states({origins[0].text: "unhealthy"})
    check_equal(answered_by(rig.port, 10)["b"], 10, "answers from the other zone")
    origins[0].start()
    lbd.wait_states({origins[0].text: "healthy"}, 40)
    check(answered_by(rig.port, 30)["a"] >= 25, "the own zone is not preferred again")


@test(timeout=90)
def test_a_zone_that_hangs_is_out_within_one_check_interval_and_loses_no_get(rig):
    """Nothing refuses or resets: the zone's connections just fall silent. It holds more than half
    of the targets, so what passive health may not take out, the checks must. Default checks."""
    origins = rig.origins("abbb")
    hung = [origin for origin in origins if origin.zone == "b"]
    group = {"health_check": {"path": "/healthz"}, "zones": {"prefer": "off"}}
    lbd = rig.proxy(origins, group)
    all_healthy(lbd, origins)
    load = Load(f"http://127.0.0.1:{rig.port}", [Call("/id")], profile=[(0, 40)], seconds=14)
    load.start()
    time.sleep(3)
    for origin in hung:
        os.killpg(origin.process.pid, signal.SIGSTOP)
    stopped = load.now()
    try:
        lbd.wait_states({origin.text: "unhealthy" for origin in hung}, 5)
        out = load.now()
        summary = load.wait()
    finally:
        for origin in hung:
            os.killpg(origin.process.pid, signal.SIGCONT)
    check_equal(summary["failures"], 0, f"GETs that failed: {summary['errors']}")
    slow = [o for o in load.outcomes if o.at > out + 1 and o.seconds > 1]
    check(not slow, f"{len(slow)} slow ones after the zone was out: {slow[:2]}")
    check(out - stopped < 5, f"out after {out - stopped:.1f} s")


@test()
def test_the_nodes_zone_is_asked_for_until_the_metadata_service_knows_it(rig):
    """It fails at first, as it may while a machine boots."""

    def metadata(connection, number):
        head = service.head(connection)
        known = len([h for h in service.seen if b"availability-zone" in h]) > 2
        text = b"token" if head.startswith(b"PUT") else b"b" if known else b""
        status = b"200 OK" if text else b"503 Not Yet"
        connection.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                           % (status, len(text), text))

    service = RawOrigin(rig, metadata)
    port = free_port()
    origins = rig.origins("abc")
    group = {**FAST, "zones": {"prefer": "local"}}
    config = simple_config(port, origins, group, None, {"zone": "auto"})
    lbd = rig.lbd(config, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{service.text}"})
    all_healthy(lbd, origins)
    wait_until(lambda: "found the node's zone" in lbd.process.stderr(), 15, "the zone")
    zones = answered_by(port, 30)
    check(zones["b"] >= 28, f"requests by zone: {dict(zones)}")

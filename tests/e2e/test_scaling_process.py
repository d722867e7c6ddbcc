"""Scaling with the process provider: real processes, real CPU, measured by the kernel."""
import collections
import os
import signal
import time

from loadgen import Call, Load
from rig import BURN_APP, PYTHON, QUICK_CHECK, check, check_equal, free_port, request, test
from rig import wait_until

SHARE, WORK_MS = 0.12, 8
CAPACITY_RPS = SHARE / (WORK_MS / 1000 + 0.0006)  # one instance, at 100 % of its share
ZONES = {"a": "127.20.1.1", "b": "127.20.2.1", "c": "127.20.3.1"}
POLICIES = [
    {"signal": "cpu", "above": "90%", "for": "3s", "add": 1},
    {"signal": "cpu", "below": "50%", "for": "5s", "remove": 1},
]


def fleet(port, **more):
    command = [PYTHON, BURN_APP, "--address", "{address}", "--port", "{port}", "--id", "{id}"]
    command += ["--zone", "{zone}", "--share", str(SHARE), "--work-ms", str(WORK_MS)]
    process = {
        "command": command,
        "zones": list(ZONES),
        "zone_addresses": ZONES,
        "cpu_share": SHARE,
        "stop_timeout": "5s",
    }
    group = {
        "provider": "process",
        "process": process,
        "min": 3,
        "max": 5,
        "warm_up": "2s",
        "drain_deadline": "15s",
        "grace": "15s",
        "policies": POLICIES,
        **more,
    }
    return {
        "listeners": {
            "public": {"listen": [f"127.0.0.1:{port}"], "protocol": "http",
                       "default": {"forward": "web"}}
        },
        "target_groups": {
            "web": {"protocol": "http", "port": 80, "health_check": QUICK_CHECK,
                    "scaling_group": "web"}
        },
        "scaling_groups": {"web": group},
    }


def wait_in_service(lbd, count, deadline=25):
    def there():
        return len(lbd.in_service()) == count and len(lbd.instances()) >= count

    wait_until(there, deadline, lambda: f"not {count} in service: {lbd.instances()}")


def by_zone(instances):
    return collections.Counter(instance["zone"] for instance in instances)


def burn_pids(folder_id):
    """Pids of burn_app processes whose --id is one of these."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
            except OSError:
                continue
            if BURN_APP in words and "--id" in words:
                name = words[words.index("--id") + 1]
                if name in folder_id:
                    found[name] = int(entry)
    return found


def kill_instances(lbd, chosen):
    for pid in burn_pids({i["id"] for i in chosen}).values():
        os.kill(pid, signal.SIGKILL)


@test(timeout=60)
def test_the_minimum_starts_one_per_zone_and_serves(rig):
    port = free_port()
    lbd = rig.lbd(fleet(port))
    wait_in_service(lbd, 3)
    check_equal(by_zone(lbd.in_service()), {"a": 1, "b": 1, "c": 1}, "instances per zone")
    check_equal(len(burn_pids({i["id"] for i in lbd.instances()})), 3, "processes")
    check_equal(request(port, "/id").status, 200, "a request")
    sentences = lbd.sentences()
    check(sentences and all(len(s) > 20 for s in sentences), f"history: {sentences}")


@test("default", 60)
def test_the_first_request_wakes_a_group_that_rests_at_zero(rig):
    port = free_port()
    policies = [{"signal": "requests_per_target", "below": 1, "for": "30s", "remove": 1}]
    lbd = rig.lbd(fleet(port, min=0, policies=policies))
    time.sleep(3)
    check_equal(lbd.instances(), [], "instances before any request")
    check_equal(request(port, "/id").status, 503, "the first request")
    wait_until(lambda: request(port, "/id").status == 200, 20, lambda: f"{lbd.sentences()}")
    wait_in_service(lbd, 1)  # a tick after its first pass
    check(any("0 -> 1" in s and "found no target" in s for s in lbd.sentences()),
          f"no sentence says why: {lbd.sentences()}")


@test("default", 180)
def test_cpu_load_takes_3_to_5_never_6_and_back_to_3_without_a_failed_request(rig):
    port = free_port()
    lbd = rig.lbd(fleet(port))
    wait_in_service(lbd, 3)
    calls = [Call("/"), Call("/slow?ms=400", weight=0.1)]
    load = Load(f"http://127.0.0.1:{port}", calls, profile=[(0, 5)], seconds=170).start()
    load.set_rate(3.3 * CAPACITY_RPS / 0.91)
    wait_until(lambda: len(lbd.in_service()) >= 4, 40, lambda: f"not 4: {lbd.sentences()[-3:]}")
    load.set_rate(4.2 * CAPACITY_RPS / 0.91)
    wait_until(lambda: len(lbd.in_service()) == 5, 40, lambda: f"not 5: {lbd.sentences()[-3:]}")
    load.set_rate(5.0 * CAPACITY_RPS / 0.91)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        check(len(lbd.instances()) <= 5, f"more than 5: {lbd.instances()}")
        time.sleep(0.2)
    zones = by_zone(lbd.in_service())
    check(max(zones.values()) - min(zones.values()) <= 1, f"unbalanced: {dict(zones)}")
    load.set_rate(4)
    wait_in_service(lbd, 3, 70)
    wait_until(lambda: len(lbd.instances()) == 3, 30, lambda: f"{lbd.instances()}")
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    check(lbd.metric("lbd_scaler_desired_instances") == 3, "lbd_scaler_desired_instances")


@test(timeout=90)
def test_a_killed_zone_is_replaced_without_a_failed_request_after_detection(rig):
    port = free_port()
    lbd = rig.lbd(fleet(port, policies=[]))
    wait_in_service(lbd, 3)
    load = Load(f"http://127.0.0.1:{port}", [Call("/id")], profile=[(0, 60)], seconds=60).start()
    time.sleep(1)
    lost = [i for i in lbd.in_service() if i["zone"] == "a"]
    kill_instances(lbd, lost)
    killed = load.now()
    gone = {i["id"] for i in lost}

    def replaced():
        serving = lbd.in_service()
        return len(serving) == 3 and not gone & {i["id"] for i in serving}

    wait_until(replaced, 30, lambda: f"not replaced: {lbd.instances()}")
    load.stop()
    late = load.failures(since=killed + 1.0)
    check(not late, f"{len(late)} failed a second after the kill: {late[:3]}")


@test("default", 240)
def test_twenty_scale_ins_drain_without_one_failed_request(rig):
    port = free_port()
    lbd = rig.lbd(fleet(port, policies=[]))
    wait_in_service(lbd, 3)
    body = b"y" * 2000
    calls = [Call("/id"), Call("/slow?ms=600"), Call("/echo", "POST", body, 0.5, body)]
    load = Load(f"http://127.0.0.1:{port}", calls, profile=[(0, 60)], seconds=230).start()
    for number in range(20):
        lbd.reload(fleet(port, policies=[], min=4, max=4))
        wait_in_service(lbd, 4)
        lbd.reload(fleet(port, policies=[], min=3, max=3))
        wait_until(lambda: len(lbd.instances()) == 3, 25, lambda: f"scale-in {number} hangs")
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")


@test("default", 120)
def test_kill_minus_9_of_lbd_leaves_no_orphan_and_no_double(rig):
    """Restarted, it either adopts its processes or ends them; three serve, none more run."""
    port = free_port()
    lbd = rig.lbd(fleet(port, policies=[]))
    wait_in_service(lbd, 3)
    ids = {i["id"] for i in lbd.instances()}
    for _ in range(3):
        lbd.kill()
        lbd.start()
        wait_in_service(lbd, 3)
        ids |= {i["id"] for i in lbd.instances()}
    wait_until(lambda: len(burn_pids(ids)) == 3, 20, lambda: f"processes: {burn_pids(ids)}")
    check_equal(set(burn_pids(ids)), {i["id"] for i in lbd.instances()}, "processes and fleet")
    lbd.stop(deadline=20)


@test(timeout=60)
def test_a_command_that_dies_at_once_is_retried_at_a_measured_pace_and_explained(rig):
    port = free_port()
    config = fleet(port, policies=[])
    config["scaling_groups"]["web"]["process"]["command"] = ["/bin/false"]
    lbd = rig.lbd(config, start=False)
    lbd.start(ready=False)
    time.sleep(8)
    check(lbd.process.running(), f"lbd ended: {lbd.process.tail()}")
    history = lbd.sentences()
    check(any("exit" in s or "status" in s for s in history), f"no reason given: {history[-3:]}")
    check(len(history) < 40, f"{len(history)} decisions in 8 s: a launch storm")


@test("default", 150)
def test_a_health_check_that_nobody_passes_ends_no_instance(rig):
    """A reload asks for what none answers: fail-open must have somebody to serve from."""
    port = free_port()
    good = fleet(port, policies=[])
    lbd = rig.lbd(good)
    wait_in_service(lbd, 3)
    pids = burn_pids({i["id"] for i in lbd.instances()})
    bad = fleet(port, policies=[])
    bad["target_groups"]["web"]["health_check"] = {**QUICK_CHECK, "codes": "299"}
    check_equal(lbd.reload(bad)[0], 0, "the reload")
    load = Load(f"http://127.0.0.1:{port}", [Call("/id")], profile=[(0, 30)], seconds=45).start()
    summary = load.wait()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    check_equal(burn_pids(pids), pids, "the processes that serve")
    check(len(lbd.instances()) <= 4, f"launched more than one to try: {lbd.instances()}")
    told = [s for s in lbd.sentences() if "fail their health checks at once" in s]
    check(told, f"not in the history: {lbd.sentences()}")
    check_equal(lbd.reload(good)[0], 0, "the reload back")
    wait_in_service(lbd, 3, 40)


@test("default", 120)
def test_a_group_at_its_maximum_is_evened_out_when_a_zone_is_added(rig):
    port = free_port()

    def config(zones):
        made = fleet(port, policies=[], min=3, max=3)
        process = made["scaling_groups"]["web"]["process"]
        process["zones"] = zones
        process["zone_addresses"] = {zone: ZONES[zone] for zone in zones}
        return made

    lbd = rig.lbd(config(["a", "b"]))
    wait_in_service(lbd, 3)
    load = Load(f"http://127.0.0.1:{port}", [Call("/id")], profile=[(0, 30)], seconds=80).start()
    check_equal(lbd.reload(config(list(ZONES)))[0], 0, "the reload")
    even = {"a": 1, "b": 1, "c": 1}

    def evened_out():
        there = [i for i in lbd.instances() if i["state"] != "terminating"]
        check(len(there) <= 3, f"more than the maximum: {there}")
        return by_zone(lbd.in_service()) == even

    wait_until(evened_out, 50, lambda: f"{by_zone(lbd.in_service())}: {lbd.sentences()[-4:]}")
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")

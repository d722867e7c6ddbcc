"""The main job on EC2: through the API, signed, to real processes on their private addresses."""
import time

from ec2_case import BOUND, CAPACITY_RPS, POLICIES, Case
from loadgen import Call, Load
from moto_rig import ZONES
from rig import check, check_equal, test, wait_until


@test("default", 90)
def test_nothing_becomes_three_instances_one_per_zone(rig):
    case = Case(rig)
    case.wait_agreed(3)
    check_equal(case.cloud.zones(), {zone: 1 for zone in ZONES}, "instances per zone")
    case.check_launches(3)
    calls = case.faults.calls("RunInstances")
    for call in calls:
        params = call.params
        check_equal((params.get("MinCount"), params.get("MaxCount")), ("1", "1"), "count")
        token = params.get("ClientToken", "")
        check(0 < len(token) <= 64 and token.isascii(), f"ClientToken {token!r}")
        tagged = any(k.startswith("TagSpecification.") for k in params)
        check(tagged, "no tags in the launch call itself")
    check_equal(len({c.params["ClientToken"] for c in calls}), 3, "distinct tokens")
    check(case.faults.calls("GetCallerIdentity"), "no identity check at start-up")
    check(case.faults.calls("DescribeSubnets"), "the zones of the subnets were not asked for")
    first = min(c.at for c in case.faults.calls("GetCallerIdentity"))
    check(first < min(c.at for c in calls), "launched before the identity was known")


@test("default", 240)
def test_real_load_takes_it_to_4_then_5_never_6_and_back_to_3(rig):
    case = Case(rig, policies=POLICIES)
    case.wait_agreed(3)
    load = Load(case.url, [Call("/")], profile=[(0, 5)], seconds=220).start()
    load.set_rate(3.3 * CAPACITY_RPS / 0.91)
    wait_until(lambda: len(case.serving()) >= 4, 45, lambda: case.story(4))
    load.set_rate(4.2 * CAPACITY_RPS / 0.91)
    wait_until(lambda: len(case.serving()) == 5, 45, lambda: case.story(5))
    zones = case.cloud.zones()
    check(max(zones.values()) - min(zones.values()) <= 1, f"unbalanced: {zones}")
    load.set_rate(5.0 * CAPACITY_RPS / 0.91)
    time.sleep(10)
    case.check_bounds()
    load.set_rate(4)
    case.wait_agreed(3, 90)
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    case.check_bounds()
    case.check_launches(BOUND)
    case.check_sentence(
        r"scale out 3 -> 4: cpu [0-9.]+ % above 90 % for 3 s",
        r"scale out 4 -> 5: cpu [0-9.]+ % above 90 % for 3 s",
        r"scale in 5 -> 4: cpu [0-9.]+ % below 50 % for 5 s",
        r"scale in 4 -> 3: cpu [0-9.]+ % below 50 % for 5 s",
    )


@test("default", 150)
def test_a_dead_zone_costs_no_idempotent_request_after_detection(rig):
    case = Case(rig, grace="10s")
    case.wait_agreed(3)
    load = Load(case.url, [Call("/id")], profile=[(0, 60)], seconds=120).start()
    time.sleep(1)
    lost = case.runner.kill_zone(ZONES[0])
    killed = load.now()

    def replaced():
        serving = case.serving()
        return len(serving) >= 3 and not serving & lost

    wait_until(replaced, 60, lambda: case.story(3))
    load.stop()
    late = load.failures(since=killed + 1.0)
    check(not late, f"{len(late)} GETs failed a second after the zone died: {late[:3]}")
    where = {i["zone"] for i in case.cloud.live() if i["id"] in case.serving()}
    check_equal(where, set(ZONES[1:]), "zones that serve")
    wait_until(lambda: not lost & {i["id"] for i in case.cloud.live()}, 40, "the dead live on")
    case.check_bounds()
    case.runner.revive_zone(ZONES[0])


@test("default", 300)
def test_twenty_scale_ins_lose_no_request_and_the_views_agree_at_the_end(rig):
    case = Case(rig)
    case.wait_agreed(3)
    body = b"z" * 2000
    calls = [Call("/id"), Call("/slow?ms=600"), Call("/echo", "POST", body, 0.5, body)]
    load = Load(case.url, calls, profile=[(0, 60)], seconds=290).start()
    for _ in range(20):
        check_equal(case.lbd.reload(case.config(min=4, max=5))[0], 0, "reload to 4")
        case.wait_serving(4)
        check_equal(case.lbd.reload(case.config(min=3, max=3))[0], 0, "reload to 3")
        case.wait_agreed(3)
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures over 20 scale-ins: {summary['errors']}")
    case.check_launches(23)
    ended = case.faults.calls("TerminateInstances")
    check(len(ended) >= 20, f"{len(ended)} terminations")
    case.check_bounds()


@test("default", 90)
def test_an_instance_that_an_admin_terminates_is_replaced(rig):
    case = Case(rig)
    case.wait_agreed(3)
    victim = case.cloud.live()[0]
    case.cloud.terminate(victim["id"])
    wait_until(lambda: victim["id"] not in case.serving(), 20, lambda: case.story(3))
    case.wait_agreed(3)
    check_equal(case.cloud.zones(), {zone: 1 for zone in ZONES}, "zones after the replacement")
    case.check_launches(4)


@test("default", 90)
def test_instances_that_are_not_ours_are_left_alone(rig):
    case = Case(rig, start=False)
    template = {"LaunchTemplateName": "web"}
    made = case.cloud.ec2.run_instances(
        MinCount=1, MaxCount=1, LaunchTemplate=template, SubnetId=case.cloud.subnets[ZONES[0]]
    )
    stranger = made["Instances"][0]["InstanceId"]
    case.start()
    case.wait_serving(3)
    time.sleep(3)
    check(stranger in {i["id"] for i in case.cloud.live()}, "a stranger's instance was ended")
    check(stranger not in case.serving(), "a stranger's instance gets traffic")


@test("default", 90)
def test_a_restart_finds_its_fleet_and_launches_nothing(rig):
    case = Case(rig)
    case.wait_agreed(3)
    case.lbd.stop()
    check_equal(len(case.cloud.live()), 3, "instances after a clean stop")
    case.start()
    case.wait_agreed(3)
    time.sleep(3)
    case.check_launches(3)


@test("default", 90)
def test_describe_calls_stay_far_below_the_api_limit(rig):
    case = Case(rig)
    case.wait_agreed(3)
    begin = time.monotonic()
    time.sleep(10)
    calls = case.faults.calls("DescribeInstances", since=begin)
    check(len(calls) <= 25, f"{len(calls)} DescribeInstances in 10 s at an interval of 500 ms")
    check(all("Filter.1.Name" in c.params or "InstanceId.1" in c.params for c in calls),
          "an unfiltered DescribeInstances: the small token bucket")

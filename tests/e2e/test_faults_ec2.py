"""Bad days of EC2. After each: bounds held, no orphan, no double launch, a sentence in the history.

Seeds: LBD_SEED (default 1). A failure prints it; the same seed replays the same kill moments.
"""
import os
import random
import time

from aws_faults import Rule, capacity_error, throttle_error
from ec2_case import Case
from loadgen import Call, Load
from moto_rig import ZONES
from rig import check, check_equal, test, wait_until

SEED = int(os.environ.get("LBD_SEED", "1"))


@test("default", 90)
def test_no_capacity_in_one_zone_launches_in_the_others_in_the_same_tick(rig):
    case = Case(rig, start=False)
    subnet = case.cloud.subnets[ZONES[1]]
    case.faults.add(capacity_error(subnet, ZONES[1]))
    case.start()
    case.wait_agreed(3)
    check_equal(case.cloud.zones()[ZONES[1]], 0, "instances in the zone without capacity")
    refused = [c for c in case.faults.calls("RunInstances") if c.code]
    check(1 <= len(refused) <= 3, f"{len(refused)} calls to a zone that has no capacity")
    follower = next(c for c in case.faults.calls("RunInstances") if c.at > refused[0].at)
    check(follower.at - refused[0].at < 2.0, "the next zone was not tried at once")
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("launch failed: InsufficientInstanceCapacity")


@test("default", 120)
def test_a_zone_that_had_no_capacity_gets_launches_again_once_it_has(rig):
    case = Case(rig, start=False, zone_pause="5s", zone_pause_max="6s")
    subnet = case.cloud.subnets[ZONES[1]]
    case.faults.add(capacity_error(subnet, ZONES[1]))
    case.start()
    case.wait_agreed(3)
    check_equal(case.cloud.zones()[ZONES[1]], 0, "launches where there was no capacity")

    def refused():
        return [c for c in case.faults.calls("RunInstances") if c.params["SubnetId"] == subnet]

    wait_until(lambda: len(refused()) >= 3, 40, "the zone is not tried again")
    times = [call.at for call in refused()]
    gaps = [after - before for before, after in zip(times, times[1:])]
    check(gaps[0] >= 4.9 and gaps[1] >= 5.9, f"tried again after {gaps} s, not after 5 and 6")
    case.faults.clear()
    even = {zone: 1 for zone in ZONES}
    wait_until(lambda: case.cloud.zones() == even, 40, lambda: case.story(3))
    case.wait_agreed(3)
    case.check_bounds()


@test("default", 120)
def test_no_capacity_anywhere_waits_and_then_recovers(rig):
    case = Case(rig, start=False, zone_pause="6s", zone_pause_max="10s")
    case.faults.add(capacity_error())
    case.start()
    wait_until(lambda: len(case.faults.calls("RunInstances")) >= 3, 20, "no zone was tried")
    time.sleep(5)
    calls = case.faults.calls("RunInstances")
    check(len(calls) <= 30, f"{len(calls)} launches in 5 s against an empty cloud: a storm")
    case.check_sentence("launch failed: InsufficientInstanceCapacity")
    case.faults.clear()
    case.wait_agreed(3, 40)  # the pauses of all zones must end first
    case.check_launches(3)


@test("default", 90)
def test_throttled_launches_back_off_and_succeed(rig):
    case = Case(rig, start=False)
    case.faults.add(throttle_error("RunInstances", count=4))
    case.start()
    case.wait_agreed(3, 60)
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("^RunInstances was asked again: RequestLimitExceeded")


@test("default", 120)
def test_the_real_token_buckets_of_ec2_are_enough(rig):
    case = Case(rig, start=False)
    case.faults.throttling = True
    case.start()
    case.wait_agreed(3, 60)
    case.lbd.reload(case.config(min=5, max=5))
    case.wait_agreed(5, 60)
    refused = [c for c in case.faults.log if c.code == "RequestLimitExceeded"]
    check(len(refused) <= 5, f"{len(refused)} throttled calls")
    case.check_launches(5)
    case.check_bounds()


@test("default", 90)
def test_a_lost_reply_launches_nothing_twice(rig):
    case = Case(rig, start=False)
    case.faults.add(Rule("RunInstances", "lose_reply", count=2))
    case.start()
    case.wait_agreed(3, 60)
    case.check_launches(3)
    lost = [c for c in case.faults.calls("RunInstances") if "lose_reply" in c.effect]
    for call in lost:
        token, subnet = call.params["ClientToken"], call.params.get("SubnetId")
        again = [c for c in case.faults.calls("RunInstances")
                 if c.params["ClientToken"] == token and c is not call]
        moved = [c for c in again if c.params.get("SubnetId") != subnet]
        check(not moved, "the token of an unknown launch went to another zone")
    case.check_bounds()
    case.check_sentence("^RunInstances was asked again: NoReply")


@test("default", 90)
def test_a_lost_reply_of_an_instance_that_is_not_visible_yet_launches_nothing_twice(rig):
    """Looking is no help here: only the same ClientToken in the same zone finds the instance."""
    case = Case(rig, start=False)
    case.faults.add(Rule("RunInstances", "lose_reply", count=1))
    case.faults.hide_seconds = 8.0
    case.start()
    case.wait_agreed(3, 60)
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("^RunInstances was asked again: NoReply", "is in none of 3 reports yet")


@test("default", 90)
def test_delayed_visibility_is_not_taken_for_a_loss(rig):
    case = Case(rig, start=False)
    case.faults.hide_seconds = 6.0
    case.start()
    case.wait_agreed(3, 60)
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("was launched but is in none of 3 reports yet")
    check(not case.faults.calls("TerminateInstances"), "it ended what it could not see")


@test("default", 120)
def test_a_launch_that_goes_from_pending_to_terminated_is_replaced_and_explained(rig):
    case = Case(rig, start=False)
    case.faults.doomed = (1.5, "Server.InsufficientInstanceCapacity")
    case.start()
    wait_until(lambda: len(case.faults.calls("RunInstances")) >= 3, 20, "no launches")
    time.sleep(1)
    case.faults.doomed = None
    case.wait_agreed(3, 80)
    case.check_bounds()
    case.check_sentence(r"ended before it came into service: Server\.InsufficientInstanceCapacity")


@test("default", 90)
def test_expired_credentials_are_read_again(rig):
    case = Case(rig)
    case.wait_agreed(3)
    case.faults.expired_keys = {case.cloud.keys[0][0]}
    wait_until(lambda: case.faults.log[-1].code == "RequestExpired", 15, "no call was refused")
    time.sleep(2)  # the history is written with the next tick
    case.check_sentence("RequestExpired")
    case.cloud.credentials_file(key=1)
    second = case.cloud.keys[1][0]

    def refreshed():
        return any(c.key == second and c.answer == 200 for c in list(case.faults.log))

    wait_until(refreshed, 40, "the new credentials are not used")
    case.cloud.terminate(case.cloud.live()[0]["id"])
    time.sleep(1)
    case.wait_agreed(3)
    case.check_launches(4)
    case.check_bounds()


@test("default", 90)
def test_a_skewed_clock_is_measured_and_corrected(rig):
    case = Case(rig, start=False)
    case.faults.skew_seconds = 1800.0
    case.start()
    case.wait_agreed(3, 60)
    case.check_launches(3)
    refused = [c for c in case.faults.log if c.code == "SignatureDoesNotMatch"]
    check(1 <= len(refused) <= 6, f"{len(refused)} calls with the wrong time")
    case.check_bounds()
    case.check_sentence("was asked again: SignatureDoesNotMatch")


@test("default", 120)
def test_garbage_truncation_and_resets_change_nothing(rig):
    case = Case(rig)
    case.wait_agreed(3)
    for effect in ("garbage", "truncate", "reset"):
        case.faults.add(Rule("DescribeInstances", effect, count=6))
        load = Load(case.url, [Call("/id")], profile=[(0, 30)], seconds=5).start()
        summary = load.wait()
        check_equal(summary["failures"], 0, f"traffic during {effect}: {summary['errors']}")
        check_equal(len(case.cloud.live()), 3, f"instances during {effect}")
        case.faults.clear()
    case.wait_agreed(3)
    case.check_launches(3)
    case.check_bounds()
    check(not case.faults.calls("TerminateInstances"), "it ended something")
    again = "^DescribeInstances was asked again: "
    case.check_sentence(again + "BadReply", again + "NoReply connection reset")


@test("default", 120)
def test_garbage_in_answer_to_a_launch_launches_nothing_twice(rig):
    case = Case(rig, start=False)
    for effect in ("garbage", "truncate", "reset"):
        case.faults.add(Rule("RunInstances", effect, count=1))
    case.start()
    case.wait_agreed(3, 70)
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("^RunInstances was asked again: BadReply")


@test("default", 90)
def test_an_api_that_is_gone_leaves_the_data_plane_and_the_fleet_alone(rig):
    case = Case(rig)
    case.wait_agreed(3)
    case.faults.add(Rule("", "reset"))
    load = Load(case.url, [Call("/id")], profile=[(0, 50)], seconds=12).start()
    summary = load.wait()
    check_equal(summary["failures"], 0, f"failures while the API was gone: {summary['errors']}")
    check_equal(len(case.serving()), 3, "in service while the API was gone")
    case.faults.clear()
    case.wait_agreed(3)
    case.check_launches(3)
    case.check_bounds()
    case.check_sentence("^describe failed: NoReply")


@test("default", 120)
def test_a_restart_while_the_api_is_gone_serves_from_where_it_served(rig):
    case = Case(rig)
    case.wait_agreed(3)
    case.lbd.stop()
    case.faults.add(Rule("", "reset"))
    case.start()
    wait_until(case.lbd.ready, 15, "lbd is not ready without the API")
    states = [target["state"] for target in case.lbd.targets()]
    check_equal(states, ["healthy"] * 3, "targets without the API")
    load = Load(case.url, [Call("/id")], profile=[(0, 50)], seconds=8).start()
    summary = load.wait()
    check_equal(summary["failures"], 0, f"failures without the API: {summary['errors']}")
    case.check_sentence("^start failed: NoReply")
    case.faults.clear()
    case.wait_agreed(3, 90)
    case.check_launches(3)
    case.check_bounds()


def kill_repeatedly(rig, kills):
    """kill -9 at seeded moments while replies get lost and an admin ends instances now and then."""
    rng = random.Random(SEED)
    case = Case(rig, start=False, grace="120s", launch_timeout="120s")
    case.faults.rng.seed(SEED)
    case.faults.add(Rule("RunInstances", "lose_reply", probability=0.3))
    case.faults.add(Rule("DescribeInstances", "reset", probability=0.1))
    ended = 0
    for number in range(kills):
        case.start()
        time.sleep(rng.uniform(0.05, 2.5))
        if number % 4 == 3 and (live := case.cloud.live()):
            case.cloud.terminate(rng.choice(live)["id"])
            ended += 1
            time.sleep(rng.uniform(0.0, 1.5))
        lives, tail = case.lbd.process.running(), case.lbd.process.tail()
        check(lives, f"seed {SEED}, kill {number}: it ended by itself: {tail}")
        case.lbd.kill()
    case.faults.clear()
    case.start()
    case.wait_agreed(3, 60)
    case.check_bounds()
    made = len(case.launched())
    check(made == 3 + ended, f"seed {SEED}: {made} launches, 3 + {ended} ended by the admin")
    case.check_sentence("while lbd was away|by itself|before it came into service")


def kill_through_scaling(rig, kills):
    """The same while the group is told 3, 4, 5, 3, …: kills hit launches, drains, terminations."""
    rng = random.Random(SEED + 1)
    case = Case(rig, start=False, grace="120s", launch_timeout="120s")
    case.faults.add(Rule("TerminateInstances", "lose_reply", probability=0.3))
    case.faults.add(Rule("RunInstances", "lose_reply", probability=0.3))
    for number in range(kills):
        size = rng.choice((3, 4, 5))
        case.lbd.write(case.config(min=size, max=size, grace="120s", launch_timeout="120s"))
        case.start()
        time.sleep(rng.uniform(0.1, 3.5))
        case.lbd.kill()
    case.faults.clear()
    case.lbd.write(case.config(min=3, max=3))
    case.start()
    case.wait_agreed(3, 60)
    check(case.runner.peak <= 5, f"seed {SEED}: {case.runner.peak} instances at once")


@test("default", 180)
def test_kill_minus_9_at_12_seeded_moments_ends_in_the_same_state(rig):
    kill_repeatedly(rig, 12)


@test("default", 180)
def test_kill_minus_9_while_it_scales_ends_in_the_same_state(rig):
    kill_through_scaling(rig, 10)


@test("long", 600)
def test_kill_minus_9_at_50_seeded_moments_ends_in_the_same_state(rig):
    kill_repeatedly(rig, 50)


@test("long", 600)
def test_kill_minus_9_at_50_seeded_moments_of_scaling_ends_in_the_same_state(rig):
    kill_through_scaling(rig, 50)

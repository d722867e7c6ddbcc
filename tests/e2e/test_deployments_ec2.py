"""Whose instances are whose: several lbd in one AWS account."""
import shutil

from ec2_case import Case
from rig import check, check_equal, test, wait_until


def owners(cloud):
    """{deployment tag: ids that live}"""
    found = {}
    for row in cloud.live():
        found.setdefault(row["tags"].get("lbd:deployment"), set()).add(row["id"])
    return found


@test("default", 150)
def test_two_lbd_with_a_group_of_the_same_name_never_touch_each_others_instances(rig):
    one = Case(rig, name="one")
    one.wait_agreed(3)
    first = one.serving()
    two = Case(rig, name="two", cloud=one.cloud)
    two.wait_serving(3)
    second = two.serving()
    check(not first & second, f"they share {first & second}")
    by_owner = owners(one.cloud)
    check(first in by_owner.values() and second in by_owner.values(), f"tags: {by_owner}")
    check("not ours and left alone" in two.lbd.process.stderr(), "no word of the other's")
    # Scale-in, a replacement and a restart: each sees and ends its own only.
    code, _, text = two.lbd.reload(two.config(min=1, max=1))
    check_equal(code, 0, f"reload: {text}")
    one.cloud.terminate(sorted(first)[0])
    two.wait_serving(1)
    one.lbd.kill()
    one.start()
    kept = first - {sorted(first)[0]}
    wait_until(lambda: kept < one.serving() and len(one.serving()) == 3, 40,
               lambda: one.story(3))
    wait_until(lambda: len(one.cloud.live()) == 4, 20, lambda: one.story(3))
    check_equal({frozenset(ids) for ids in owners(one.cloud).values()},
                {frozenset(one.serving()), frozenset(two.serving())}, "fleets")
    check(two.serving() < second, "the one that stayed was launched anew")
    one.check_launches(7)  # 3, 3, and the replacement


@test("default", 90)
def test_a_named_deployment_finds_its_instances_without_its_state_directory(rig):
    case = Case(rig, start=False)
    config = case.config()
    config["node"]["deployment"] = "shop"
    case.lbd.write(config)
    case.start()
    case.wait_agreed(3)
    check_equal(set(owners(case.cloud)), {"shop"}, "owners")
    case.lbd.kill()
    shutil.rmtree(case.lbd.folder / "state")
    case.start()
    case.wait_agreed(3)
    case.check_launches(3)

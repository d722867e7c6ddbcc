"""A state directory that cannot be used: lbd goes on balancing and touches no instance."""
import os
import time

from rig import check, check_equal, free_port, request, test, wait_until
from test_scaling_process import burn_pids, fleet, wait_in_service

GARBAGE = b"this is no database\n" * 100


def spoil(lbd):
    state = lbd.folder / "state"
    state.mkdir(exist_ok=True)
    for leftover in ("scaler.db-wal", "scaler.db-shm"):
        (state / leftover).unlink(missing_ok=True)
    (state / "scaler.db").write_bytes(GARBAGE)


@test(timeout=60)
def test_static_targets_are_served_with_a_corrupt_database(rig):
    origin = rig.origin("one")
    lbd = rig.proxy([origin])
    lbd.stop()
    spoil(lbd)
    lbd.start()
    check_equal(request(rig.port, "/id").status, 200, "a request")
    check("not a database" in lbd.process.stderr(), "the log does not say what is wrong")


@test("default", 120)
def test_with_a_corrupt_database_instances_serve_and_none_is_launched_or_ended(rig):
    port = free_port()
    lbd = rig.lbd(fleet(port, policies=[]))
    wait_in_service(lbd, 3)
    pids = burn_pids({i["id"] for i in lbd.instances()})
    lbd.stop()
    spoil(lbd)
    lbd.start()
    wait_until(lambda: request(port, "/id").status == 200, 15, "the instances are not served")
    held = lbd.json("scale", "status")["groups"][0]
    check("not a database" in held["store_error"], f"status: {held}")
    check_equal(lbd.metric("lbd_scaler_held"), 1, "lbd_scaler_held")
    victim = min(pids.values())
    os.kill(victim, 9)
    time.sleep(5)
    check_equal(set(burn_pids(pids).values()), set(pids.values()) - {victim}, "processes")
    check_equal(len(burn_processes(lbd)), 2, "processes while held")
    check_equal(request(port, "/id").status, 200, "a request while held")
    (lbd.folder / "state" / "scaler.db").unlink()  # what the admin does; tried every ten seconds
    wait_in_service(lbd, 3, 30)
    check_equal(lbd.metric("lbd_scaler_held"), 0, "lbd_scaler_held afterwards")
    check_equal(len(burn_processes(lbd)), 3, "processes afterwards")


def burn_processes(lbd):
    return burn_pids({i["id"] for i in lbd.instances()})

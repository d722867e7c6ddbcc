"""Layer 4: how many connections a client may have at once, and `lbd why` one ended."""
from rig import RawOrigin, Wire, check, check_equal, free_port, test, wait_until
from test_layer4 import balanced, echo, exact, is_refused, last_line
from test_why import why


@test()
def test_a_client_has_no_more_connections_at_once_than_it_may(rig):
    limit = {"in_flight_limits": [{"by": "source_ip", "requests": 2}]}
    lbd = balanced(rig, [RawOrigin(rig, echo)], listener=limit)
    with Wire(rig.port) as one, Wire(rig.port) as two:
        exact(one, b"1")
        exact(two, b"2")
        check(is_refused(rig.port), "more than the limit")
        line = last_line(lbd)
        check_equal(line["reason"], "in_flight_limited", "reason")
        code, out, err = lbd.cli("reload", "--wait")
        check_equal(code, 0, f"reload: {out}{err}")
        check(is_refused(rig.port), "a reload does not forget those that are open")
        one.close()
        wait_until(lambda: lbd.metric("lbd_requests_in_flight", target_group="db") == 1, 10, "free")
        with Wire(rig.port) as three:
            exact(three, b"3")
    said = why(lbd, line["request_id"])
    check_equal(said["reason"], "in_flight_limited", "lbd why")
    check("connected to listener db (tcp)." in said["sentences"][0], f"{said['sentences']}")


@test()
def test_why_knows_connections_that_found_no_target(rig):
    lbd = balanced(rig, [{"address": f"127.0.0.1:{free_port()}"}])
    check(is_refused(rig.port), "nobody is there")
    line = last_line(lbd)
    said = why(lbd, line["request_id"])
    check_equal(said["reason"], line["reason"], "reason")
    check_equal(said["reason"], "connect_failed", "reason")
    check("The connection was cut." in said["sentences"], f"{said['sentences']}")
    check(line["request_id"] in lbd.cli("why")[1], "the list of the newest")

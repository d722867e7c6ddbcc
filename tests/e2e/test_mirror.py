"""Mirroring, from the outside: who gets copies of what, and that clients never notice."""
import time

from h2_client import H2Client
from http_text import NO_CHECKS, answer
from loadgen import Call, Load
from rig import RawOrigin, check, check_equal, free_port, request, simple_config, test, wait_until
from test_tls import Authority
from tls_origin import TlsOrigin, server_context


def mirrored(rig, targets, shadow, *, group=None, **mirror):
    """Everything to `targets`, and copies to `shadow`."""
    rig.port = free_port()
    listener = {"http2": {"cleartext": True},
                "default": {"forward": "app", "mirror": {"target_group": "shadow", **mirror}}}
    config = simple_config(rig.port, targets, NO_CHECKS, listener)
    config["target_groups"]["shadow"] = {"targets": [shadow.target()], **NO_CHECKS, **(group or {})}
    return config


def copies(lbd, outcome):
    return lbd.metric("lbd_mirrored_requests_total", target_group="shadow", outcome=outcome)


def silent(connection, _):
    """Reads, and never answers."""
    while connection.recv(65536):
        pass


class Shadow(RawOrigin):
    """Answers every request, and keeps their heads in `seen`."""

    def __init__(self, rig):
        super().__init__(rig, self._answer)

    def _answer(self, connection, _):
        while self.head(connection):
            answer(connection, b"from the shadow")


@test()
def test_a_share_of_the_requests_goes_to_a_tls_shadow_and_no_client_sees_its_answers(rig):
    files = Authority(rig.folder).make("shadow", "app.test")
    heads = []

    def serve(wire):
        data = b""
        while piece := wire.recv(65536):
            data += piece
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                heads.append(head.lower())
                answer(wire, b"from the shadow")

    shadow = TlsOrigin(rig, server_context(files), serve)
    tls = {"protocol": "https", "tls": {"trust": files["chain"], "server_name": "app.test"}}
    lbd = rig.lbd(mirrored(rig, [rig.origin()], shadow, group=tls, percentage="30%"))
    for _ in range(500):
        reply = request(rig.port, "/id")
        check(reply.status == 200 and b"shadow" not in reply.body, f"{reply.status} {reply.body}")
    with H2Client(rig.port) as client:
        for _ in range(500):
            check_equal(client.fetch("/id").status, 200, "over HTTP/2")
    wait_until(lambda: copies(lbd, "answered") == len(heads), 10,
               lambda: f"{copies(lbd, 'answered')} answered of {len(heads)}")
    check(220 <= len(heads) <= 380, f"{len(heads)} of 1000 copied, 300 expected (5 sigma: 72)")
    check(all(b"\r\nx-lbd-mirror: 1" in head for head in heads), "a copy without its mark")
    _, explained, _ = lbd.cli("explain", "GET", f"http://127.0.0.1:{rig.port}/id")
    check("mirror to shadow 30%" in explained, explained)


@test()
def test_a_shadow_that_hangs_costs_no_client_anything_and_no_stop_waits_for_it(rig):
    shadow = RawOrigin(rig, silent)
    lbd = rig.lbd(mirrored(rig, [rig.origin()], shadow, timeout="10m"))
    load = Load(f"http://127.0.0.1:{rig.port}", [Call("/id")], profile=[(0, 100)], seconds=4)
    summary = load.start().wait()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    check(shadow.connections >= summary["requests"] * 0.9, f"{shadow.connections} copies under way")
    began = time.monotonic()
    lbd.stop()
    check(time.monotonic() - began < 60, "the stop waited for copies")


@test()
def test_more_copies_than_may_be_are_left_out_and_counted(rig):
    shadow = RawOrigin(rig, silent)
    lbd = rig.lbd({**(config := mirrored(rig, [rig.origin()], shadow, timeout="10m")),
                   "node": {**config["node"], "workers": 1}})
    load = Load(f"http://127.0.0.1:{rig.port}", [Call("/id")], clients=8, requests_max=1500,
                seconds=120)
    summary = load.start().wait()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    wait_until(lambda: copies(lbd, "overload") >= summary["requests"] - 1024, 10,
               lambda: f"{copies(lbd, 'overload')} left out of {summary['requests']}")


@test()
def test_a_shadow_that_is_gone_is_counted_and_a_reload_ends_the_mirror(rig):
    shadow = Shadow(rig)
    config = mirrored(rig, [rig.origin()], shadow)
    lbd = rig.lbd(config)
    for _ in range(10):
        check_equal(request(rig.port, "/id").status, 200, "status")
    wait_until(lambda: copies(lbd, "answered") == 10, 10, "not all were copied")
    config["target_groups"]["shadow"]["targets"] = [{"address": f"127.0.0.1:{free_port()}"}]
    check_equal(lbd.reload(config)[0], 0, "reload")
    for _ in range(10):
        check_equal(request(rig.port, "/id").status, 200, "while the shadow is gone")
    wait_until(lambda: copies(lbd, "connect_failed") == 10, 10, "not all were counted")
    del config["listeners"]["public"]["default"]["mirror"]
    code, _, text = lbd.reload(config)
    check(code == 0 and "shadow" in text, f"an unused group is not told: {text}")
    check_equal(request(rig.port, "/id").status, 200, "without a mirror")
    check_equal(copies(lbd, "connect_failed"), 10, "copies after the mirror's end")


@test()
def test_bodies_are_copied_whole_to_a_shadow_with_http2(rig):
    lbd_behind, port = None, free_port()
    app = rig.origin("behind")
    behind = simple_config(port, [app], NO_CHECKS, {"http2": {"cleartext": True}})
    lbd_behind = rig.lbd(behind, name="behind")
    rig.port = free_port()
    config = simple_config(rig.port, [rig.origin()], NO_CHECKS, {
        "default": {"forward": "app", "mirror": {"target_group": "shadow",
                                                 "body_bytes_max": "1MiB"}}})
    config["target_groups"]["shadow"] = {"http_version": "2", **NO_CHECKS,
                                         "targets": [{"address": f"127.0.0.1:{port}"}]}
    lbd = rig.lbd(config)
    for size in (0, 1, 65_536, 1_000_000):
        check_equal(request(rig.port, "/echo", "POST", body=b"x" * size).status, 200, "status")
    wait_until(lambda: copies(lbd, "answered") == 4, 20, "not all were copied")
    wait_until(lambda: len(lbd_behind.access_log()) == 4, 10, "not all arrived")
    sizes = [(line["protocol"], line["request_bytes"]) for line in lbd_behind.access_log()]
    check_equal(sorted(sizes), [("HTTP/2.0", size) for size in (0, 1, 65_536, 1_000_000)], "copies")

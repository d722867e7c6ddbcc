"""Attacks, with honest clients beside them: nobody honest fails, memory stays within a bound that
follows from the limits, each refusal has its reason, and afterwards all is as before.

No test here looks at the clock: how long honest requests take meanwhile is measured by
`./dev bench --attacks`. The long profile runs the same attacks larger.
"""
import collections
import json
import resource
import subprocess
import sys
from dataclasses import dataclass

from honest import Honest
from rig import ROOT, check, check_equal, free_port, simple_config, slowness, test, wait_until
from test_bodies_and_reload import Peak
from test_tls import Authority, https_config

KIB = 1024
# What a connection may hold of lbd's memory, from the limits that docs/reference/config.md has.
HEAD = 64 + 4  # KiB: limits.headers_bytes_max, and room to read what is above it
BODY = 64 + 64  # a piece of a body on either side of the proxy
IDLE = 4  # a session and its first buffer
H2_IDLE = 24
H2_HEADS = 1024  # of all its open requests
H2_STREAMS = 100 * (16 + 64 + 4)  # responses of all of them, and what came of them from targets
TLS = 96  # OpenSSL's side of a connection, its buffers included
BASE = 16 * KIB  # logs (1 MiB a worker), allocators, honest clients

TIMEOUTS = {"request_head": "3s", "body_idle": "1500ms", "write_idle": "1500ms", "idle": "3s"}
LIMITS = {"body_bytes_per_second_min": 1000}


@dataclass(frozen=True)
class Case:
    """An attack, how large, and what must become of it."""

    name: str
    each: int  # KiB that a connection may hold
    connections: int = 5
    long: int = 50  # connections in the long profile
    seconds: int = 20  # at most: most are over when each connection has ended
    size: int = 4 << 20
    long_size: int = 100_000_000
    ends: tuple = ()  # how connections may end; at least one must end by the first
    reasons: tuple = ()  # that requests fail with; at least one must by the first
    counted: tuple = ()  # metric and labels that count each connection
    beside: tuple = ()  # other attacks, which run at the same time and must end alike

    def attacks(self):
        return (self.name, *self.beside)


def flood(name, kind, each=H2_IDLE, reasons=(), others=(), **more):
    """It is to end with ENHANCE_YOUR_CALM. `others`: how streams may end."""
    return Case(name, each, ends=("goaway 11", "closed", *others), reasons=reasons,
                counted=("lbd_http2_floods_total", {"kind": kind}), **more)


def tls_failure(name, reason, **more):
    return Case(name, TLS, counted=("lbd_tls_errors_total", {"reason": reason}), **more)


TIMED_OUT, TOO_LARGE, MALFORMED = ("client_timeout",), ("header_too_large",), ("client_protocol",)
CASES = [
    Case("slow_heads", HEAD, 100, 1000, ends=("408",), reasons=TIMED_OUT),
    Case("slow_bodies", BODY, 100, 1000, ends=("408",), reasons=TIMED_OUT),
    Case("slow_reads", BODY, 50, 300, 6, 16 << 20, ends=("open", "200", "closed"),
         reasons=TIMED_OUT),
    Case("idle_connections", IDLE, 1000, 10_000, 60, ends=("closed",)),
    Case("kept_connections", BODY, 300, 3000, 60, ends=("200",)),  # all asked at once
    Case("connection_flood", IDLE, 2000, 20_000, ends=("reset by us",)),
    Case("request_flood", IDLE, 300, 3000, ends=("reset by us",), reasons=("client_gone",)),
    Case("huge_heads", HEAD, ends=("431", "closed"), reasons=TOO_LARGE, beside=("huge_lines",)),
    Case("chunk_extensions", BODY, ends=("400", "closed"), reasons=MALFORMED,
         beside=("chunk_extension_each",)),
    flood("h2_rapid_reset", "resets", H2_HEADS, ("client_gone", "client_protocol"),
          others=("200", "reset 7")),
    flood("h2_made_you_reset", "resets", H2_HEADS, ("client_protocol",),
          others=("reset 1", "reset 3", "reset 7", "400", "200")),
    flood("h2_continuations", "header_block", HEAD, TOO_LARGE, beside=("h2_large_fields",)),
    flood("h2_empty_continuations", "header_block", HEAD, MALFORMED,
          beside=("h2_refused_continuations",), others=("reset 1",)),
    Case("h2_many_fields", H2_HEADS, ends=("431", "reset 7", "open"), reasons=TOO_LARGE),
    flood("h2_hpack_bombs", "header_block", H2_HEADS, TOO_LARGE),
    Case("h2_hpack_bombs_held", H2_HEADS + H2_STREAMS, 5, 20, 12, reasons=TIMED_OUT,
         ends=("reset 7", "reset 2", "reset 8", "200", "open", "goaway 0", "closed")),
    Case("h2_slow_reads", H2_STREAMS, 3, 12, 12, 16 << 20, reasons=TIMED_OUT,
         ends=("reset 2", "reset 8", "200", "open", "goaway 0", "closed")),
    Case("h2_slow_heads", H2_IDLE, 50, 60, 6, ends=("goaway 11",), reasons=TIMED_OUT),
    flood("h2_settings", "control", beside=("h2_settings_unread",)),
    flood("h2_pings", "control", beside=("h2_pings_unread", "h2_acks")),
    flood("h2_priorities", "control", beside=("h2_window_updates",)),
    flood("h2_empty_frames", "control", BODY, MALFORMED),
    Case("tls_handshakes", TLS, 300, 5000, ends=("handshake",)),
    tls_failure("tls_half_handshakes", "timeout", connections=100, long=1000, ends=("closed",)),
    tls_failure("tls_silence", "timeout", connections=300, long=3000, ends=("closed",)),
    tls_failure("tls_garbage", "not_tls", connections=50, long=1000, ends=("alert",)),
    Case("tls_renegotiations", TLS, 50, 1000, ends=("refused",)),
    # Answers that are not read: 256 KiB of them, then the connection ends.
    Case("tls_key_updates", TLS + 256, 2, 10, 6, ends=("closed", "open")),
    Case("tls_slow_bodies", TLS + BODY, 50, 300, ends=("408",), reasons=TIMED_OUT),
]


def configured(rig, **node):
    """(lbd's configuration, its plain port, its TLS port)"""
    plain, secure = free_port(), free_port()
    tls = {"certificates": [Authority(rig.folder).make("shop")], "handshake_timeout": "3s"}
    config = https_config(secure, [rig.origin()], tls, node=node)
    more = {"timeouts": TIMEOUTS, "limits": LIMITS}
    clear = simple_config(plain, [], listener={"http2": {"cleartext": True}, **more})
    config["listeners"]["public"].update(more)
    config["listeners"]["plain"] = clear["listeners"]["public"]
    return config, plain, secure


def attack(case, plain, secure, large=False):
    """The outcome of the attacks, which run beside each other."""
    port = secure if case.name.startswith("tls") else plain
    numbers = {
        "--connections": case.long if large else case.connections,
        "--bytes": case.long_size if large and case.size == Case.size else case.size,
        "--seconds": case.seconds * (3 if large else 1) * slowness(),
    }
    options = [f"{name}={value}" for name, value in numbers.items()]
    program = [sys.executable, str(ROOT / "tests/e2e/attacks.py")]
    processes = [subprocess.Popen([*program, name, str(port), *options], stdout=subprocess.PIPE)
                 for name in case.attacks()]
    total = {"made": 0, "bytes": 0, "ended": collections.Counter()}
    for process in processes:
        out, _ = process.communicate()
        check_equal(process.returncode, 0, "an attack's own exit code")
        outcome = json.loads(out)
        total["ended"].update(outcome["ended"])
        total["made"] += outcome["made"]
        total["bytes"] += outcome["bytes"]
    return {**total, "ended": dict(total["ended"])}


def check_reasons(lbd, case):
    """Each line of the log has the right reason, the metric has as many, and honest lines none."""
    honest = [row for row in lbd.access_log() if "honest" in row["uri"]]
    check(all("reason" not in row and row["status"] == 200 for row in honest), "honest lines")
    rest = [row for row in lbd.access_log() if "honest" not in row["uri"]]
    logged = collections.Counter(row.get("reason", "") for row in rest)
    for row in rest:
        failed = row["status"] >= 400 or row.get("cut")
        check(not failed or row.get("reason") in case.reasons, f"{case.name}: {row}")
    for reason in case.reasons:
        counted = lbd.metric("lbd_request_failures_total", reason=reason)
        check_equal(counted, logged[reason], f"{case.name}: {reason} counted, as logged")
    if case.reasons:
        check(logged[case.reasons[0]] > 0, f"{case.name}: no {case.reasons[0]} in the log")
    total = lbd.metric("lbd_request_failures_total")
    check_equal(total, sum(logged[r] for r in case.reasons), f"{case.name}: all failures counted")


def check_outcome(lbd, case, outcome):
    made, ended = outcome["made"], outcome["ended"]
    check(made > 0 and set(ended) <= {*case.ends}, f"{case.name}: {outcome}")
    check(ended.get(case.ends[0], 0) > 0, f"{case.name}: no {case.ends[0]}: {outcome}")
    if case.counted:
        family, labels = case.counted
        check_equal(lbd.metric(family, **labels), made, f"{case.name}: {family} {labels}")


def settled(lbd):
    """Nothing of anybody is left in lbd."""
    gauges = ("lbd_open_connections", "lbd_requests_in_flight", "lbd_tunnels")
    left = {name: lbd.metric(name) for name in gauges}
    wait_until(lambda: not any(lbd.metric(name) for name in gauges), 20,
               lambda: f"left: {left} {[lbd.metric(name) for name in gauges]}")


def run(rig, case, large=False):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config, plain, secure = configured(rig)
    lbd = rig.lbd(config)
    descriptors = lbd.metric("process_open_fds")
    with Honest(plain, secure) as honest:
        honest.wait_for(5)
        with Peak(lbd) as peak:
            outcome = attack(case, plain, secure, large)
            honest.wait_for(3)
    honest.check(case.name)
    check(lbd.process.running(), f"{case.name}: lbd is gone")
    grown, most = (peak.largest - peak.before) // KIB, BASE + outcome["made"] * case.each
    check(grown <= most, f"{case.name}: memory grew by {grown} KiB, more than {most}: {outcome}")
    settled(lbd)
    kept = lbd.metric("process_open_fds") - descriptors
    check(kept <= 2 * 64 + 8, f"{case.name}: {kept} more descriptors than before")  # idle upstream
    check_outcome(lbd, case, outcome)
    check_reasons(lbd, case)
    if large:
        print(f"  {case.name}: +{grown} KiB (of {most}) {json.dumps(outcome)}", flush=True)


def define(case):
    """A test of the default profile and one of the long profile."""
    for profile, suffix, large, limit in (("default", "", False, 90), ("long", "_at_length", True,
                                                                       300)):
        def each(rig, case=case, large=large):
            run(rig, case, large)

        name = f"test_honest_clients_beside_{case.name}{suffix}"
        each.__name__ = name
        globals()[name] = test(profile, limit)(each)


for _case in CASES:
    define(_case)


@test("default", 90)
def test_above_connections_max_the_newest_are_shed_and_who_is_in_stays(rig):
    config, plain, secure = configured(rig, connections_max=100)
    lbd = rig.lbd(config)
    case = Case("idle_connections", IDLE, 600, seconds=20)
    with Honest(plain, secure, fresh=False) as honest:
        outcome = attack(case, plain, secure)
        honest.wait_for(3)
    honest.check("beside connections that are shed")
    shed = lbd.metric("lbd_connections_shed_total")
    check(shed > 0, f"none were shed: {outcome}")
    check_equal(outcome["ended"], {"closed": 600}, "ends")
    settled(lbd)
    with Honest(plain, secure) as again:
        again.wait_for(2)
    again.check("afterwards")

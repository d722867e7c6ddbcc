#!/usr/bin/env python3
"""What attacks cost honest clients: their latency beside each attack against that without it.

  attacks.py [--lbd BINARY] [--rounds 3] [--seconds 3] [--attacks slow_heads,…] [--only lbd,nginx]

Honest clients ask at a steady rate (steady.c, open loop) while tests/e2e/attacks.py attacks the
same proxy. Each measurement with an attack follows one without; the table has medians of both and
of their ratio. The proxy has a core of its own; attacker, origin and honest clients share the
other, the attacker at a limited rate and an ordinary process while the rest are real-time ones
(SCHED_FIFO, which needs root), so that what is measured is the proxy and not the machine. Writes
bench/results/<date>-<commit>-attacks.md.
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from bench import ROOT, Bench, cpu_seconds, machine, output_of, pinned, resident_kib  # noqa: E402

PROGRAM = ROOT / "tests/e2e/attacks.py"
RATIO_MAX = 2.0
FLOOR_US = 1000  # below it a p99 is this machine's scheduler
HYPOTHESIS = (
    "beside each attack lbd answers every honest request, p99 is at most twice that without it, "
    "and memory stays within what limits and connections make of it.")


@dataclass(frozen=True)
class Attack:
    name: str
    port: str = "plain"
    connections: int = 100_000
    rate: int = 0  # connections a second; 0: all at once
    size: int = 100_000_000

    def load(self):
        return f"{self.connections} at once" if not self.rate else f"{self.rate}/s"


H2 = ("rapid_reset", "made_you_reset", "continuations", "empty_continuations", "hpack_bombs",
      "many_fields", "large_fields", "settings", "pings", "empty_frames", "priorities",
      "window_updates")
ATTACKS = [
    Attack("slow_heads", connections=1000),
    Attack("slow_bodies", connections=1000),
    Attack("slow_reads", connections=500, size=1 << 20),
    Attack("idle_connections", connections=10_000),
    Attack("connection_flood", rate=1000),
    Attack("request_flood", rate=500),
    Attack("huge_heads", rate=20),
    Attack("huge_lines", rate=20),
    Attack("chunk_extensions", rate=20),
    Attack("chunk_extension_each", rate=20),
    *(Attack(f"h2_{name}", "h2c", rate=10) for name in H2),
    Attack("h2_hpack_bombs_held", "h2c", connections=20, size=1 << 20),
    Attack("h2_slow_reads", "h2c", connections=20, size=1 << 20),
    Attack("tls_handshakes", "tls", rate=300),
    Attack("tls_half_handshakes", "tls", connections=500),
    Attack("tls_renegotiations", "tls", rate=200),
    Attack("tls_key_updates", "tls", connections=2),
]


class Watch:
    """The largest memory of a proxy while the block runs, in KiB."""

    def __init__(self, pid):
        self.pid, self.most, self.over = pid, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, resident_kib(self.pid))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def steady(bench, name, args):
    """What honest clients measure."""
    command = [str(bench.folder / "steady"), str(bench.ports[name]["plain"]), str(args.rate),
               str(args.seconds), "64"]
    out, err = bench.load(command, args.seconds + 60)
    if not out:
        sys.exit(f"bench: the honest clients cannot reach {name}: {err}")
    return json.loads(out)


def become_real_time():
    """The proxies, the origin and the honest clients inherit it. False: not allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return True
    except PermissionError:
        return False


def begin(bench, name, attack, seconds):
    """Starts it; it has some seconds to get going before the honest are measured."""
    command = ["chrt", "--other", "0", sys.executable, str(PROGRAM), attack.name,
               str(bench.ports[name][attack.port]),
               f"--seconds={seconds}", f"--connections={attack.connections}",
               f"--rate={attack.rate}", f"--bytes={attack.size}"]
    return pinned(command, bench.cores[1], stdout=subprocess.PIPE)


def measure(bench, name, attack, args):
    """One round: without the attack, then with it."""
    pid = bench.processes[name].pid
    quiet = steady(bench, name, args)
    before, rss, start = cpu_seconds(pid), resident_kib(pid), time.monotonic()
    warm = 1.0 if attack.rate else 1.5 + attack.connections / 5000
    with Watch(pid) as watch:
        process = begin(bench, name, attack, warm + args.seconds + 0.5)
        time.sleep(warm)
        busy = steady(bench, name, args)
        out, _ = process.communicate(timeout=60)
    used = (cpu_seconds(pid) - before) / (time.monotonic() - start)
    outcome = json.loads(out) if process.returncode == 0 else {"failed": process.returncode}
    return {"proxy": name, "attack": attack.name, "quiet": quiet, "beside": busy, "core": used,
            "rss_kib_before": rss, "rss_kib_most": watch.most, "outcome": outcome}


def run(bench, names, attacks, args):
    rows = []
    for number in range(args.rounds):
        for attack in attacks:
            for name in names:
                row = {"round": number + 1, **measure(bench, name, attack, args)}
                rows.append(row)
                text = f"round {number + 1}: {attack.name:24} {name:8} "
                text += f"p99 {row['quiet']['p99']:6.0f} → {row['beside']['p99']:6.0f} µs "
                text += f"core {row['core']:.0%} {row['outcome']}"
                print(text[:180], file=sys.stderr, flush=True)
                time.sleep(0.5)
    return rows


def summary(rows):
    """{(attack, proxy): medians}"""
    table = {}
    for key in dict.fromkeys((r["attack"], r["proxy"]) for r in rows):
        own = [r for r in rows if (r["attack"], r["proxy"]) == key]
        middle = lambda figure: statistics.median(figure(r) for r in own)  # noqa: E731
        ratios = [r["beside"]["p99"] / max(r["quiet"]["p99"], 1) for r in own]
        table[key] = {
            "p50": (middle(lambda r: r["quiet"]["p50"]), middle(lambda r: r["beside"]["p50"])),
            "p99": (middle(lambda r: r["quiet"]["p99"]), middle(lambda r: r["beside"]["p99"])),
            "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
            "errors": sum(r["beside"]["errors"] for r in own), "core": middle(lambda r: r["core"]),
            "grown": max(r["rss_kib_most"] - r["rss_kib_before"] for r in own),
            "most": max(r["rss_kib_most"] for r in own),
            "made": middle(lambda r: r["outcome"].get("made", 0)),
        }
    return table


def kept(row):
    """The promise: no error, and a p99 at most doubled or below what this machine can tell."""
    return row["errors"] == 0 and (row["ratio"] <= RATIO_MAX or row["p99"][1] <= FLOOR_US)


def markdown(table, attacks):
    loads = {attack.name: attack.load() for attack in attacks}
    lines = ["| attack | load | proxy | p50 µs, quiet → beside | p99 µs, quiet → beside "
             "| p99 ratio (min–max) | failed | core busy | RSS grew, MiB | at most, MiB | |",
             "|" + "---|" * 11]
    for (attack, name), m in table.items():
        lines.append(
            f"| {attack} | {loads[attack]} | {name} | {m['p50'][0]:.0f} → {m['p50'][1]:.0f} "
            f"| {m['p99'][0]:.0f} → {m['p99'][1]:.0f} | **{m['ratio']:.2f}** "
            f"({m['low']:.2f}–{m['high']:.2f}) | {m['errors']} | {m['core']:.0%} "
            f"| {m['grown'] / 1024:.1f} | {m['most'] / 1024:.1f} "
            f"| {'kept' if kept(m) else 'missed'} |")
    return "\n".join(lines)


def verdict(table):
    own = {attack: m for (attack, name), m in table.items() if name == "lbd"}
    missed = [attack for attack, m in own.items() if not kept(m)]
    if not own:
        return "lbd was not measured."
    worst = max(own, key=lambda a: own[a]["ratio"])
    text = f"lbd: {len(own) - len(missed)} of {len(own)} attacks leave honest clients as promised; "
    text += f"the largest ratio is {own[worst]['ratio']:.2f} ({worst}); "
    text += f"{sum(m['errors'] for m in own.values())} honest requests failed."
    return text + (f" Missed: {', '.join(missed)}." if missed else "")


def write_results(args, rows, table, attacks):
    commit = (output_of("git", "rev-parse", "--short", "HEAD") or ["unknown"])[0]
    dirty = "-dirty" if output_of("git", "status", "--porcelain", "-uno") else ""
    today = datetime.date.today().isoformat()
    path = pathlib.Path(args.results) / f"{today}-{commit}{dirty}-attacks.md"
    tools = [["nginx", "-v"], ["haproxy", "-v"], ["openssl", "version"], [sys.executable, "-V"]]
    versions = [line for tool in tools for line in output_of(*tool)]
    raw = "\n".join(json.dumps(row) for row in rows)
    path.write_text(
        f"# Honest clients beside attacks, {today}, {commit}{dirty}\n\n"
        f"**Hypothesis.** {args.hypothesis}\n\n"
        f"**Commit** {commit}{dirty} · **machine** {machine()}; load average at the end "
        f"{os.getloadavg()[0]:.1f}\n\n"
        f"**Command** `bench/macro/attacks.py {' '.join(sys.argv[1:])}`\n\n"
        f"**Versions** {'; '.join(versions)}\n\n{args.note}\n\n"
        f"Honest clients: {args.rate} requests a second on at most 64 kept connections, open\n"
        "loop. One core for the proxy (one worker), another for all the rest; the attacker is\n"
        f"an ordinary process, the others are {'real-time' if args.real_time else 'too'}. Medians\n"
        f"of {args.rounds} rounds of {args.seconds} s each, every one with an attack right behind\n"
        "one without. *kept*: no honest request failed, and p99 at most doubled or below\n"
        f"{FLOOR_US} µs. *load*: the attacker's connections.\n\n"
        f"## Verdict\n\n{verdict(table)}\n\n## Figures\n\n{markdown(table, attacks)}\n\n"
        f"## Raw numbers\n\n```\n{raw}\n```\n")
    return path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lbd", help="binary; without it only the others run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000, help="honest requests a second")
    parser.add_argument("--attacks", default="", help="some of them, by name")
    parser.add_argument("--only", default="lbd", help="some of lbd,nginx,haproxy")
    parser.add_argument("--note", default="", help="what is to be known of this run")
    parser.add_argument("--hypothesis", default=HYPOTHESIS)
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    parser.add_argument("--check", action="store_true", help="exit 1 if lbd breaks its promise")
    args = parser.parse_args()
    args.newer = None
    return args


def main():
    args = arguments()
    wanted = args.attacks.split(",") if args.attacks else [a.name for a in ATTACKS]
    if unknown := set(wanted) - {a.name for a in ATTACKS}:
        sys.exit(f"bench: no attack is called {', '.join(unknown)}")
    attacks = [attack for attack in ATTACKS if attack.name in wanted]
    names = [n for n in ("lbd", "nginx", "haproxy") if n in args.only.split(",")]
    names = [n for n in names if n != "lbd" or args.lbd]
    bench = Bench(args, [])
    try:
        bench.compile()
        args.real_time = become_real_time()
        bench.start(names)
        rows = run(bench, names, attacks, args)
    finally:
        bench.close()
    table = summary(rows)
    print(markdown(table, attacks), "", verdict(table), sep="\n")
    print(f"\nwritten: {write_results(args, rows, table, attacks)}")
    promised = all(kept(m) for (_, name), m in table.items() if name == "lbd")
    return 1 if args.check and not promised else 0


if __name__ == "__main__":
    sys.exit(main())

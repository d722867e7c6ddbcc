#!/usr/bin/env python3
"""CPU per request, throughput and latency of lbd, nginx, HAProxy and a bare epoll relay.

  bench.py [--lbd BINARY] [--rounds 3] [--seconds 3] [--scenarios small-16,h2] [--list]
           [--newer ROOT]

The proxy under test runs on one core, the load and the origin on another. The CPU figure is
utime+stime of all the proxy's processes over one run, divided by the requests that were answered:
on shared machines it is steady to about ±10 % where throughput swings by 2×. Proxies take turns
within each round; the table has medians. Writes bench/results/<date>-<commit>.md. With --check the
exit code is 1 if lbd costs more than the better of nginx and HAProxy where it is held to that.
ROOT is a folder with another Debian (made by debootstrap), whose nginx and HAProxy run as well.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests/e2e")]

from rig import free_port  # noqa: E402
from scenarios import (  # noqa: E402
    DRIVERS, PEERS, SCENARIOS, available, certificate, many_rules, of_root)

NEWER = "-newer"  # behind the name of a peer from --newer
TICK = os.sysconf("SC_CLK_TCK")
HYPOTHESIS = (
    "lbd needs less CPU than the better of nginx and HAProxy, by the share that each scenario "
    "names; the bare relay shows the floor that the kernel sets."
)


def pinned(command, core, **more):
    def pin():
        os.sched_setaffinity(0, {core})

    null = subprocess.DEVNULL
    streams = {"stdin": null, "stdout": null, "stderr": null, **more}
    return subprocess.Popen(command, preexec_fn=pin, start_new_session=True, **streams)


def descendants(pid):
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid):
    """utime+stime of a process and all it started."""
    total = 0
    for process in descendants(pid):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def resident_kib(pid):
    total = 0
    for process in descendants(pid):
        text = pathlib.Path(f"/proc/{process}/status").read_text()
        total += int(re.search(r"VmRSS:\s+(\d+)", text)[1])
    return total


class Bench:
    def __init__(self, args, scenarios):
        self.args, self.here = args, HERE
        self.rules = 10_000 if any(each.listener == "rules" for each in scenarios) else 1
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lbd-bench-"))
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cores) < 2:
            sys.exit("bench: two cores are needed, one for the proxy and one for the rest")
        self.origin_port = free_port()
        self.processes, self.ports, self.most = {}, {}, 0.0
        self.connections_max = 4096  # of clients, at each proxy

    def compile(self):
        tls = ["-lssl", "-lcrypto"]
        programs = {"relay": [], "origin": [], "steady": [], "handshake": tls, "idle": tls}
        for name, libraries in programs.items():
            source, binary = HERE / f"{name}.c", self.folder / name
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            command = ["cc", *flags, "-o", str(binary), str(source), *libraries]
            subprocess.run(command, check=True)
        certificate(self.folder)

    def template(self, name, file):
        values = {**{kind.upper(): port for kind, port in self.ports[name].items()},
                  "ORIGIN": self.origin_port, "FOLDER": self.folder, "METRICS": free_port(),
                  "NAME": name, "CONNECTIONS": self.connections_max}
        text = (HERE / file).read_text()
        text = re.sub(r"@([A-Z0-9]+)@", lambda m: str(values.get(m[1], m[0])), text)
        path = self.folder / f"{name}-{file}"
        path.write_text(text)
        return str(path)

    def program(self, name):
        plain = name.removesuffix(NEWER)
        return [plain] if plain == name else of_root(self.args.newer, plain)

    def command(self, name):
        if name == "relay":
            ports = [self.ports[name]["plain"], self.origin_port]
            return [str(self.folder / "relay"), *map(str, ports)]
        if name.startswith("nginx"):
            config = self.template(name, "nginx.conf")
            return [*self.program(name), "-p", str(self.folder), "-c", config]
        if name.startswith("haproxy"):
            return [*self.program(name), "-db", "-f", self.template(name, "haproxy.cfg")]
        (self.folder / "state").mkdir(exist_ok=True)
        many_rules(self.folder / "rules.yaml", self.ports[name]["rules"], self.rules)
        return [self.args.lbd, "run", "-c", self.template(name, "lbd.yaml")]

    def start(self, names):
        origin = [str(self.folder / "origin"), str(self.origin_port)]
        self.processes["origin"] = pinned(origin, self.cores[1])
        for name in names:
            self.ports[name] = {kind: free_port() for kind in ("plain", "tls", "h2c", "rules")}
            with open(self.folder / f"{name}.err", "wb") as errors:
                command = self.command(name)
                self.processes[name] = pinned(command, self.cores[0], stderr=errors)
            self.wait_ready(name)

    def wait_ready(self, name):
        """Until curl gets a 200 through it."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            code = self.processes[name].poll()
            if code is not None:
                break
            probe = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]
            probe.append(f"http://127.0.0.1:{self.ports[name]['plain']}/")
            if subprocess.run(probe, capture_output=True, text=True).stdout == "200":
                return
            time.sleep(0.1)
        sys.exit(f"bench: {name} does not serve:\n{(self.folder / f'{name}.err').read_text()}")

    def load(self, command, timeout):
        run = pinned(command, self.cores[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = run.communicate(timeout=timeout)
        return out.decode(), err.decode()

    def saturation(self, scenario):
        """Requests a second of the better peer (or of whoever runs) at full load; found once."""
        if not self.most:
            names = [n for n in self.ports if n in PEERS] or list(self.ports)
            for name in names:
                row = DRIVERS["wrk"](self, scenario, scenario.url(self.ports[name]), 3)
                self.most = max(self.most, row["requests"] / (row["us"] / 1e6))
        return self.most

    def drive(self, scenario, name, seconds):
        url = scenario.url(self.ports[name])
        return DRIVERS[scenario.driver](self, scenario, url, seconds)

    def measure(self, scenario, name):
        pid = self.processes[name].pid
        before = cpu_seconds(pid)
        row = self.drive(scenario, name, self.args.seconds)
        used = cpu_seconds(pid) - before
        row |= {"proxy": name, "scenario": scenario.name, "rss_kib": resident_kib(pid)}
        row["rps"] = row["requests"] / (row["us"] / 1e6)
        row["cpu_us"] = used * 1e6 / max(row["requests"], 1)
        row["busy"] = used / (row["us"] / 1e6)
        return row

    def run(self, scenarios, names):
        rows = []
        for number in range(self.args.rounds):
            for scenario in scenarios:
                wanted = ("lbd", *scenario.peers, *scenario.proxies)
                own = [n for n in names if n.removesuffix(NEWER) in wanted]
                turn = number % len(own)
                for name in own[turn:] + own[:turn]:
                    if number == 0:
                        self.drive(scenario, name, 1)  # warm up
                    row = self.measure(scenario, name)
                    rows.append({"round": number + 1, **row})
                    text = f"round {number + 1}: {scenario.name:10} {name:8} "
                    text += f"{row['cpu_us']:8.2f} µs CPU/{scenario.unit}  {row['rps']:8.0f} /s"
                    print(text, file=sys.stderr, flush=True)
        return rows

    def close(self):
        for process in self.processes.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def medians(rows):
    """{(scenario, proxy): {figure: median}}"""
    table = {}
    for key in sorted({(r["scenario"], r["proxy"]) for r in rows}):
        own = [r for r in rows if (r["scenario"], r["proxy"]) == key]
        figures = ("rps", "p50", "p99", "p999", "cpu_us", "busy", "rss_kib")
        table[key] = {f: statistics.median(r[f] for r in own) for f in figures}
        spread = [r["cpu_us"] for r in own]
        table[key]["low"], table[key]["high"] = min(spread), max(spread)
        table[key]["errors"] = sum(r["errors"] for r in own)
    return table


def markdown(table, scenarios):
    head = "| scenario | proxy | CPU µs each (min–max) | per second | p50 µs | p99 µs "
    lines = [head + "| p99.9 µs | core busy | RSS MiB | errors |", "|" + "---|" * 10]
    order = [scenario.name for scenario in scenarios]
    for (scenario, name), m in sorted(
            table.items(), key=lambda i: (order.index(i[0][0]), i[1]["cpu_us"])):
        lines.append(
            f"| {scenario} | {name} | **{m['cpu_us']:.2f}** ({m['low']:.2f}–{m['high']:.2f}) "
            f"| {m['rps']:.0f} | {m['p50']:.0f} | {m['p99']:.0f} | {m['p999']:.0f} "
            f"| {m['busy']:.0%} | {m['rss_kib'] / 1024:.1f} | {m['errors']} |"
        )
    return "\n".join(lines)


def verdict(table, scenarios):
    """(table of sentences, whether lbd never needs more than the better peer)"""
    lines = ["| scenario | better peer | lbd ÷ it | target | | lbd ÷ relay |", "|" + "---|" * 6]
    kept = True
    for scenario in scenarios:
        cost = {n: m[scenario.figure] for (s, n), m in table.items() if s == scenario.name}
        peers = {n: cost[n] for n in cost if n.removesuffix(NEWER) in PEERS}
        if (scenario.against, "lbd") in table:
            peers = {scenario.against: table[scenario.against, "lbd"][scenario.figure]}
        if not peers or "lbd" not in cost:
            continue
        best = min(peers, key=peers.get)
        ratio = cost["lbd"] / peers[best]
        kept = kept and ratio <= max(1.0, scenario.target)
        floor = f"{cost['lbd'] / cost['relay']:.2f}" if "relay" in cost else ""
        lines.append(f"| {scenario.name}: {scenario.what} | {best}, {peers[best]:.2f} µs "
                     f"| **{ratio:.2f}** | {scenario.target:.2f} "
                     f"| {'met' if ratio <= scenario.target else 'missed'} | {floor} |")
    return lines, kept


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return (done.stdout + done.stderr).strip().splitlines()[:1]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux " \
           f"{platform.release()}"


def results_name():
    """Date and commit."""
    commit = (output_of("git", "rev-parse", "--short", "HEAD") or ["unknown"])[0]
    dirty = "-dirty" if output_of("git", "status", "--porcelain", "-uno") else ""
    return f"{datetime.date.today().isoformat()}-{commit}{dirty}"


def versions(newer=None):
    tools = [["nginx", "-v"], ["haproxy", "-v"]]
    if newer:
        tools += [[*of_root(newer, name), "-v"] for name in PEERS]
    tools += [["wrk", "-v"], ["h2load", "--version"], ["openssl", "version"]]
    return [line for tool in tools for line in output_of(*tool)]


def write_results(args, rows, figures, lines):
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results_name()}.md"
    raw = "\n".join(json.dumps(row) for row in rows)
    path.write_text(
        f"# CPU per request, {results_name()}\n\n"
        f"**Hypothesis.** {args.hypothesis}\n\n"
        f"**Machine** {machine()}\n\n"
        f"**Command** `bench/macro/bench.py {' '.join(sys.argv[1:])}`\n\n"
        f"**Versions** {'; '.join(versions(args.newer))}\n\n"
        "One core for the proxy (one worker or thread), another for the load (one thread) and\n"
        "the origin; keep-alive to the origin; no logs; nginx and HAProxy add the forwarding\n"
        "headers and the request id that lbd adds by default.\n"
        f"Medians of {args.rounds} rounds of {args.seconds} s, proxies in turn.\n\n"
        f"## Verdict\n\n" + "\n".join(lines) + f"\n\n## Figures\n\n{figures}"
        + f"\n\n## Raw numbers\n\n```\n{raw}\n```\n"
    )
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lbd", help="binary; without it only the others run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--scenarios", default="", help="some of them, by name; see --list")
    parser.add_argument("--only", default="", help="some of lbd,nginx,haproxy,relay")
    parser.add_argument("--newer", metavar="ROOT", help="a Debian with newer peers; see above")
    parser.add_argument("--hypothesis", default=HYPOTHESIS)
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    parser.add_argument("--check", action="store_true", help="exit 1 if lbd breaks its promise")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    args = parser.parse_args()
    if args.list:
        print(*(f"{s.name:10} {s.what}" for s in SCENARIOS), sep="\n")
        return 0
    wanted = args.scenarios.split(",") if args.scenarios else [s.name for s in SCENARIOS]
    if unknown := set(wanted) - {s.name for s in SCENARIOS}:
        sys.exit(f"bench: no scenario is called {', '.join(unknown)}; see --list")
    scenarios = [s for s in SCENARIOS if s.name in wanted and available(s)]
    names = (["lbd"] if args.lbd else []) + ["nginx", "haproxy", "relay"]
    names += [name + NEWER for name in PEERS if args.newer]
    if args.only:
        names = [name for name in names if name.removesuffix(NEWER) in args.only.split(",")]
    bench = Bench(args, scenarios)
    try:
        bench.compile()
        bench.start(names)
        rows = bench.run(scenarios, names)
    finally:
        bench.close()
    table = medians(rows)
    lines, kept = verdict(table, scenarios)
    figures = markdown(table, scenarios)
    print(figures, "", *lines, sep="\n")
    print(f"\nwritten: {write_results(args, rows, figures, lines)}")
    return 1 if args.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())

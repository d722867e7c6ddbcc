#!/usr/bin/env python3
"""CPU per request, throughput and latency of lbd, nginx, HAProxy and a bare epoll relay.

  bench.py [--lbd BINARY] [--rounds 5] [--seconds 4] [--connections 16,128] [--size 128|64k]

The proxy under test runs on one core, wrk and the origin on another. The CPU figure is utime+stime
of all the proxy's processes over one wrk run, divided by the requests wrk counted: on shared
machines it is steady to about ±10 % where throughput swings by 2×. Proxies take turns within each
round; the table has medians. Writes bench/results/<date>-<commit>.md. With --check the exit code
is 1 if lbd costs more CPU per request than the better of nginx and HAProxy.
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

TICK = os.sysconf("SC_CLK_TCK")
PEERS = ("nginx", "haproxy")
HYPOTHESIS = (
    "lbd needs no more CPU per request than the better of nginx and HAProxy at 16 and at 128 "
    "connections; the bare relay shows the floor that the kernel sets."
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
    def __init__(self, args):
        self.args = args
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lbd-bench-"))
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cores) < 2:
            sys.exit("bench: two cores are needed, one for the proxy and one for the rest")
        self.origin_port = free_port()
        self.processes, self.ports = {}, {}

    def compile(self):
        for name in ("relay", "origin"):
            source, binary = HERE / f"{name}.c", self.folder / name
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run(["cc", *flags, "-o", str(binary), str(source)], check=True)

    def template(self, name):
        values = {"PORT": self.ports[name.partition(".")[0]], "ORIGIN": self.origin_port,
                  "FOLDER": self.folder, "METRICS": free_port()}
        text = (HERE / name).read_text()
        text = re.sub(r"@([A-Z]+)@", lambda m: str(values.get(m[1], m[0])), text)
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def command(self, name):
        if name == "relay":
            return [str(self.folder / "relay"), str(self.ports[name]), str(self.origin_port)]
        if name == "nginx":
            return ["nginx", "-p", str(self.folder), "-c", self.template("nginx.conf")]
        if name == "haproxy":
            return ["haproxy", "-db", "-f", self.template("haproxy.cfg")]
        (self.folder / "state").mkdir(exist_ok=True)
        return [self.args.lbd, "run", "-c", self.template("lbd.yaml")]

    def start(self, names):
        origin = [str(self.folder / "origin"), str(self.origin_port)]
        self.processes["origin"] = pinned(origin, self.cores[1])
        for name in names:
            self.ports[name] = free_port()
            with open(self.folder / f"{name}.err", "wb") as errors:
                command = self.command(name)
                self.processes[name] = pinned(command, self.cores[0], stderr=errors)
            self.wait_ready(name)

    def wait_ready(self, name):
        """Until wrk gets a 200 through it."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            code = self.processes[name].poll()
            if code is not None:
                break
            probe = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", self.url(name)]
            if subprocess.run(probe, capture_output=True, text=True).stdout == "200":
                return
            time.sleep(0.1)
        sys.exit(f"bench: {name} does not serve:\n{(self.folder / f'{name}.err').read_text()}")

    def url(self, name):
        path = "/64k" if self.args.size == "64k" else "/"
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def wrk(self, name, connections, seconds):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout=10s"]
        command += ["-s", str(HERE / "report.lua"), self.url(name)]
        run = pinned(command, self.cores[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = run.communicate(timeout=seconds + 30)
        found = re.search(rb"JSON (\{.*\})", out)
        if not found:
            sys.exit(f"bench: wrk failed: {err.decode()}{out.decode()}")
        return json.loads(found[1])

    def measure(self, name, connections):
        pid = self.processes[name].pid
        before = cpu_seconds(pid)
        row = self.wrk(name, connections, self.args.seconds)
        used = cpu_seconds(pid) - before
        row |= {"proxy": name, "connections": connections, "rss_kib": resident_kib(pid)}
        row["rps"] = row["requests"] / (row["us"] / 1e6)
        row["cpu_us"] = used * 1e6 / max(row["requests"], 1)
        row["busy"] = used / (row["us"] / 1e6)
        return row

    def run(self, names):
        rows = []
        for name in names:
            self.wrk(name, max(self.args.connections), 1)  # warm up
        for number in range(self.args.rounds):
            for connections in self.args.connections:
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    row = self.measure(name, connections)
                    rows.append({"round": number + 1, **row})
                    text = f"round {number + 1}: {name:8} {connections:4} connections "
                    text += f"{row['cpu_us']:6.2f} µs CPU/request  {row['rps']:8.0f} rps"
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
    """{(connections, proxy): {figure: median}}"""
    table = {}
    for key in sorted({(r["connections"], r["proxy"]) for r in rows}):
        own = [r for r in rows if (r["connections"], r["proxy"]) == key]
        figures = ("rps", "p50", "p99", "p999", "cpu_us", "busy", "rss_kib")
        table[key] = {f: statistics.median(r[f] for r in own) for f in figures}
        spread = [r["cpu_us"] for r in own]
        table[key]["low"], table[key]["high"] = min(spread), max(spread)
        table[key]["errors"] = sum(r["errors"] for r in own)
    return table


def markdown(table):
    head = "| connections | proxy | CPU µs/request (min–max) | rps | p50 µs | p99 µs | p99.9 µs "
    lines = [head + "| core busy | RSS MiB | errors |", "|" + "---|" * 10]
    for (connections, name), m in sorted(table.items(), key=lambda i: (i[0][0], i[1]["cpu_us"])):
        lines.append(
            f"| {connections} | {name} | **{m['cpu_us']:.2f}** ({m['low']:.2f}–{m['high']:.2f}) "
            f"| {m['rps']:.0f} | {m['p50']:.0f} | {m['p99']:.0f} | {m['p999']:.0f} "
            f"| {m['busy']:.0%} | {m['rss_kib'] / 1024:.1f} | {m['errors']} |"
        )
    return "\n".join(lines)


def verdict(table, connections):
    """(sentences, whether lbd kept its promise)"""
    lines, kept = [], True
    for count in connections:
        peers = {n: table[count, n]["cpu_us"] for n in PEERS if (count, n) in table}
        if not peers:
            continue
        best = min(peers, key=peers.get)
        text = f"{count} connections: the better peer is {best} with {peers[best]:.2f} µs"
        if (count, "relay") in table:
            text += f", the relay's floor {table[count, 'relay']['cpu_us']:.2f} µs"
        if (count, "lbd") in table:
            ratio = table[count, "lbd"]["cpu_us"] / peers[best]
            kept = kept and ratio <= 1.0
            text += f"; lbd needs {ratio:.2f}× the better peer"
            text += ": kept." if ratio <= 1.0 else ": NOT kept."
        else:
            text += "; lbd was not measured."
        lines.append(text)
    return lines, kept


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return (done.stdout + done.stderr).strip().splitlines()[:1]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux " \
           f"{platform.release()}"


def write_results(args, rows, table, lines):
    commit = (output_of("git", "rev-parse", "--short", "HEAD") or ["unknown"])[0]
    dirty = "-dirty" if output_of("git", "status", "--porcelain", "-uno") else ""
    today = datetime.date.today().isoformat()
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{today}-{commit}{dirty}{'-64k' if args.size == '64k' else ''}.md"
    versions = [*output_of("nginx", "-v"), *output_of("haproxy", "-v"), *output_of("wrk", "-v")]
    raw = "\n".join(json.dumps(row) for row in rows)
    path.write_text(
        f"# CPU per request, {today}, {commit}{dirty}\n\n"
        f"**Hypothesis.** {args.hypothesis}\n\n"
        f"**Commit** {commit}{dirty} · **machine** {machine()} · **reply** {args.size} bytes\n\n"
        f"**Command** `bench/macro/bench.py {' '.join(sys.argv[1:])}`\n\n"
        f"**Versions** {'; '.join(versions)}\n\n"
        "One core for the proxy (one worker or thread), another for wrk (one thread) and the\n"
        "origin; keep-alive on both sides; no logs; nginx and HAProxy add the forwarding headers\n"
        f"and the request id that lbd adds by default. Medians of {args.rounds} rounds of {args.seconds} s, proxies in turn.\n\n"
        f"{markdown(table)}\n\n## Verdict\n\n" + "\n".join(f"- {line}" for line in lines)
        + f"\n\n## Raw numbers\n\n```\n{raw}\n```\n"
    )
    return path


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lbd", help="binary; without it only the others run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=numbers, default=[16, 128])
    parser.add_argument("--size", choices=("128", "64k"), default="128")
    parser.add_argument("--only", default="", help="some of lbd,nginx,haproxy,relay")
    parser.add_argument("--hypothesis", default=HYPOTHESIS)
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    parser.add_argument("--check", action="store_true", help="exit 1 if lbd breaks its promise")
    args = parser.parse_args()
    names = (["lbd"] if args.lbd else []) + ["nginx", "haproxy", "relay"]
    if args.only:
        names = [name for name in names if name in args.only.split(",")]
    bench = Bench(args)
    try:
        bench.compile()
        bench.start(names)
        rows = bench.run(names)
    finally:
        bench.close()
    table = medians(rows)
    lines, kept = verdict(table, args.connections)
    print(markdown(table), "", *lines, sep="\n")
    print(f"\nwritten: {write_results(args, rows, table, lines)}")
    return 1 if args.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())

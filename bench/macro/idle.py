#!/usr/bin/env python3
"""User-space memory of a connection that waits for its next request: lbd, nginx and HAProxy.

  idle.py [--lbd BINARY] [--plain 50000] [--tls 10000] [--only lbd,nginx]

Each connection makes one request and then waits. The figure is the growth of the proxy's private
anonymous memory (all its processes) divided by the connections; what the kernel keeps for a socket
is the same for all and is not in it. The first connections, which make room that is used again, are
not counted. Writes bench/results/<date>-<commit>-idle.md. Where the limit of open files is lower
and cannot be raised, there are as many connections as it allows.
"""
import argparse
import pathlib
import re
import resource
import subprocess
import sys
import time

from bench import ROOT, Bench, descendants, machine, output_of, results_name, versions

FIRST = 500  # warm up
SPARE = 300  # files of a proxy that are no client connections
TARGETS = {"plain": 2048, "tls": 12288}


def anonymous_bytes(pid):
    total = 0
    for process in descendants(pid):
        text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
        total += int(re.search(r"Anonymous:\s+(\d+)", text)[1]) * 1024
    return total


def files_limit(wanted):
    """Raises the limit of open files to `wanted`, as far as that is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Idle:
    """Connections of one client process."""

    def __init__(self, bench, port, count, kind):
        command = [str(bench.folder / "idle"), str(port), str(count)]
        command += ["tls"] if kind == "tls" else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        if self.process.stdout.readline() != "open\n":
            sys.exit(f"idle: cannot open {count} connections to port {port}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(bench, name, kind, count):
    port, pid = bench.ports[name][kind], bench.processes[name].pid
    first = Idle(bench, port, FIRST, kind)
    time.sleep(1)
    before = anonymous_bytes(pid)
    rest = Idle(bench, port, count, kind)
    time.sleep(1)
    each = (anonymous_bytes(pid) - before) / count
    first.close()
    rest.close()
    print(f"{kind:5} {name:8} {each:8.0f} bytes each of {count}", file=sys.stderr, flush=True)
    return {"proxy": name, "kind": kind, "connections": count, "bytes": round(each)}


def verdict(rows):
    lines = ["| connections | proxy | bytes each | target | |", "|" + "---|" * 5]
    for row in sorted(rows, key=lambda r: (r["kind"], r["bytes"])):
        target = TARGETS[row["kind"]] if row["proxy"] == "lbd" else ""
        met = ("met" if row["bytes"] <= target else "missed") if target else ""
        lines.append(f"| {row['connections']} {row['kind']} | {row['proxy']} "
                     f"| **{row['bytes']}** | {target} | {met} |")
    return "\n".join(lines)


def write_results(args, rows, table):
    path = pathlib.Path(args.results) / f"{results_name()}-idle.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"# Memory of idle connections, {results_name()}\n\n"
        "**Hypothesis.** A connection that waits for its next request holds no buffer, and with\n"
        "TLS little beside what OpenSSL holds for it.\n\n"
        f"**Machine** {machine()}\n\n**Command** `bench/macro/idle.py {' '.join(sys.argv[1:])}`\n\n"
        f"**Versions** {'; '.join(versions())}\n\n"
        "Private anonymous memory of all the proxy's processes, before and after the connections\n"
        f"were opened and had made a request each; {FIRST} had been before.\n\n"
        f"## Verdict\n\n{table}\n")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lbd", help="binary; without it only the others run")
    parser.add_argument("--plain", type=int, default=50_000)
    parser.add_argument("--tls", type=int, default=10_000)
    parser.add_argument("--only", default="lbd,nginx,haproxy")
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    args = parser.parse_args()
    # HAProxy wants two files for each connection that it may have.
    most = files_limit(2 * (max(args.plain, args.tls) + FIRST) + SPARE) // 2 - FIRST - SPARE
    args.plain, args.tls = min(args.plain, most), min(args.tls, most)
    names = [name for name in args.only.split(",") if name != "lbd" or args.lbd]
    args.newer = None
    bench = Bench(args, [])
    bench.connections_max = max(args.plain, args.tls) + FIRST + SPARE // 3
    rows = []
    try:
        bench.compile()
        bench.start(names)
        for kind in ("plain", "tls"):
            rows += [measure(bench, name, kind, getattr(args, kind)) for name in names]
    finally:
        bench.close()
    table = verdict(rows)
    print(table)
    print(f"\nwritten: {write_results(args, rows, table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

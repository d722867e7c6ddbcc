#!/usr/bin/env python3
"""The whole job in two minutes: demo.py LBD [--svg FILE] [--plain]

lbd scales a small real app over three zones: load rises, CPU passes 90 %, 3 becomes 4, then 5; one
zone is killed; load falls, lbd drains back to 3. Ends with a table and, if asked, a picture. The
exit code is 0 only if no request failed, 3, 4, 5 and 3 instances were seen in that order, and five
again after the zone was killed.
"""
import argparse
import collections
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/support"), str(ROOT / "demo")]

from expect import Failed  # noqa: E402
from loadgen import Call, Load  # noqa: E402
from picture import timeline_svg  # noqa: E402
from reaper import adopt_orphans, kill_children  # noqa: E402
from rig import BURN_APP, PYTHON, Rig, free_port  # noqa: E402
from screen import Screen  # noqa: E402
from views import event_of  # noqa: E402

SHARE, WORK_MS = 0.15, 5.0
CAPACITY_RPS = SHARE / (WORK_MS / 1000 + 0.0006)  # one instance at 100 % of its share
ZONES = {"a": "127.20.1.1", "b": "127.20.2.1", "c": "127.20.3.1"}
LIMIT_SECONDS = 200.0  # whatever happens, the demo ends


def configuration(port):
    command = [PYTHON, BURN_APP, "--address", "{address}", "--port", "{port}", "--id", "{id}"]
    command += ["--zone", "{zone}", "--share", str(SHARE), "--work-ms", str(WORK_MS)]
    process = {
        "command": command,
        "zones": list(ZONES),
        "zone_addresses": ZONES,
        "cpu_share": SHARE,
        "stop_timeout": "5s",
    }
    return {
        "node": {"zone": "a", "workers": 1},
        "listeners": {
            "public": {
                "listen": [f"127.0.0.1:{port}"],
                "protocol": "http",
                "reason_header": True,
                "default": {"forward": "web"},
            }
        },
        "target_groups": {
            "web": {
                "protocol": "http",
                "port": 80,
                "balance": "least_requests",
                "health_check": {"path": "/healthz", "interval": "500ms", "timeout": "400ms"},
                "retries": {"attempts": 4},
                "scaling_group": "web",
            }
        },
        "scaling_groups": {
            "web": {
                "provider": "process",
                "process": process,
                "min": 3,
                "max": 5,
                "warm_up": "3s",
                "drain_deadline": "10s",
                "policies": [
                    {"signal": "cpu", "above": "90%", "for": "5s", "add": 1},
                    {"signal": "cpu", "below": "50%", "for": "15s", "remove": 1},
                ],
            }
        },
    }


def burn_processes():
    """{--id: pid} of every burn_app on this machine, those of others included."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if BURN_APP in words and "--id" in words:
            found[words[words.index("--id") + 1]] = int(entry)
    return found


def cpu_seconds(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Observer:
    """Samples the fleet twice a second; everything the screen, the picture and the verdict use."""

    def __init__(self, lbd, load):
        self.lbd, self.load = lbd, load
        self.samples = []  # {t, rps, cpu, zones, count}
        self.instances, self.events = [], []
        self.killed = None  # (t, zone)
        self._cpu = {}
        self._cpu_at = 0.0
        self._seen = 0  # outcomes counted so far
        self._counts = collections.deque(maxlen=4)  # requests ended, per half second
        self.failures = 0

    def sample(self):
        """Reads lbd; a reading that fails (it is busy) leaves the last one standing."""
        t = self.load.now()
        try:
            self.instances = self.lbd.instances()
            self.events = [row for row in self.lbd.history() if event_of(row)]
        except (Failed, OSError, ValueError) as problem:
            print(f"cannot read lbd: {problem}", file=sys.stderr)
        serving = [i for i in self.instances if i["state"] in ("in_service", "warming")]
        zones = collections.Counter(i["zone"] for i in serving)
        ended = self.load.outcomes[self._seen :]
        self._seen += len(ended)
        self.failures += sum(1 for o in ended if o.error)
        self._counts.append((t, len(ended)))
        span = t - self._counts[0][0]
        rps = sum(n for _, n in list(self._counts)[1:]) / span if span > 0 else 0.0
        self.samples.append(
            {"t": t, "rps": rps, "cpu": self._usage(), "zones": dict(zones), "count": len(serving)}
        )

    def _usage(self):
        """CPU of the app's processes ÷ their shares, over a second or so, from the kernel."""
        now = time.monotonic()
        if now - self._cpu_at < 0.9:
            return self.samples[-1]["cpu"] if self.samples else 0.0
        own = {row["id"] for row in self.instances}
        pids = {i: pid for i, pid in burn_processes().items() if i in own}
        usage = {i: c for i, pid in pids.items() if (c := cpu_seconds(pid)) is not None}
        both = [usage[i] - self._cpu[i] for i in usage if i in self._cpu]
        elapsed, self._cpu, self._cpu_at = now - self._cpu_at, usage, now
        return sum(both) / (len(both) * SHARE * elapsed) if both else 0.0

    @property
    def count(self):
        return self.samples[-1]["count"] if self.samples else 0

    def reached(self):
        """The longest prefix of 3, 4, 5, 3 that the in-service counts went through."""
        wanted = [3, 4, 5, 3]
        for sample in self.samples:
            if wanted and sample["count"] == wanted[0]:
                wanted.pop(0)
        return [3, 4, 5, 3][: 4 - len(wanted)]


    def refilled(self):
        """True when the killed zone was missed, and five were in service again afterwards."""
        counts = [s["count"] for s in self.samples if self.killed and s["t"] > self.killed[0]]
        low = next((i for i, count in enumerate(counts) if count < 5), len(counts))
        return 5 in counts[low:]


def script(observer, load):
    """The plot: yields the name of each act; goes on when what it waits for has happened."""

    def rate(instances, share, seconds=6.0):
        """Goes over `seconds` to what would keep so many instances at this share of their CPU."""
        now = load.now()
        target = instances * share * CAPACITY_RPS
        load.profile = [(now, load.rate(now)), (now + seconds, target)]

    def until(condition, seconds, name):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            yield name

    def hold(seconds, name):
        return until(lambda: False, seconds, name)

    rate(3, 0.6, 2)
    yield from hold(9, "a quiet day")
    rate(3, 1.0, 8)
    yield from until(lambda: observer.count >= 4, 40, "load rises")
    yield from hold(3, "four instances carry it")
    rate(4, 1.0)
    yield from until(lambda: observer.count >= 5, 40, "load rises further")
    rate(5, 0.62)
    yield from hold(10, "five instances carry it")
    zone = "b"
    kill_zone(observer, zone)
    yield from hold(14, f"zone {zone} was killed (SIGKILL to all its processes)")
    yield from until(lambda: observer.count >= 5, 20, "its instances are replaced")
    rate(3, 0.3, 8)
    yield from until(lambda: observer.count == 3, 75, "load falls")
    yield from hold(3, "back to three")


def kill_zone(observer, zone):
    pids = burn_processes()
    for instance in [i for i in observer.instances if i["zone"] == zone]:
        if instance["id"] in pids:
            os.kill(pids[instance["id"]], signal.SIGKILL)
    observer.killed = (observer.load.now(), zone)


def play(lbd, port, plain):
    """Runs the load and the plot; returns the observer with all that was seen."""
    began = time.monotonic()
    load = Load(f"http://127.0.0.1:{port}/", [Call("/")], profile=[(0, 5)], seconds=LIMIT_SECONDS)
    observer = Observer(lbd, load)
    screen = Screen(plain)
    while observer.count < 3:
        if time.monotonic() - began > 30:
            raise Failed(f"no three instances within 30 s\n{lbd.process.tail()}")
        observer.sample()
        observer.samples = observer.samples[-1:]
        time.sleep(0.2)
    observer.samples.clear()
    load.start()
    observer.wall_start = time.time()
    for act in script(observer, load):
        observer.sample()
        screen.show(act, observer)
        if load.now() > LIMIT_SECONDS - 5:
            break
        time.sleep(0.5)
    load.stop()
    observer.sample()
    screen.end()
    return observer


def report(observer):
    """Prints the table; returns sentences about what went wrong, none if all is well."""
    summary = observer.load.summary()
    print(f"\n{'requests':<12}{summary['requests']}")
    print(f"{'failures':<12}{summary['failures']}  {summary['errors'] or ''}")
    print(f"{'latency':<12}p50 {summary['p50'] * 1000:.0f} ms, p99 {summary['p99'] * 1000:.0f} ms")
    print(f"{'instances':<12}{' → '.join(str(n) for n in observer.reached())}")
    print("\n  time   scaling event")
    rows = [(event_of(row)["time"] - observer.wall_start, row["sentence"])
            for row in observer.events]
    if observer.killed:
        rows.append((observer.killed[0], f"(the demo kills zone {observer.killed[1]})"))
    for at, sentence in sorted(rows):
        print(f"{at:6.1f} s  {sentence}")
    problems = []
    if summary["failures"]:
        problems.append(f"{summary['failures']} requests failed: {summary['errors']}")
    if observer.reached() != [3, 4, 5, 3]:
        problems.append(f"only {observer.reached()} of 3, 4, 5, 3 instances were reached")
    if not observer.refilled():
        problems.append("the instances of the killed zone were not replaced")
    if max(s["count"] for s in observer.samples) > 5:
        problems.append("more than 5 instances were in service")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lbd", help="the lbd binary")
    parser.add_argument("--svg", help="write the timeline here, e.g. docs/demo.svg")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live view")
    args = parser.parse_args()
    os.environ["LBD_BIN"] = str(pathlib.Path(args.lbd).resolve())
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="lbd-demo-")
    rig, port = Rig(folder), free_port()
    try:
        lbd = rig.lbd(configuration(port), start=False)
        lbd.start(ready=False)
        observer = play(lbd, port, args.plain)
        problems = report(observer)
        if args.svg:
            pathlib.Path(args.svg).write_text(timeline_svg(observer))
            print(f"\npicture: {args.svg}")
        rig.close()
    except Failed as failure:
        problems = [str(failure)]
    except KeyboardInterrupt:
        problems = ["interrupted"]
    finally:
        rig.abandon()
        kill_children()
    for problem in problems:
        print(f"demo failed: {problem}\nlogs: {folder}", file=sys.stderr)
    if not problems:
        shutil.rmtree(folder, ignore_errors=True)
        print("demo passed: no request failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs the end-to-end tests: python3 tests/e2e/run.py [-k text] [--profile smoke|default|long]

Every function test_* of tests/e2e/test_*.py runs in a process, session and folder of its own.
Whatever it leaves running is killed (this process adopts its orphans). A failing test's folder is
kept and named. The last line is `N passed, N failed`; exit code 0 only without failures.
"""
import argparse
import ctypes
import importlib
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROFILES = ("smoke", "default", "long")
CLONE_NEWNET = 0x40000000
TESTS_MAX = 32_768  # whose numbers fit a pipe at once
sys.path[:0] = [str(HERE), str(ROOT / "tests/support")]

from reaper import adopt_orphans, kill_children  # noqa: E402


def use_the_venv():
    """moto and boto3 live in the virtual environment that ./dev makes: continue there, if any."""
    python = pathlib.Path(os.environ.get("LBD_VENV", ROOT / ".venv")) / "bin/python3"
    if python.exists() and not os.environ.get("LBD_IN_VENV"):
        os.environ["LBD_IN_VENV"] = "1"
        os.execv(python, [str(python), *sys.argv])


def discover(wanted, profile):
    """(title, function) in file and source order."""
    allowed = PROFILES[: PROFILES.index(profile) + 1]
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        found = [f for name, f in vars(module).items() if name.startswith("test_")]
        for function in found:
            words = function.__name__.removeprefix("test_").replace("_", " ")
            title = f"{path.stem.removeprefix('test_')}: {words}"
            chosen = not wanted or wanted in title or wanted in function.__name__
            if chosen and getattr(function, "profile", "smoke") in allowed:
                yield title, function


def run_in_child(function, folder):
    """The child's whole life. Exit code 0: passed."""
    import rig as rigs

    os.setsid()
    own = rigs.Rig(folder)
    code = 1
    try:
        function(own)
        own.close()
        code = 0
    except rigs.Failed as failure:
        own.abandon()
        where = traceback.extract_tb(failure.__traceback__)
        line = next((f for f in reversed(where) if f.filename.endswith(".py") and
                     pathlib.Path(f.filename).name.startswith("test_")), where[-1])
        print(f"  {pathlib.Path(line.filename).name}:{line.lineno}: {failure}", flush=True)
    except BaseException:  # noqa: BLE001 whatever it is, it is this test's failure
        own.abandon()
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_one(function, folder):
    """True when it passed; ends it at its time limit."""
    limit = getattr(function, "timeout", 60) * float(os.environ.get("LBD_SLOW", "1"))
    pid = os.fork()
    if pid == 0:
        run_in_child(function, folder)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            kill_children()
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    print(f"  did not end within {limit:g} s", flush=True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kill_children()
    return False


def run_titled(title, function):
    """Runs one test and says how it went; true when it passed."""
    folder = tempfile.mkdtemp(prefix="lbd-e2e-")
    begin = time.monotonic()
    passed = run_one(function, folder)
    print(f"{'ok' if passed else 'FAIL'} {title} {time.monotonic() - begin:.1f}", flush=True)
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  kept: {folder}", flush=True)
    return passed


def own_network():
    """A network of this process alone: its ports and 127.x addresses are nobody else's."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    return subprocess.run(["ip", "link", "set", "lo", "up"], check=False).returncode == 0


def can_share_out():
    """Whether tests may run beside each other: only in networks of their own, which needs root."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if own_network() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def share_out(tests, jobs):
    """Runs the tests in that many processes, the longest first; how many passed."""
    order = sorted(range(len(tests)), key=lambda i: -getattr(tests[i][1], "timeout", 60))
    take, give = os.pipe()
    os.write(give, struct.pack(f"{len(order)}H", *order))  # read one by one
    os.close(give)
    hear, say = os.pipe()
    for _ in range(jobs):
        if os.fork() == 0:
            own_network()
            adopt_orphans()
            while index := os.read(take, 2):
                chosen = tests[struct.unpack("H", index)[0]]
                os.write(say, b"1" if run_titled(*chosen) else b"0")
            os._exit(0)
    os.close(say)
    with open(hear, "rb") as results:
        passed = results.read().count(b"1")
    for _ in range(jobs):
        os.wait()
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", default="", metavar="TEXT", help="only titles that contain it")
    parser.add_argument("--profile", choices=PROFILES, default="default")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--jobs", type=int, default=1, help="tests beside each other; needs root")
    args = parser.parse_args()
    use_the_venv()
    os.environ["LBD_TEST_PROFILE"] = args.profile
    tests = list(discover(args.k, args.profile))
    if args.list:
        print("\n".join(title for title, _ in tests))
        return 0
    if args.jobs > 1 and 1 < len(tests) < TESTS_MAX and can_share_out():
        passed = share_out(tests, args.jobs)
    else:
        adopt_orphans()
        passed = sum(run_titled(*each) for each in tests)
    print(f"{passed} passed, {len(tests) - passed} failed")
    return 0 if tests and passed == len(tests) else 1


if __name__ == "__main__":
    sys.exit(main())

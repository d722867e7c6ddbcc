#!/usr/bin/env python3
"""lbd under a real systemd: boot.py LBD

A small Debian root (debootstrap, kept in build/boot-root) boots systemd as PID 1 in namespaces of
its own: no virtual machine, no container engine, nothing outside is touched. In it the unit of
systemd/ is started, reloaded well and badly, killed, and stopped. Needs root, debootstrap and a
cgroup v2 mount; without them it says so and fails. Ends with `N passed, N failed`.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "build/boot-root"
GOOD = """version: 1
node: { drain_deadline: 5s }
listeners:
  public: { listen: "127.0.0.1:80", default: { respond: { status: 200, body: "%s\\n" } } }
"""
INSIDE = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mkdir -p sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
for each in run tmp dev; do mount -t tmpfs tmpfs "$each"; done
for each in null zero full random urandom tty; do
  touch "dev/$each"
  mount --bind "/dev/$each" "dev/$each"
done
mkdir dev/pts && mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx # PrivateDevices= copies it
ip link set lo up
mkdir -p .old
pivot_root . .old # and not chroot: services with mount namespaces need a root of their own
cd /
umount -l .old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal
"""


def make_root(binary):
    """The distribution of this host, with what lbd is linked to."""
    if not (BASE / "lib/systemd/systemd").exists():
        if not shutil.which("debootstrap"):
            sys.exit("boot: debootstrap is missing (apt install debootstrap)")
        release = pathlib.Path("/etc/os-release").read_text()
        codename = re.search(r"VERSION_CODENAME=(\w+)", release)[1]
        linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        files = [os.path.realpath(path) for path in re.findall(r"=> (/\S+)", linked)]
        owners = subprocess.run(["dpkg-query", "-S", *files], capture_output=True, text=True).stdout
        packages = sorted({line.split(":")[0] for line in owners.splitlines()})
        include = ",".join(["systemd", "dbus", *packages])
        command = ["debootstrap", "--variant=minbase", f"--include={include}", codename, str(BASE)]
        print("boot: making a Debian root, once", flush=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.copy(binary, BASE / "usr/sbin/lbd")
    shutil.copy(ROOT / "systemd/lbd.service", BASE / "usr/lib/systemd/system/lbd.service")
    shutil.copy(ROOT / "systemd/lbd.sysusers", BASE / "usr/lib/sysusers.d/lbd.conf")
    (BASE / "etc/lbd").mkdir(exist_ok=True)
    (BASE / "etc/lbd").chmod(0o755)
    configure(GOOD % "one")
    with open(BASE / "etc/machine-id", "w", encoding="ascii") as file:
        file.write("0123456789abcdef0123456789abcdef\n")
    subprocess.run(["chroot", str(BASE), "systemd-sysusers", "lbd.conf"], check=True)


def configure(text):
    (BASE / "etc/lbd/lbd.yaml").write_text(text)


class Machine:
    """systemd as PID 1 of new namespaces, in a cgroup v2 group of its own."""

    def __init__(self):
        mounts = pathlib.Path("/proc/mounts").read_text()
        found = re.search(r"^\S+ (\S+) cgroup2 ", mounts, re.M)
        if not found:
            sys.exit("boot: there is no cgroup v2 mount")
        self.group = pathlib.Path(found[1]) / f"lbd-boot-{os.getpid()}"
        self.group.mkdir()
        spaces = ["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--net", "--fork"]
        command = ["unshare", *spaces, "sh", "-c", INSIDE, "sh", str(BASE)]
        self.log = open(ROOT / "build/log/boot-console.txt", "wb")
        self.shell = subprocess.Popen(
            command, preexec_fn=lambda: (self.group / "cgroup.procs").write_text(str(os.getpid())),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.pid = self._first_process()

    def _first_process(self):
        end = time.monotonic() + 10
        children = pathlib.Path(f"/proc/{self.shell.pid}/task/{self.shell.pid}/children")
        while time.monotonic() < end:
            if words := children.read_text().split():
                return int(words[0])
            time.sleep(0.05)
        raise RuntimeError("nothing started")

    def run(self, *command):
        """(exit code, output) of a command inside."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-n", "-C"]
        done = subprocess.run([*enter, "--", *command], capture_output=True,
                              text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def show(self, name):
        return self.run("systemctl", "show", "-P", name, "lbd.service")[1].strip()

    def wait(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.2)
        return False

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        self.shell.wait()
        self.log.close()
        for path in sorted(self.group.glob("**/"), key=lambda p: -len(str(p))):
            for _ in range(50):
                try:
                    path.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, title, good, detail=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok' if good else 'FAIL'} systemd: {title}" + ("" if good else f"\n{detail}"),
              flush=True)


def exercise(machine, check):
    booted = machine.wait(lambda: machine.run("systemctl", "is-system-running")[1].strip()
                          in ("running", "degraded"), 60)
    check("a machine boots", booted, machine.run("systemctl", "is-system-running")[1])
    code, said = machine.run("systemctl", "start", "lbd.service")
    check("start returns once lbd is ready", code == 0, said + journal(machine))
    check("it runs as its own user", ids_of(machine) not in ("", "0"), ids_of(machine))
    status = machine.show("StatusText")
    check("its status is a sentence", "listener" in status, status)
    check("it serves on port 80", fetch(machine) == "one", fetch(machine))
    pid = machine.show("MainPID")

    configure(GOOD % "two")
    code, said = machine.run("systemctl", "reload", "lbd.service")
    check("a good reload succeeds", code == 0, said + journal(machine))
    check("and is in force at once", fetch(machine) == "two", fetch(machine))
    configure("version: 1\nlistners: {}\n")
    code, said = machine.run("systemctl", "reload", "lbd.service")
    check("a bad reload fails", code != 0, said)
    check("its reason is in the journal", "listners" in journal(machine), journal(machine))
    check("and nothing changed", (fetch(machine), machine.show("MainPID")) == ("two", pid))

    machine.run("systemctl", "stop", "lbd.service")
    result = (machine.show("ActiveState"), machine.show("ExecMainStatus"))
    check("stop ends it with 0", result == ("inactive", "0"), f"{result}\n{journal(machine)}")
    code, _ = machine.run("systemctl", "start", "lbd.service")
    restarts = machine.show("NRestarts")
    check("a wrong configuration does not start, and is not tried again and again",
          code != 0 and machine.show("ActiveState") == "failed" and restarts == "0",
          f"{code} {restarts} {machine.show('ActiveState')}")

    configure(GOOD % "three")
    machine.run("systemctl", "reset-failed", "lbd.service")
    machine.run("systemctl", "start", "lbd.service")
    pid = machine.show("MainPID")
    machine.run("systemctl", "kill", "-s", "KILL", "lbd.service")
    back = machine.wait(lambda: machine.show("MainPID") not in ("0", pid)
                        and machine.show("ActiveState") == "active")
    check("a crash is followed by a restart", back, journal(machine))
    # A stopped process feeds no watchdog.
    pid = machine.show("MainPID")
    machine.run("systemctl", "kill", "-s", "STOP", "lbd.service")
    back = machine.wait(lambda: machine.show("MainPID") not in ("0", pid)
                        and machine.show("ActiveState") == "active", 40)
    check("the watchdog ends what hangs", back, journal(machine))
    check("and it serves again", machine.wait(lambda: fetch(machine) == "three", 5))


def journal(machine):
    return machine.run("journalctl", "-b", "-u", "lbd.service", "-n", "30", "--no-pager")[1]


def ids_of(machine):
    pid = machine.show("MainPID")
    text = machine.run("cat", f"/proc/{pid}/status")[1]
    found = re.search(r"Uid:\s+(\d+)", text)
    return found[1] if found else ""


def fetch(machine):
    """The body of http://127.0.0.1/ inside, without any tool that a minimal root lacks."""
    request = "GET / HTTP/1.0\\r\\nhost: x\\r\\n\\r\\n"
    talk = f"exec 3<>/dev/tcp/127.0.0.1/80; printf '{request}' >&3; timeout 5 cat <&3"
    return machine.run("bash", "-c", talk)[1].strip().rpartition("\n")[2].strip()


def main():
    if len(sys.argv) != 2 or os.geteuid() != 0:
        sys.exit("usage, as root: boot.py LBD")
    (ROOT / "build/log").mkdir(parents=True, exist_ok=True)
    make_root(sys.argv[1])
    check = Checks()
    machine = Machine()
    try:
        exercise(machine, check)
    finally:
        machine.end()
    print(f"{check.passed} passed, {check.failed} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())

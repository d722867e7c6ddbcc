"""What every end-to-end test stands on: lbd as a process, origins, waiting, and cleaning up.

The test gets a `Rig`. Everything it starts ends with it; `run.py` also kills what a test leaves.
LBD_BIN names the binary (default: build/dev/lbd/lbd).
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/support")]

# Tests take these from here: one import for all they need.
from expect import Failed, check, check_equal, slowness, wait_until  # noqa: E402,F401
from views import decisions_of, instances_of, targets_of  # noqa: E402
from wire import Reply, Wire, request  # noqa: E402,F401

BURN_APP = str(ROOT / "tests/apps/burn_app.py")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
SANITIZER = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: |SUMMARY: \w+Sanitizer"
)


def test(profile="smoke", timeout=60):
    """Marks a test function: the smallest profile it runs in, and its limit in seconds."""

    def mark(function):
        function.profile, function.timeout = profile, timeout
        return function

    return mark


_ports = iter(())


def free_port(address="127.0.0.1"):
    """A port nobody listens on, below the ephemeral range so that no connection takes it."""
    global _ports
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        port = next(_ports, None)
        if port is None:
            start = 18000 + os.getpid() * 37 % 12000
            _ports = iter(range(start, start + 2000))
            continue
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                return port
            except OSError:
                continue


def to_yaml(value, indent=0):
    """Block YAML of dicts, lists and scalars; strings are JSON strings, which YAML reads alike."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            nested = isinstance(item, (dict, list)) and item
            text = "\n" + to_yaml(item, indent + 1) if nested else " " + to_yaml(item)
            lines.append(f"{pad}{key}:{text}")
        return "\n".join(lines)
    if isinstance(value, list) and value:
        return "\n".join(f"{pad}- {json.dumps(item, ensure_ascii=False)}" for item in value)
    return "off" if value == "off" else json.dumps(value, ensure_ascii=False)


class Process:
    """A child in a process group of its own, its stderr (and stdout) collected in files."""

    def __init__(self, command, folder, name, env=None):
        self.name, self.command = name, command
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def wait(self, deadline, why="it does not end"):
        try:
            return self.popen.wait(deadline * slowness())
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} after {deadline} s: {why}\n{self.tail()}") from None

    def kill(self):
        """SIGKILL to the whole group; no complaint when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()

    def stderr(self):
        return self.err_path.read_text(errors="replace")

    def stdout(self):
        return self.out_path.read_text(errors="replace")

    def tail(self, lines=25):
        return "\n".join(self.stderr().splitlines()[-lines:])

    def rss_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024


class Lbd:
    """The daemon under test. `config` is the YAML as a dict; missing node.* is filled in."""

    def __init__(self, rig, config, env=None, name="lbd"):
        self.rig, self.env, self.name = rig, env or {}, name
        self.folder = rig.folder / name
        self.folder.mkdir(exist_ok=True)
        self.binary = os.environ.get("LBD_BIN", str(ROOT / "build/dev/lbd/lbd"))
        self.file = self.folder / "lbd.yaml"
        self.socket = str(self.folder / "admin.sock")
        self.metrics_port = free_port()
        self.process = None
        self.config = config
        self.write(config)

    def write(self, config):
        """Writes the YAML (a dict, or text for a deliberately bad one) without reloading."""
        if isinstance(config, str):
            self.file.write_text(config)
            return
        node = {
            "zone": "a",
            "workers": 2,
            "state_dir": str(self.folder / "state"),
            "admin": {"socket": self.socket, "metrics": f"127.0.0.1:{self.metrics_port}"},
            "access_log": {"path": str(self.folder / "access.log")},
            "drain_deadline": "10s",
            **config.get("node", {}),
        }
        self.config = config
        self.file.write_text(to_yaml({"version": 1, **config, "node": node}) + "\n")

    def start(self, ready=True):
        (self.folder / "state").mkdir(exist_ok=True)
        command = [self.binary, "run", "-c", str(self.file)]
        self.process = Process(command, self.folder, self.name, self.env)
        if ready:
            wait_until(self.ready, 15, lambda: f"lbd is not ready\n{self.process.tail()}")
        return self

    def ready(self):
        if not self.process.running():
            raise Failed(f"lbd exited {self.process.popen.returncode}\n{self.process.tail()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return request(self.metrics_port, "/readyz", timeout=2).status == 200
        return False

    def cli(self, *arguments, deadline=30):
        """Runs a subcommand against this daemon: (exit code, stdout, stderr)."""
        command = [self.binary, *arguments, "--socket", self.socket]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=deadline * slowness(),
            env={**os.environ, **self.env},
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments):
        code, out, err = self.cli(*arguments, "--output", "json")
        check(code == 0, f"lbd {' '.join(arguments)} exits {code}: {err or out}")
        return json.loads(out)

    def targets(self, group=""):
        """[{address, zone, state, in_flight, reason}] as the CLI says, see views.py."""
        return targets_of(self.json("targets"), group)

    def states(self):
        """{address: state}"""
        return {target["address"]: target["state"] for target in self.targets()}

    def wait_states(self, expected, deadline=15):
        """Until every address of `expected` ({address: state}) is in that state."""

        def reached():
            states = self.states()
            return all(states.get(address) == state for address, state in expected.items())

        wait_until(reached, deadline, lambda: f"targets are {self.states()}, expected {expected}")

    def instances(self, *states):
        """The fleet as `lbd scale status` says; only those in `states`, when given."""
        found = instances_of(self.json("scale", "status"))
        return [i for i in found if not states or i["state"] in states]

    def in_service(self):
        return self.instances("in_service", "warming")

    def history(self):
        """Scaling decisions, oldest first: [{at, sentence, outcome, …}]."""
        return decisions_of(self.json("scale", "history"))

    def sentences(self):
        return [decision["sentence"] for decision in self.history()]

    def metrics(self):
        """{'name{a="b"}': value} of /metrics."""
        text = request(self.metrics_port, "/metrics").body.decode()
        series = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    def metric(self, family, **labels):
        """Sum over the series of a family that carry these labels."""
        total = 0.0
        for name, value in self.metrics().items():
            wanted = all(f'{label}="{text}"' in name for label, text in labels.items())
            if name.partition("{")[0] == family and wanted:
                total += value
        return total

    def access_log(self):
        path = self.folder / "access.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def reload(self, config=None):
        """Writes `config` and runs `lbd reload --wait`: (exit code, stdout, stderr)."""
        if config is not None:
            self.write(config)
        return self.cli("reload", "--wait")

    def stop(self, deadline=15):
        """SIGTERM; checks that it exits 0 in time and that no sanitizer complained."""
        if not self.process:
            return
        self.process.signal(signal.SIGTERM)
        code = self.process.wait(deadline, "SIGTERM does not end it")
        self.check_sanitizers()
        check(code == 0, f"lbd exits {code} on SIGTERM\n{self.process.tail()}")
        self.process = None

    def check_sanitizers(self):
        text = self.process.stderr()
        found = SANITIZER.search(text)
        if found:
            raise Failed(f"a sanitizer complains\n{text[found.start():][:4000]}")

    def kill(self):
        """kill -9, as a power cut: nothing is said to anyone."""
        self.process.popen.kill()
        self.process.popen.wait()
        self.check_sanitizers()


class Origin:
    """burn_app as a static target."""

    def __init__(self, rig, name, *, address="127.0.0.1", zone="a", port=0, options=()):
        self.address, self.zone, self.name = address, zone, name
        self.rig, self.options = rig, options
        self.port = port or free_port(address)
        self.process = None
        self.start()

    @property
    def text(self):
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    def target(self, **more):
        return {"address": self.text, "zone": self.zone, **more}

    def start(self):
        place = ["--address", self.address, "--port", str(self.port)]
        command = [PYTHON, BURN_APP, *place, "--id", self.name, "--zone", self.zone, *self.options]
        self.process = Process(command, self.rig.folder, self.name)
        self.rig.processes.append(self.process)
        wait_until(self.answers, 10, f"{self.name} does not start")

    def answers(self):
        with contextlib.suppress(OSError):
            return socket.create_connection((self.address, self.port), 1).close() is None
        return False

    def served(self):
        return request(self.port, "/id", address=self.address).json()["served"]

    def set_health(self, code, wait_ms=0):
        path = f"/admin/health?code={code}&wait_ms={wait_ms}"
        request(self.port, path, "POST", address=self.address)

    def fail_next(self, code, count):
        path = f"/admin/fail?code={code}&count={count}"
        request(self.port, path, "POST", address=self.address)

    def kill(self):
        self.process.kill()


class RawOrigin:
    """A target that does exactly what `script(connection, number)` does, a thread per connection.

    `connection` is a socket with a timeout; `number` counts connections from 0. Health checks are
    connections too: switch them off in the group when counting.
    """

    def __init__(self, rig, script, address="127.0.0.1", port=0):
        self.script, self.zone = script, "a"
        self.listener = socket.create_server((address, port), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.text = f"{address}:{self.port}"
        self.connections = 0
        self.seen = []  # every byte string the script noted through note()
        rig.closers.append(self.listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def target(self, **more):
        return {"address": self.text, "zone": self.zone, **more}

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        connection.settimeout(20 * slowness())
        with connection, contextlib.suppress(OSError):
            self.script(connection, number)

    def head(self, connection):
        """Reads to the end of a request head and notes it; empty at the connection's end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        self.seen.append(data)
        return data


class Rig:
    """One per test: a temporary folder and everything started in it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.processes, self.daemons, self.closers = [], [], []

    def lbd(self, config, env=None, *, name="lbd", start=True):
        daemon = Lbd(self, config, env, name)
        self.daemons.append(daemon)
        return daemon.start() if start else daemon

    def origin(self, name="app", **more):
        return Origin(self, name, **more)

    def origins(self, zones, options=()):
        """One origin per letter: origins("aab") are a-0, a-1, b-2."""
        return [Origin(self, f"{z}-{i}", zone=z, options=options) for i, z in enumerate(zones)]

    def proxy(self, targets, group=None, listener=None, **node):
        """lbd with one listener on `rig.port` that forwards all to one group `app`."""
        self.port = free_port()
        return self.lbd(simple_config(self.port, targets, group, listener, node))

    def process(self, command, name, env=None):
        process = Process(command, self.folder, name, env)
        self.processes.append(process)
        return process

    def close(self):
        """Stops daemons politely (their exit is part of every test), kills the rest."""
        failure = None
        for daemon in self.daemons:
            try:
                if daemon.process and daemon.process.running():
                    daemon.stop(deadline=25)
                elif daemon.process:
                    daemon.check_sanitizers()
            except Failed as caught:
                failure = failure or caught
        self.abandon()
        if failure:
            raise failure

    def abandon(self):
        for daemon in self.daemons:
            if daemon.process:
                daemon.process.kill()
        for process in self.processes:
            process.kill()
        for close in self.closers:
            close()


QUICK_CHECK = {"path": "/healthz", "interval": "200ms", "timeout": "200ms", "healthy": 1}


def simple_config(port, targets, group=None, listener=None, node=None):
    """A listener on 127.0.0.1:port, everything to target group `app`."""
    return {
        "node": node or {},
        "listeners": {
            "public": {
                "listen": [f"127.0.0.1:{port}"],
                "protocol": "http",
                "reason_header": True,
                "default": {"forward": "app"},
                **(listener or {}),
            }
        },
        "target_groups": {
            "app": {
                "protocol": "http",
                "port": 80,
                "health_check": QUICK_CHECK,
                "targets": [t if isinstance(t, dict) else t.target() for t in targets],
                **(group or {}),
            }
        },
    }

"""What is measured: each scenario is a load, the figure that counts, and what lbd is held to."""
import json
import os
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

PEERS = ("nginx", "haproxy")


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    target: float  # lbd's CPU per unit ÷ the better peer's
    driver: str = "wrk"
    scheme: str = "http"  # http, https, h2c, h2
    path: str = "/"
    connections: int = 64
    extra: tuple = ()
    peers: tuple = PEERS
    unit: str = "request"
    proxies: tuple = field(default=())  # beside lbd and the peers
    listener: str = ""  # of lbd's, where the scheme does not say it
    against: str = ""  # a scenario: lbd is held to what it needs there, not to the peers
    figure: str = "cpu_us"  # what is compared: CPU per unit, or a percentile in µs

    def url(self, ports):
        by_scheme = {"http": "plain", "https": "tls", "h2c": "h2c", "h2": "tls"}
        kind = self.listener or by_scheme[self.scheme]
        scheme = "https" if kind == "tls" else "http"
        return f"{scheme}://127.0.0.1:{ports[kind]}{self.path}"


SCENARIOS = [
    Scenario("small-16", "HTTP/1.1 keep-alive, 128 bytes, 16 connections", 0.75, connections=16,
             proxies=("relay",)),
    Scenario("small-128", "HTTP/1.1 keep-alive, 128 bytes, 128 connections", 0.75, connections=128,
             proxies=("relay",)),
    Scenario("rules-1", "one rule, HTTP/1.1 keep-alive, 128 bytes, 64 connections", 1.0, peers=()),
    Scenario("rules-10k", "the last of 10,000 rules on host and path, the same load", 1.05,
             peers=(), listener="rules", against="rules-1"),
    Scenario("64k", "HTTP/1.1 keep-alive, 64 KiB, 64 connections", 0.8, path="/64k"),
    Scenario("1m", "HTTP/1.1 keep-alive, 1 MiB, 16 connections", 1 / 1.2, path="/1m",
             connections=16),
    Scenario("tls", "TLS 1.3 keep-alive, 128 bytes, 64 connections", 0.8, scheme="https"),
    Scenario("tls-64k", "TLS 1.3 keep-alive, 64 KiB, 64 connections", 1.0, scheme="https",
             path="/64k"),
    Scenario("handshake", "TLS 1.3 full handshake (ECDSA P-256), one request, close", 1.0,
             driver="handshake", scheme="https", connections=1, unit="connection"),
    # HAProxy 2.6 resumes only every second of these, so it cannot be compared.
    Scenario("resume", "TLS 1.3 resumed handshake, one request, close", 1.0, driver="handshake",
             scheme="https", connections=1, extra=("resume",), peers=("nginx",),
             unit="connection"),
    Scenario("h2c", "HTTP/2 in the clear, 128 bytes, 4 connections of 100 streams", 0.7,
             driver="h2load", scheme="h2c", connections=4),
    Scenario("h2", "HTTP/2 over TLS 1.3, 128 bytes, 4 connections of 100 streams", 0.7,
             driver="h2load", scheme="h2", connections=4),
    Scenario("connect", "HTTP/1.1, a connection for each request", 1.0, connections=16,
             extra=("-H", "Connection: close")),
    Scenario("p99-at-70", "p99 at 70 % of the better peer's saturation, HTTP/1.1 keep-alive, "
             "128 bytes, 64 connections, open loop", 1.0, driver="steady", figure="p99"),
]


def run_wrk(run, scenario, url, seconds):
    command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"]
    command += ["--timeout=10s", "-s", str(run.here / "report.lua"), *scenario.extra, url]
    out, err = run.load(command, seconds + 30)
    found = re.search(r"JSON (\{.*\})", out)
    if not found:
        sys.exit(f"bench: wrk failed: {err}{out}")
    return json.loads(found[1])


def micro(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def run_h2load(run, scenario, url, seconds):
    command = ["h2load", "-D", str(seconds), "-c", str(scenario.connections)]
    command += ["-m", "100", "-t1", url]
    out, err = run.load(command, seconds + 60)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    time = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", out)
    if not done or int(done[2]) == 0:
        sys.exit(f"bench: h2load failed: {err}{out}")
    # h2load prints no percentiles: the mean, and the largest as p99 and beyond.
    mean, most = micro(time[2]), micro(time[1])
    return {"requests": int(done[2]), "us": seconds * 1e6, "errors": int(done[3]) + int(done[4]),
            "p50": mean, "p99": most, "p999": most}


def run_handshake(run, scenario, url, seconds):
    port = re.search(r":(\d+)/", url)[1]
    out, err = run.load([str(run.folder / "handshake"), port, str(seconds), *scenario.extra],
                        seconds + 30)
    if not out:
        sys.exit(f"bench: the handshake client failed: {err}")
    return json.loads(out)


def run_steady(run, scenario, url, seconds):
    """Everyone at the same rate: 70 % of the most that nginx or HAProxy did in this run."""
    port = re.search(r":(\d+)/", url)[1]
    rate = 0.7 * run.saturation(scenario)
    out, err = run.load([str(run.folder / "steady"), port, f"{rate:.0f}", str(seconds),
                         str(scenario.connections)], seconds + 30)
    if not out:
        sys.exit(f"bench: the steady client failed: {err}")
    return {"us": seconds * 1e6, **json.loads(out)}


DRIVERS = {"wrk": run_wrk, "h2load": run_h2load, "handshake": run_handshake, "steady": run_steady}


def available(scenario):
    tool = {"wrk": "wrk", "h2load": "h2load"}.get(scenario.driver)
    return tool is None or any(
        os.access(os.path.join(place, tool), os.X_OK) for place in os.environ["PATH"].split(":"))


def of_root(root, name):
    """A program of another Debian, run with that one's loader and libraries."""
    libraries = next(pathlib.Path(root).glob("usr/lib/*-linux-gnu"))
    loader = next(pathlib.Path(root).glob("lib*/ld-linux-*"))
    return [str(loader), "--library-path", str(libraries), f"{root}/usr/sbin/{name}"]


def many_rules(path, port, count):
    """A listener with rules as sites have them, the last of which is for all that bench asks."""
    shapes = (
        '{{ host: ["h{0}.example.com"] }}',
        '{{ host: ["*.h{0}.example.com"], path: ["/a/*"] }}',
        '{{ path: ["/p{0}/*"] }}',
        '{{ host: ["127.0.0.1"], path: ["/q{0}"] }}',
    )
    conditions = [shapes[i % len(shapes)].format(i) for i in range(count - 1)]
    conditions.append('{ host: ["127.0.0.1"], path: ["/*"] }')
    rules = "".join(f"      - when: {each}\n        then: {{ forward: origin }}\n"
                    for each in conditions)
    path.write_text(f"listeners:\n  rules:\n    listen: [\"127.0.0.1:{port}\"]\n    rules:\n{rules}"
                    "    default: { respond: { status: 404 } }\n")


def certificate(folder):
    """A self-signed ECDSA P-256 certificate, as most sites have; HAProxy wants both in one file."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "30", "-subj", "/CN=bench.test", "-addext",
                "subjectAltName=DNS:bench.test", "-keyout", str(folder / "key.pem"), "-out",
                str(folder / "chain.pem")]
    subprocess.run(command, check=True, capture_output=True)
    both = (folder / "chain.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(both)

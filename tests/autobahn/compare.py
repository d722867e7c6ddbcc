#!/usr/bin/env python3
"""Runs the Autobahn test suite against a WebSocket server, directly and through lbd, and compares.

  LBD_BIN=build/release/lbd/lbd tests/autobahn/compare.py WSTEST [--cases 1.* 2.* …]

WSTEST is the suite's program. The suite is Python 2.7's, which Debian has no more, so this is no
part of ./dev test (tests/e2e/test_websocket_conformance.py is); with a Python 2.7 from elsewhere:

  virtualenv -p python2.7 wst && wst/bin/pip install autobahntestsuite==0.8.2 autobahn==0.10.9 \
    'twisted<21' txaio==2.1.0 'zope.interface<6' 'incremental<22' 'attrs<22'

Cases of section 9 have deadlines of the suite's own, which its TLS client misses on a busy machine:
run them alone. The exit code is 1 if lbd changes the verdict of a single case.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e")]

from http_text import NO_CHECKS  # noqa: E402
from rig import Rig, free_port  # noqa: E402
from test_tls import Authority, https_config  # noqa: E402
from websocket_server import EchoServer  # noqa: E402

def places(rig):
    """{name: URL}, all of them the same server."""
    server, plain, secure = EchoServer(), free_port(), free_port()
    rig.closers.append(server.close)
    files = Authority(rig.folder).make("shop")
    config = https_config(secure, [server], {"certificates": [files]}, group=NO_CHECKS)
    config["listeners"]["plain"] = {
        "listen": [f"127.0.0.1:{plain}"], "default": {"forward": "app"}}
    rig.lbd(config)
    return {
        "direct": f"ws://127.0.0.1:{server.port}",
        "lbd-http": f"ws://127.0.0.1:{plain}",
        "lbd-https": f"wss://127.0.0.1:{secure}",
    }


def run_suite(program, folder, urls, cases, left_out):
    """{name: {case: (behaviour, how it closed)}}"""
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": name, "url": url} for name, url in urls.items()],
        "cases": cases, "exclude-cases": left_out, "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [program, "-m", "fuzzingclient", "-s", str(folder / "spec.json")]
    with open(folder / "wstest.log", "wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, timeout=3600)
    index = json.loads((folder / "reports/index.json").read_text())
    return {name: {case: (row["behavior"], row["behaviorClose"], row["remoteCloseCode"])
                   for case, row in rows.items()} for name, rows in index.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wstest")
    parser.add_argument("--cases", nargs="+", default=["*"])
    parser.add_argument("--without", nargs="*", default=[], help="cases that are left out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lbd-autobahn-") as folder:
        rig = Rig(folder)
        try:
            urls = places(rig)
            verdicts = run_suite(args.wstest, rig.folder, urls, args.cases, args.without)
            rig.close()
        finally:
            rig.abandon()
    direct = verdicts.pop("direct")
    print(f"{len(direct)} cases; direct:", dict(collections.Counter(v[0] for v in direct.values())))
    changed = 0
    for name, rows in verdicts.items():
        print(f"{name}:", dict(collections.Counter(v[0] for v in rows.values())))
        for case in sorted(direct.keys() | rows.keys()):
            if direct.get(case) != rows.get(case):
                changed += 1
                print(f"  {case}: {rows.get(case)}, direct {direct.get(case)}")
    print(f"{changed} verdicts changed")
    return 1 if changed or not direct else 0


if __name__ == "__main__":
    sys.exit(main())

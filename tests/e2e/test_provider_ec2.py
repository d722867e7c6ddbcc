"""lbd's EC2 provider alone (build/dev/tests/ec2_calls, or LBD_EC2_CALLS) against moto with
signature checks on: that real signed calls are taken, and what each fault looks like to the scaler.
"""
import http.server
import json
import os
import ssl
import subprocess
import threading
import time

from aws_faults import Rule, capacity_error, throttle_error
from moto_rig import REGION, ZONES, MotoRig
from rig import ROOT, check, check_equal, test, wait_until

BINARY = os.environ.get("LBD_EC2_CALLS", str(ROOT / "build/dev/tests/ec2_calls"))
# scaler/provider.h, CallError
ERRORS = ("none", "capacity", "account_limit", "throttled", "not_found", "denied", "invalid",
          "transient", "unknown")
PENDING, RUNNING, STOPPING, TERMINATED = range(4)


class Provider:
    """One ec2_calls process; calling it makes one call and returns the reply as a dict."""

    def __init__(self, rig, cloud, **environment):
        command = [BINARY, REGION, "web", *cloud.subnets.values()]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **cloud.environment(**environment)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        rig.closers.append(self.close)

    def close(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        check_equal(self.process.wait(30), 0, "exit code of ec2_calls")  # sanitizers speak here

    def __call__(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        check(line, "ec2_calls ended")
        reply = json.loads(line)
        if "error" in reply:
            reply["error"] = ERRORS[reply["error"]]
        return reply

    def started(self):
        reply = self("start")
        check("error" not in reply, lambda: f"start: {reply}")
        check_equal(reply["zones"], list(ZONES), "zones")
        return self


def launched(provider, zone, token):
    reply = provider("launch", zone, token)
    check("error" not in reply, lambda: f"launch: {reply}")
    return reply["instance"]


@test("default", 90)
def test_signed_calls_launch_list_and_terminate(rig):
    cloud = MotoRig(rig)
    provider = Provider(rig, cloud).started()
    made = [launched(provider, zone, f"t-{zone}") for zone in ZONES]
    check_equal([each["zone"] for each in made], list(ZONES), "zones")
    truth = {row["id"]: row for row in cloud.live()}
    check_equal(sorted(truth), sorted(each["id"] for each in made), "instances")
    tags = truth[made[0]["id"]]["tags"]
    expected = {"Name": "web", "lbd:group": "web", "lbd:managed": "true",
                "lbd:token": f"t-{ZONES[0]}", "team": "shop & co"}
    check_equal({k: tags.get(k) for k in expected}, expected, "tags")
    seen = {each["id"]: each for each in provider("describe")["instances"]}
    check_equal({i: each["address"] for i, each in seen.items()},
                {i: row["address"] for i, row in truth.items()}, "addresses")
    check_equal(seen[made[0]["id"]]["token"], f"t-{ZONES[0]}", "token")
    check_equal(provider("terminate", made[0]["id"]), {}, "terminate")
    after = {each["id"]: each["state"] for each in provider("describe")["instances"]}
    check_equal(after[made[0]["id"]], TERMINATED, "state")
    check_equal(provider("terminate", "i-00000000000000000")["error"], "not_found", "unknown id")
    check_equal(provider("cpu", made[1]["id"])["samples"], {}, "CloudWatch has nothing yet")
    calls = provider("calls")
    check_equal(calls["ec2/RunInstances/ok"], 3, "RunInstances")
    check_equal(calls["sts/GetCallerIdentity/ok"], 1, "GetCallerIdentity")
    check_equal(calls["monitoring/GetMetricData/ok"], 1, "GetMetricData")


@test("default", 90)
def test_wrong_keys_are_denied_once_and_not_hammered(rig):
    cloud = MotoRig(rig)
    since = time.monotonic()
    provider = Provider(rig, cloud, AWS_ACCESS_KEY_ID=cloud.keys[0][0],
                        AWS_SECRET_ACCESS_KEY="wrong")
    check_equal(provider("start")["error"], "denied", "start")
    check_equal(len([c for c in cloud.faults.log if c.at >= since]), 1, "attempts")


@test("default", 120)
def test_each_fault_becomes_what_the_scaler_expects(rig):
    cloud = MotoRig(rig)
    faults, provider = cloud.faults, Provider(rig, cloud).started()
    zone = ZONES[0]
    subnet = cloud.subnets[zone]

    faults.add(capacity_error(subnet, zone))
    since = time.monotonic()
    check_equal(provider("launch", zone, "ice")["error"], "capacity", "no capacity")
    check_equal(len(faults.calls("RunInstances", since)), 1, "attempts without capacity")
    faults.clear()

    faults.add(throttle_error("RunInstances"))
    since = time.monotonic()
    check_equal(provider("launch", zone, "slow")["error"], "throttled", "throttled")
    check_equal(len(faults.calls("RunInstances", since)), 3, "attempts while throttled")
    faults.clear()
    check_equal(len(cloud.live()), 0, "instances after refusals")

    for effect in ("lose_reply", "garbage", "truncate"):
        before = len(cloud.live())
        faults.add(Rule("RunInstances", effect, count=1))
        instance = launched(provider, zone, f"once-{effect}")
        check_equal(len(cloud.live()), before + 1, f"launches with {effect}")
        check_equal(instance["token"], f"once-{effect}", "token")
        faults.clear()
    before = len(cloud.live())
    faults.add(Rule("RunInstances", "lose_reply"))
    check_equal(provider("launch", zone, "lost")["error"], "unknown", "every reply lost")
    faults.clear()
    check_equal(len(cloud.live()), before + 1, "launches with every reply lost")
    again = launched(provider, zone, "lost")
    check(again["id"] in [row["id"] for row in cloud.live()], "the same token finds it")
    check_equal(len(cloud.live()), before + 1, "launches after asking again")

    for effect in ("garbage", "truncate", "reset"):
        faults.add(Rule("DescribeInstances", effect, count=1))
        check("error" not in provider("describe"), f"one {effect} is retried")
        faults.add(Rule("DescribeInstances", effect))
        check_equal(provider("describe")["error"], "transient", f"always {effect}")
        faults.clear()


@test("default", 90)
def test_expired_keys_and_a_wrong_clock_are_put_right_in_the_same_call(rig):
    cloud = MotoRig(rig)
    faults, provider = cloud.faults, Provider(rig, cloud).started()
    faults.expired_keys = {cloud.keys[0][0]}
    check_equal(provider("describe")["error"], "denied", "expired, and no others to be had")
    cloud.credentials_file(key=1)
    check("error" not in provider("describe"), "the new keys are found")
    check_equal(faults.calls("DescribeInstances")[-1].key, cloud.keys[1][0], "key used")
    faults.clear()
    for skew in (900, -900):
        faults.skew_seconds = skew
        since = time.monotonic()
        check("error" not in provider("describe"), f"clock off by {skew} s")
        check_equal(len(faults.calls("DescribeInstances", since)), 2, "attempts")
        check("error" not in provider("describe"), "the offset is kept")
        check_equal(len(faults.calls("DescribeInstances", since)), 3, "attempts later")


@test("default", 90)
def test_hidden_and_doomed_instances_are_reported_as_they_are(rig):
    cloud = MotoRig(rig)
    faults, provider = cloud.faults, Provider(rig, cloud).started()
    faults.hide_seconds = 1.0
    hidden = launched(provider, ZONES[1], "hidden")["id"]
    check_equal(provider("describe")["instances"], [], "while hidden")
    check_equal(provider("terminate", hidden)["error"], "not_found", "terminate while hidden")
    wait_until(lambda: provider("describe")["instances"], 5, "it stays hidden")
    faults.clear()
    faults.doomed = (0.5, "Server.InsufficientInstanceCapacity")
    doomed = launched(provider, ZONES[2], "doomed")["id"]

    def row():
        return next(each for each in provider("describe")["instances"] if each["id"] == doomed)

    check_equal(row()["state"], PENDING, "before")
    wait_until(lambda: row()["state"] == TERMINATED, 5, "it lives on")
    check("Server.InsufficientInstanceCapacity" in row()["reason"], lambda: row()["reason"])


IDENTITY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn</Arn></GetCallerIdentityResult>"
    b"</GetCallerIdentityResponse>"
)
SUBNETS = (
    b"<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-1</subnetId>"
    b"<availabilityZone>z1</availabilityZone></item></subnetSet></DescribeSubnetsResponse>"
)


class TlsCloud:
    """Just enough of AWS for `start`, over TLS with a certificate for localhost."""

    subnets = {"z1": "subnet-1"}

    def __init__(self, rig):
        self.certificate, key = rig.folder / "cert.pem", rig.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", key, "-out", self.certificate],
            check=True, capture_output=True,
        )

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = SUBNETS if b"DescribeSubnets" in body else IDENTITY
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):  # refused handshakes are what we are here for
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        server = Server(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rig.closers.append(server.shutdown)

    def environment(self, **more):
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        return {"AWS_ENDPOINT_URL": f"https://localhost:{self.port}", **keys, **more}


@test("default", 60)
def test_the_endpoints_certificate_is_verified(rig):
    cloud = TlsCloud(rig)
    bundle = {"AWS_CA_BUNDLE": str(cloud.certificate)}
    check_equal(Provider(rig, cloud, **bundle)("start"), {"zones": ["z1"]}, "with its authority")
    unknown = Provider(rig, cloud)("start")
    check_equal(unknown["code"], "ConnectionFailed", "with an unknown authority")
    check("certificate" in unknown["message"], lambda: unknown["message"])
    elsewhere = {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{cloud.port}", **bundle}
    wrong_name = Provider(rig, cloud, **elsewhere)("start")
    check_equal(wrong_name["code"], "ConnectionFailed", "under another name")

"""AWS on this machine: moto with signature checks on, and instances that are real processes.

The VPC is 127.10.0.0/16 with one /24 subnet per zone, so every private address moto hands out is
a loopback address that burn_app can bind: lbd launches through the API, and a moment later
something really listens at the instance's address. In front stands aws_faults.FaultProxy.
"""
import json
import os
import pathlib
import signal
import sys
import threading
import time

from aws_faults import FaultProxy
from rig import BURN_APP, PYTHON, Failed, Process, check, free_port, request, wait_until

REGION = "us-east-1"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
PORT = 8080  # of every instance
LIVE = ("pending", "running")


def boto3_client(service, url, key, secret):
    try:
        import boto3
        from botocore.config import Config
    except ImportError as missing:
        text = f"{missing}: the EC2 tests need moto and boto3; ./dev setup makes .venv"
        raise Failed(text) from None
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )


class MotoRig:
    """moto_server, its network and launch template, the runner, the fault proxy.

    app_options go to every instance's burn_app; boot_seconds pass before it listens. For fleets
    that differ: tiers are {value of the instances' tag `tier`: (port, options)}.
    """

    def __init__(self, rig, *, app_options=(), boot_seconds=0.0, seed=1, tiers=None):
        self.rig, self.moto_port = rig, free_port()
        place = ["-H", "127.0.0.1", "-p", str(self.moto_port)]
        command = [sys.executable, "-m", "moto.server", *place]
        self.moto = rig.process(command, "moto")
        wait_until(self._moto_answers, 30, lambda: f"moto does not start\n{self.moto.tail()}")
        self.moto_url = f"http://127.0.0.1:{self.moto_port}"
        self._build(boto3_client("ec2", self.moto_url, "testing", "testing"))
        self._secure(boto3_client("iam", self.moto_url, "testing", "testing"))
        self.ec2 = self.client()  # straight to moto, signed
        self.faults = FaultProxy(self.moto_port, self.client(), seed)
        self.url = self.faults.url
        rig.closers.append(self.faults.close)
        apps = tiers or {"": (PORT, app_options)}
        self.runner = InstanceRunner(self, apps, boot_seconds)
        rig.closers.append(self.runner.close)

    def _moto_answers(self):
        check(self.moto.running(), lambda: f"moto ended\n{self.moto.tail()}")
        try:
            return request(self.moto_port, "/moto-api/data.json", timeout=5).status == 200
        except OSError:
            return False

    def _build(self, ec2):
        self.vpc = ec2.create_vpc(CidrBlock="127.10.0.0/16")["Vpc"]["VpcId"]
        self.subnets = self.make_subnets(ec2)
        self.make_template(ec2, "web")

    def make_subnets(self, ec2, first=1):
        """One per zone, from 127.10.`first`.0/24 on: {zone: subnet id}."""
        subnets = {}
        for number, zone in enumerate(ZONES, first):
            block = f"127.10.{number}.0/24"
            made = ec2.create_subnet(VpcId=self.vpc, CidrBlock=block, AvailabilityZone=zone)
            subnets[zone] = made["Subnet"]["SubnetId"]
        return subnets

    def make_template(self, ec2, name):
        image = ec2.describe_images()["Images"][0]["ImageId"]
        # Real EC2 takes DeleteOnTermination from here; moto ignores it, so that addresses of
        # terminated instances are not used again: harmless with /24 and some hundred launches.
        network = [{"DeviceIndex": 0, "DeleteOnTermination": True}]
        data = {"ImageId": image, "InstanceType": "t3.micro", "NetworkInterfaces": network}
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)

    def _secure(self, iam):
        """A user with two access keys that may do all on EC2; then signatures are checked."""
        iam.create_user(UserName="lbd")
        allow = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allow})
        iam.put_user_policy(UserName="lbd", PolicyName="all", PolicyDocument=policy)
        made = [iam.create_access_key(UserName="lbd")["AccessKey"] for _ in range(2)]
        self.keys = [(key["AccessKeyId"], key["SecretAccessKey"]) for key in made]
        request(self.moto_port, "/moto-api/reset-auth", "POST", body=b"0")

    def client(self, service="ec2", url="", key=0):
        return boto3_client(service, url or self.moto_url, *self.keys[key])

    def credentials_file(self, key=0):
        """Writes (or rewrites) the shared credentials file with one of the two keys."""
        path = pathlib.Path(self.rig.folder) / "credentials"
        temporary = path.with_suffix(".new")
        text = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
        temporary.write_text(text.format(*self.keys[key]))
        os.replace(temporary, path)
        return str(path)

    def environment(self, **more):
        """What lbd needs to reach this cloud and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_SHARED_CREDENTIALS_FILE": self.credentials_file(),
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            **more,
        }

    def instances(self, *states):
        """moto's truth: [{id, zone, state, address, token, tags}], all of this VPC or of states."""
        found = []
        for page in self.ec2.get_paginator("describe_instances").paginate():
            for reservation in page["Reservations"]:
                found += reservation["Instances"]
        rows = [
            {
                "id": i["InstanceId"],
                "zone": i["Placement"]["AvailabilityZone"],
                "state": i["State"]["Name"],
                "address": i.get("PrivateIpAddress", ""),
                "token": i.get("ClientToken", ""),
                "tags": {t["Key"]: t["Value"] for t in i.get("Tags", [])},
            }
            for i in found
        ]
        return [row for row in rows if not states or row["state"] in states]

    def live(self):
        return self.instances(*LIVE)

    def zones(self):
        """{zone: live instances}"""
        live = self.live()
        return {zone: sum(1 for i in live if i["zone"] == zone) for zone in ZONES}

    def terminate(self, instance):
        """As if an admin did it behind lbd's back."""
        self.ec2.terminate_instances(InstanceIds=[instance])

    def group(self, **more):
        """A scaling group over this cloud, 3 to 5 instances, one subnet per zone."""
        provider = {
            "region": REGION,
            "launch_template": {"name": "web", "version": "$Default"},
            "subnets": list(self.subnets.values()),
            "describe_interval": "500ms",
        }
        return {
            "provider": "ec2",
            "min": 3,
            "max": 5,
            "ec2": provider,
            "warm_up": "2s",
            "drain_deadline": "20s",
            "grace": "20s",
            "launch_timeout": "20s",
            "policies": [],
            **more,
        }


class InstanceRunner:
    """Makes DescribeInstances true: a burn_app on the private address of every running instance."""

    def __init__(self, cloud, tiers, boot_seconds):
        self.cloud, self.tiers, self.boot_seconds = cloud, tiers, boot_seconds
        self.apps = {}  # id → Process
        self.seen = {}  # id → when first seen
        self.dead_zones = set()
        self.peak = 0  # most instances pending or running at one poll
        self._ec2 = cloud.client()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._end.wait(0.15):
            try:
                self._poll()
            except Exception as error:  # noqa: BLE001 moto may be going down
                if not self._end.is_set():
                    print(f"  runner: {error!r}", flush=True)

    def _poll(self):
        live = self.cloud.instances(*LIVE)
        now = time.monotonic()
        with self._lock:
            self.peak = max(self.peak, len(live))
            for row in live:
                first = self.seen.setdefault(row["id"], now)
                booted = now - first >= self.boot_seconds
                if booted and row["id"] not in self.apps and row["zone"] not in self.dead_zones:
                    self._start(row)
            gone = set(self.apps) - {row["id"] for row in live}
            for instance in gone:
                self.apps[instance].signal(signal.SIGTERM)

    def _start(self, row):
        port, options = self.tiers[row["tags"].get("tier", "")]
        place = ["--address", row["address"], "--port", str(port)]
        name = ["--id", row["id"], "--zone", row["zone"], "--orca"]
        command = [PYTHON, BURN_APP, *place, *name, *options]
        self.apps[row["id"]] = Process(command, self.cloud.rig.folder, row["id"])

    def kill_zone(self, zone):
        """Every process there dies at once (SIGKILL) and none comes up; the API says nothing."""
        members = {row["id"] for row in self.cloud.live() if row["zone"] == zone}
        with self._lock:
            self.dead_zones.add(zone)
            for instance in members & set(self.apps):
                self.apps[instance].kill()
        return members

    def revive_zone(self, zone):
        with self._lock:
            self.dead_zones.discard(zone)

    def kill_instance(self, instance):
        with self._lock:
            self.apps[instance].kill()

    def close(self):
        self._end.set()
        self._thread.join(10)
        for app in self.apps.values():
            app.kill()

"""The rig itself, against boto3: it must be right before it judges lbd."""
import time

from aws_faults import Rule, capacity_error, throttle_error
from moto_rig import PORT, ZONES, MotoRig
from rig import check, check_equal, request, test, wait_until


def launch(ec2, cloud, zone=ZONES[0], token="t-1"):
    made = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        ClientToken=token,
        SubnetId=cloud.subnets[zone],
        LaunchTemplate={"LaunchTemplateName": "web"},
    )
    return made["Instances"][0]["InstanceId"]


def refused(call, code, status):
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        check_equal(error.response["Error"]["Code"], code, "error code")
        check_equal(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "status")
        return
    check(False, f"expected {code}, got an answer")


def broken(call):
    try:
        call()
    except Exception:  # noqa: BLE001 botocore has one class per way to break
        return
    check(False, "expected a broken exchange, got an answer")


def listed(client):
    pages = client.describe_instances()["Reservations"]
    return {i["InstanceId"]: i for r in pages for i in r["Instances"]}


@test("default", 90)
def test_a_signed_launch_through_the_proxy_becomes_a_process_at_its_address(rig):
    cloud = MotoRig(rig, boot_seconds=0.5)
    ec2 = cloud.client(url=cloud.url)
    for number, zone in enumerate(ZONES, 1):
        launch(ec2, cloud, zone, f"t-{number}")
    rows = cloud.live()
    addresses = sorted(row["address"] for row in rows)
    check_equal(addresses, ["127.10.1.4", "127.10.2.4", "127.10.3.4"], "private addresses")
    wait_until(lambda: len(cloud.runner.apps) == 3, 10, "not all instances run")

    def served():
        try:
            return request(PORT, "/id", address="127.10.2.4").json()
        except OSError:
            return None

    check_equal(wait_until(served, 10, "no answer")["zone"], "us-east-1b", "zone")
    cloud.terminate(rows[0]["id"])
    gone = cloud.runner.apps[rows[0]["id"]]
    wait_until(lambda: not gone.running(), 10, "a terminated instance runs on")
    cloud.runner.kill_zone("us-east-1b")
    check(not any(a.running() for i, a in cloud.runner.apps.items()
                  if i in [r["id"] for r in rows if r["zone"] == "us-east-1b"]), "still running")
    bad = cloud.client(url=cloud.url)
    bad._request_signer._credentials.secret_key = "wrong"
    refused(bad.describe_instances, "AuthFailure", 401)


@test("default", 90)
def test_every_fault_reaches_the_client_as_ec2_would_send_it(rig):
    cloud = MotoRig(rig)
    faults, ec2 = cloud.faults, cloud.client(url=cloud.url)
    subnet = cloud.subnets[ZONES[0]]
    faults.add(capacity_error(subnet, ZONES[0], count=1))
    refused(lambda: launch(ec2, cloud), "InsufficientInstanceCapacity", 500)
    faults.add(throttle_error("RunInstances", count=1))
    refused(lambda: launch(ec2, cloud), "RequestLimitExceeded", 503)
    check_equal(len(cloud.live()), 0, "instances after refusals")
    faults.add(Rule("RunInstances", "lose_reply", count=1))
    broken(lambda: launch(ec2, cloud))
    first = cloud.live()[0]["id"]
    check_equal(launch(ec2, cloud), first, "the same token again")
    check_equal(len(cloud.live()), 1, "instances after the lost reply")
    check(launch(ec2, cloud, ZONES[1]) != first, "a token is zonal")

    def altered():
        place = {"SubnetId": subnet, "InstanceType": "t3.small"}
        template = {"LaunchTemplateName": "web"}
        return ec2.run_instances(
            MinCount=1, MaxCount=1, ClientToken="t-1", LaunchTemplate=template, **place
        )

    refused(altered, "IdempotentParameterMismatch", 400)
    for effect in ("garbage", "truncate", "reset"):
        faults.add(Rule("DescribeInstances", effect, count=1))
        broken(ec2.describe_instances)
    faults.expired_keys = {cloud.keys[0][0]}
    refused(ec2.describe_instances, "RequestExpired", 400)
    cloud.client(url=cloud.url, key=1).describe_instances()
    faults.clear()
    faults.skew_seconds = 900
    refused(ec2.describe_instances, "SignatureDoesNotMatch", 403)
    faults.clear()
    faults.throttling = True
    for number in range(5):
        launch(ec2, cloud, token=f"bulk-{number}")
    refused(lambda: launch(ec2, cloud, token="bulk-6"), "RequestLimitExceeded", 503)
    check_equal(faults.calls("RunInstances")[-1].code, "RequestLimitExceeded", "log")


@test("default", 90)
def test_hidden_booting_and_doomed_instances_show_as_scripted(rig):
    cloud = MotoRig(rig)
    faults, ec2 = cloud.faults, cloud.client(url=cloud.url)
    faults.hide_seconds = 1.0
    hidden = launch(ec2, cloud, token="h")
    check(hidden not in listed(ec2), "a hidden instance is listed")
    unknown = "InvalidInstanceID.NotFound"
    refused(lambda: ec2.describe_instances(InstanceIds=[hidden]), unknown, 400)
    refused(lambda: ec2.terminate_instances(InstanceIds=[hidden]), unknown, 400)
    wait_until(lambda: hidden in listed(ec2), 5, "it stays hidden")
    by_token = [{"Name": "client-token", "Values": ["h"]}]
    found = ec2.describe_instances(Filters=by_token)["Reservations"]
    check_equal([r["Instances"][0]["InstanceId"] for r in found], [hidden], "by client token")
    faults.clear()
    faults.boot_seconds = 1.0
    booting = launch(ec2, cloud, token="b")
    check_equal(listed(ec2)[booting]["State"]["Name"], "pending", "state while booting")
    time.sleep(1.0)
    check_equal(listed(ec2)[booting]["State"]["Name"], "running", "state after boot")
    faults.clear()
    faults.doomed = (0.7, "Server.InsufficientInstanceCapacity")
    doomed = launch(ec2, cloud, token="d")
    check_equal(listed(ec2)[doomed]["State"]["Name"], "pending", "state before doom")
    wait_until(lambda: listed(ec2)[doomed]["State"]["Name"] == "terminated", 5, "it lives on")
    reason = listed(ec2)[doomed]["StateReason"]["Code"]
    check_equal(reason, "Server.InsufficientInstanceCapacity", "stateReason")

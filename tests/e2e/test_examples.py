"""Every file of examples/ as it is run: only keys named here differ, because a test must.

What differs is where things are (addresses, ports, sockets, subnets) and how long they take.
"""
import json
import re

from loadgen import Call, Load
from moto_rig import ZONES, MotoRig
from rig import BURN_APP, PYTHON, ROOT, RawOrigin, check, check_equal, free_port, request, test
from rig import to_yaml, wait_until
from views import group_of

EXAMPLES = ROOT / "examples"
SHARE, WORK_MS = 0.12, 12
CAPACITY_RPS = SHARE / (WORK_MS / 1000 + 0.001)  # one instance of a tier, at 100 % of its share
INTERNAL = "127.10.0.10:8080"  # the example's 10.0.0.10:8080, within moto's network


def set_keys(config, changes):
    """{"a.*.b": value}: the key must be there, or with + before its name must not."""
    for path, value in changes.items():
        *way, last = path.split(".")
        nodes, name = [config], last.removeprefix("+")
        for key in way:
            nodes = [child for node in nodes for child in children(node, key)]
        check(nodes, f"no {path} in the example")
        for node in nodes:
            index = int(name) if isinstance(node, list) else name
            there = isinstance(node, list) or name in node
            check(there != last.startswith("+"), f"{path} in the example: {there}")
            node[index] = value


def children(node, key):
    if key == "*":
        return node.values()
    return [node[int(key)] if isinstance(node, list) else node[key]]


def run_example(rig, name, changes, env=None):
    """`lbd run` with examples/NAME.yaml; this node's zone is us-east-1a, as its metadata says."""
    import yaml
    from schema_check import Loader

    config = yaml.load((EXAMPLES / f"{name}.yaml").read_text(), Loader)
    set_keys(config, changes)
    lbd = rig.lbd({}, {**(env or {}), **metadata_service(rig)}, start=False)
    admin = {"socket": lbd.socket, "metrics": f"127.0.0.1:{lbd.metrics_port}"}
    node = {**config.get("node", {}), "state_dir": str(lbd.folder / "state"), "admin": admin}
    lbd.write(to_yaml({**config, "node": node}) + "\n")
    return lbd.start()


def metadata_service(rig):
    """Answers for a host in the first zone; what lbd's environment needs to find it."""

    def answer(connection, _):
        head = service.head(connection)
        known = head.startswith(b"PUT") or b"availability-zone" in head
        body = b"token" if head.startswith(b"PUT") else ZONES[0].encode() if known else b""
        status = b"200 OK" if known else b"404 Not Found"
        connection.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                           % (status, len(body), body))

    service = RawOrigin(rig, answer)
    return {"AWS_EC2_METADATA_DISABLED": "",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{service.text}"}


def listen_twice():
    """A port and its `listen`, for examples that listen on all of IPv4 and IPv6."""
    port = free_port()
    return port, [f"127.0.0.1:{port}", f"[::1]:{port}"]


@test("default")
def test_every_example_is_run_by_a_test_of_this_file(_):
    tests = " ".join(name for name in globals() if name.startswith("test_"))
    for path in EXAMPLES.iterdir():
        check(f"the_{path.stem}_example" in tests, f"nothing here runs {path.name}")


@test("default")
def test_the_minimal_example_answers_from_both_targets(rig):
    port, shared = free_port(), free_port()
    origins = [rig.origin(f"o{i}", address=f"127.10.{i}.10", port=shared) for i in (1, 2)]
    changes = {
        "listeners.public.listen": f"127.0.0.1:{port}",
        "target_groups.web.port": shared,
        "target_groups.web.targets.0.address": origins[0].address,
        "target_groups.web.targets.1.address": origins[1].address,
    }
    lbd = run_example(rig, "minimal", changes)
    lbd.wait_states({origin.text: "healthy" for origin in origins})
    check_equal(request(port, "/id").status, 200, "status")
    wait_until(lambda: "found the node's zone" in lbd.process.stderr(), 15, "the node's zone")

    def near():
        return {request(port, "/id").json()["id"] for _ in range(10)} == {"o1"}

    wait_until(near, 5, "not all requests go to the target in the own zone")
    origins[0].kill()
    check_equal(request(port, "/id").json()["id"], "o2", "who answers once that one is dead")


@test("default")
def test_the_static_example_answers_by_host_and_path(rig):
    port, listen = listen_twice()
    shop, asset_port = [rig.origin("shop-1"), rig.origin("shop-2")], free_port("::1")
    assets = [rig.origin("assets-4", port=asset_port),
              rig.origin("assets-6", address="::1", port=asset_port)]
    api = [rig.origin("api-1", address="::1"), rig.origin("api-2", address="::1")]
    changes = {"listeners.public.listen": listen, "target_groups.assets.port": asset_port}
    for group, addresses in (("shop", [o.text for o in shop]), ("api", [o.text for o in api]),
                             ("assets", [o.address for o in assets])):
        for i, address in enumerate(addresses):
            changes[f"target_groups.{group}.targets.{i}.address"] = address
    lbd = run_example(rig, "static", changes)
    lbd.wait_states({origin.text: "healthy" for origin in shop + assets + api})

    def ask(host, path):
        return request(port, path, headers={"host": host})

    for host, path, who in (("shop.example.com", "/id", "shop"), ("else.example", "/id", "shop"),
                            ("shop.example.com", "/img/logo.png", "assets"),
                            ("shop.example.com", "/favicon.ico", "assets"),
                            ("v1.api.example.com", "/id", "api")):
        reply = ask(host, path)
        name = reply.headers.get("x-instance", "").partition("-")[0]
        check_equal((reply.status, name), (200, who), f"{host}{path}")
    www = ask("www.shop.example.com", "/a?b=c")
    check_equal((www.status, www.headers.get("location")),
                (308, f"http://shop.example.com:{port}/a?b=c"), "www")
    moved = ask("shop.example.com", "/old/x")
    check_equal((moved.status, moved.headers.get("location")),
                (301, f"http://shop.example.com:{port}/archive/old/x"), "moved")
    check_equal(ask("any", "/robots.txt").body, b"User-agent: *\nDisallow: /\n", "robots")
    check_equal(request(port, "/id", address="::1").status, 200, "over IPv6")


@test("default")
def test_the_process_example_starts_three_processes_one_per_zone_and_answers(rig):
    port, listen = listen_twice()
    app = rig.folder / "app"
    app.write_text(f"""#!{PYTHON}
import os, sys
assert sys.argv[1::2] == ["--listen", "--zone"], sys.argv
address, port = sys.argv[2].rsplit(":", 1)
place = ["--address", address, "--port", port, "--zone", sys.argv[4]]
os.execv({PYTHON!r}, [{PYTHON!r}, {BURN_APP!r}, "--id", os.environ["INSTANCE"], *place])
""")
    app.chmod(0o755)
    changes = {"listeners.public.listen": listen,
               "scaling_groups.app.process.command.0": str(app)}
    lbd = run_example(rig, "process", changes)
    wait_until(lambda: len(serving(lbd)) == 3, 30, lambda: f"{lbd.process.tail()}")
    zones = sorted(row["zone"] for row in serving(lbd))
    check_equal(zones, ["rack-a", "rack-b", "rack-c"], "zones of the instances")
    answer = request(port, "/id").json()
    check_equal(answer["zone"], "rack-a", "the zone that answers")
    check(answer["id"] in {row["id"] for row in serving(lbd)}, f"who answers: {answer}")


def serving(lbd, group="app"):
    """Rows of instances in service; none while lbd does not answer."""
    try:
        rows = group_of(lbd.json("scale", "status"), group)["instances"]
    except (AssertionError, ValueError):
        return []
    return [row for row in rows if row["state"] in ("in_service", "warming")]


class Classic:
    """examples/classic.yaml on moto's cloud: the web tier's instances ask the internal listener."""

    def __init__(self, rig):
        share = ["--share", str(SHARE)]
        web = ["--tier", "web", "--behind", INTERNAL, *share]
        tiers = {"web": (8080, web), "app": (9090, ["--tier", "app", *share])}
        self.cloud = MotoRig(rig, boot_seconds=0.5, tiers=tiers)
        self.port, listen = listen_twice()
        app_subnets = self.cloud.make_subnets(self.cloud.ec2, 11)
        self.cloud.make_template(self.cloud.ec2, "app")
        changes = {
            "listeners.external.listen": listen,
            "listeners.internal.listen": INTERNAL,
            "target_groups.*.health_check.interval": "1s",
            "target_groups.*.health_check.timeout": "1s",
            "scaling_groups.web.ec2.subnets": list(self.cloud.subnets.values()),
            "scaling_groups.app.ec2.subnets": list(app_subnets.values()),
            "scaling_groups.*.ec2.+describe_interval": "500ms",
            "scaling_groups.*.warm_up": "2s",
            "scaling_groups.*.policies.0.for": "3s",
        }
        self.lbd = run_example(rig, "classic", changes, self.cloud.environment())

    def wait_sizes(self, web, app, deadline=45):
        def there():
            return (len(serving(self.lbd, "web")), len(serving(self.lbd, "app"))) == (web, app)

        wait_until(there, deadline, lambda: f"not {web} web and {app} app: {self.story()}")

    def story(self):
        rows = [(t, r["id"], r["cpu"]) for t in ("web", "app") for r in serving(self.lbd, t)]
        return f"in service {rows}; {self.sentences()[-6:]}; {self.lbd.process.tail(5)}"

    def app_is_at_max(self):
        """The alarm stands with all five instances measured, and there is nothing left to do."""
        group = group_of(self.lbd.json("scale", "status"), "app")
        states = [row["state"] for row in group["instances"]]
        return states == ["in_service"] * 5 and group["kind"] == "at_max"

    def sentences(self):
        return [f"{row['group']}: {row['sentence']}" for row in self.lbd.history()]

    def launched(self, tier):
        """Every instance there ever was of this tier, by its address."""
        rows = self.cloud.instances()
        return {row["address"]: row for row in rows if row["tags"].get("tier") == tier}

    def answer(self):
        return request(self.port, "/chain", timeout=30).json()

    def access_log(self, listener):
        whole_lines = self.lbd.process.stdout().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole_lines]
        return [line for line in lines if line["listener"] == listener]


def check_the_chain(case):
    """Client → external listener → web instance → internal listener → app instance."""
    web = case.answer()
    app = web["behind"]
    check_equal((web["tier"], web["caller"]), ("web", "127.0.0.1"), "first in the chain")
    check_equal((app["tier"], app["behind"]), ("app", None), "second in the chain")
    for tier, row in (("web", web), ("app", app)):
        ids = {each["id"] for each in case.launched(tier).values()}
        check(row["id"] in ids, f"{row['id']} is no instance of the {tier} tier: {ids}")
    caller = case.launched("web").get(app["caller"], {}).get("id")
    check_equal(caller, web["id"], "who asked the app tier")


def check_who_asked_whom(case, requests):
    """By the access log, which the example sends to standard output."""

    def all_there():
        return requests <= len(case.access_log("external")) <= len(case.access_log("internal"))

    wait_until(all_there, 10, "fewer requests at the internal listener than at the external one")
    external, internal = case.access_log("external"), case.access_log("internal")
    web, app = case.launched("web"), case.launched("app")
    check_equal({line["target"] for line in external}, {f"{a}:8080" for a in web}, "web targets")
    check_equal({line["client_ip"] for line in internal}, set(web), "who asked the app tier")
    check_equal({line["target"] for line in internal}, {f"{a}:9090" for a in app}, "app targets")


@test("default", 150)
def test_the_classic_example_grows_the_hot_tier_only_and_never_above_five(rig):
    case = Classic(rig)
    case.wait_sizes(3, 3)
    for tier in ("web", "app"):
        zones = sorted(row["zone"] for row in case.launched(tier).values())
        check_equal(zones, list(ZONES), f"zones of the {tier} tier")
    check_the_chain(case)
    # The web tier is to be warm, too much for one zone's instance, and the app tier hot.
    calls = [Call(f"/chain?app_ms={WORK_MS}&web_ms=2.5")]
    load = Load(f"http://127.0.0.1:{case.port}", calls, profile=[(0, 5)], seconds=140).start()
    load.set_rate(3.3 * CAPACITY_RPS / 0.91)
    case.wait_sizes(3, 4)
    load.set_rate(4.2 * CAPACITY_RPS / 0.91)
    case.wait_sizes(3, 5)
    load.set_rate(5.0 * CAPACITY_RPS / 0.91)
    wait_until(case.app_is_at_max, 45, case.story)
    check_the_chain(case)
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures: {summary['errors']}")
    check(summary["requests"] > 300, f"{summary['requests']} requests in all")
    web, app = case.launched("web"), case.launched("app")
    check_equal((len(web), len(app)), (3, 5), "instances ever launched, web and app")
    found = case.sentences()
    for step in ("3 -> 4", "4 -> 5"):
        wanted = re.compile(rf"app: scale out {step}: cpu [0-9.]+ % above 90 % for 3 s")
        check(any(wanted.match(each) for each in found), f"no {step} for cpu in {found}")
    check_who_asked_whom(case, summary["requests"])

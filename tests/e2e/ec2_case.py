"""What the EC2 tests share: lbd on moto's cloud, and the checks that hold after every fault."""
import re

from moto_rig import PORT, ZONES, MotoRig
from rig import QUICK_CHECK, check, check_equal, free_port, wait_until

SHARE, WORK_MS = 0.12, 8
CAPACITY_RPS = SHARE / (WORK_MS / 1000 + 0.0006)  # one instance, at 100 % of its share
BOUND = 5  # max of every group here
POLICIES = [
    {"signal": "cpu", "above": "90%", "for": "3s", "add": 1},
    {"signal": "cpu", "below": "50%", "for": "5s", "remove": 1},
]


class Case:
    """lbd, a cloud, and one scaling group `web` of 3 to 5 instances behind listener `port`."""

    def __init__(self, rig, *, start=True, env=None, cloud=None, name="lbd", **group):
        options = ["--share", str(SHARE), "--work-ms", str(WORK_MS)]
        self.rig, self.port = rig, free_port()
        self.cloud = cloud or MotoRig(rig, app_options=options, boot_seconds=0.5)
        self.faults, self.runner = self.cloud.faults, self.cloud.runner
        environment = self.cloud.environment(**(env or {}))
        self.lbd = rig.lbd(self.config(**group), environment, name=name, start=False)
        if start:
            self.start()

    def start(self):
        """Not waiting for /readyz: the group may have no instance yet."""
        self.lbd.start(ready=False)
        return self

    def config(self, **group):
        more = {"cpu": {"sources": ["orca"]}, **group}
        return {
            "node": {"zone": ZONES[0]},
            "listeners": {
                "public": {"listen": [f"127.0.0.1:{self.port}"], "protocol": "http",
                           "reason_header": True, "default": {"forward": "web"}}
            },
            "target_groups": {
                "web": {"protocol": "http", "port": PORT, "health_check": QUICK_CHECK,
                        "scaling_group": "web"}
            },
            "scaling_groups": {"web": self.cloud.group(**more)},
        }

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def serving(self):
        """Ids in service; none while lbd does not answer."""
        try:
            return {i["id"] for i in self.lbd.in_service()}
        except (AssertionError, ValueError):
            return set()

    def wait_serving(self, count, deadline=40):
        wait_until(lambda: len(self.serving()) == count, deadline, lambda: self.story(count))

    def story(self, count):
        history = self.sentences()[-5:]
        return f"not {count} in service: {sorted(self.serving())}; live {self.cloud.zones()}; " \
               f"history: {history}; {self.lbd.process.tail(5)}"

    def sentences(self):
        try:
            return self.lbd.sentences()
        except (AssertionError, ValueError):
            return []

    def wait_agreed(self, count, deadline=45):
        """lbd's fleet in service and the cloud's live instances are the same `count` ids."""

        def agreed():
            live = {i["id"] for i in self.cloud.live()}
            return len(live) == count and self.serving() == live

        wait_until(agreed, deadline, lambda: self.story(count))

    def check_bounds(self):
        check(self.runner.peak <= BOUND, f"{self.runner.peak} instances at once, max is {BOUND}")

    def launched(self):
        return [row for row in self.cloud.instances()]

    def check_launches(self, count):
        """So many instances were ever made: no double launch, no launch without a reason."""
        check_equal(len(self.launched()), count, "instances ever launched")

    def check_sentence(self, *patterns):
        """Each of these regular expressions is found in some sentence of the history."""
        found = self.sentences()
        for pattern in patterns:
            hit = any(re.search(pattern, sentence) for sentence in found)
            check(hit, f"no sentence with {pattern!r} in {found}")

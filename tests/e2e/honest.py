"""Honest clients beside an attack: each asks, rests, asks again; what fails is noted."""
import http.client
import threading
import time

from h2_client import H2Client
from rig import check
from test_tls import connect, fetch

PATH = "/id?honest"
REST = 0.02  # seconds between two requests of a client
PATIENCE = 30  # seconds: a client that waits longer for an answer has been harmed


class Honest:
    """Five clients while the block runs: HTTP/1.1 on a connection that is kept and on one for each
    request, the same over TLS, and HTTP/2 over TLS. `fresh` false: on kept connections alone."""

    def __init__(self, plain, secure, fresh=True):
        self.plain, self.secure = plain, secure
        kinds = [self.kept, self.kept_tls, self.http2]
        kinds += [self.fresh, self.fresh_tls] if fresh else []
        self.stop, self.failures = threading.Event(), []
        self.answered = {kind.__name__: 0 for kind in kinds}
        self.threads = [threading.Thread(target=self.run, args=(k,), daemon=True) for k in kinds]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_for(1)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)

    def run(self, kind):
        try:
            for status in kind():
                if status != 200:
                    self.failures.append(f"{kind.__name__}: status {status}")
                self.answered[kind.__name__] += 1
                if self.stop.wait(REST):
                    return
        except Exception as error:  # noqa: BLE001 whatever it is, the client has had no answer
            self.failures.append(f"{kind.__name__}: {error!r}")

    def wait_for(self, more):
        """Until each client has had so many more answers, or one has failed."""
        wanted = {name: count + more for name, count in self.answered.items()}
        end = time.monotonic() + PATIENCE
        while not self.failures and any(self.answered[n] < wanted[n] for n in wanted):
            check(time.monotonic() < end, f"honest clients wait: {self.answered} of {wanted}")
            time.sleep(0.01)

    def check(self, what):
        check(not self.failures, f"{what}: honest requests failed: {self.failures[:5]}")

    # Each gives the statuses of its answers, one after the other.

    def kept(self):
        wire = http.client.HTTPConnection("127.0.0.1", self.plain, timeout=PATIENCE)
        while True:
            yield ask(wire)

    def fresh(self):
        while True:
            wire = http.client.HTTPConnection("127.0.0.1", self.plain, timeout=PATIENCE)
            yield ask(wire)
            wire.close()

    def kept_tls(self):
        with connect(self.secure) as wire:
            wire.settimeout(PATIENCE)
            while True:
                yield fetch(wire, PATH)[0]

    def fresh_tls(self):
        while True:
            with connect(self.secure) as wire:
                wire.settimeout(PATIENCE)
                yield fetch(wire, PATH)[0]

    def http2(self):
        with H2Client(self.secure, tls=True) as client:
            while True:
                yield client.fetch(PATH).status


def ask(wire):
    wire.request("GET", PATH)
    response = wire.getresponse()
    response.read()
    return response.status

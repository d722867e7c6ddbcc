"""Targets on Unix sockets: paths and abstract names."""
import contextlib
import os
import socket
import threading
import time

from http_text import NO_CHECKS, answer, get
from proxy_protocol import ProxiedScript
from rig import RawOrigin, Wire, check, check_equal, request, slowness, test, wait_until
from test_tls import Authority
from tls_origin import server_context


class UnixOrigin(RawOrigin):
    """As RawOrigin, on a path or an abstract @name."""

    def __init__(self, rig, path, script=None):
        self.path, self.script, self.zone, self.text = str(path), script, "a", f"unix:{path}"
        self.connections, self.seen, self.rig = 0, [], rig
        self.script = script or self.echo
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("\0" + self.path[1:] if self.path[0] == "@" else self.path)
        self.listener.listen(64)
        self.rig.closers.append(self.listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """As a server that is stopped: the socket is gone, its file as well."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.path[0] != "@":
            os.unlink(self.path)

    def echo(self, connection, _):
        while head := self.head(connection):
            answer(connection, head)


def fields_of(head):
    lines = head.decode().lower().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if ": " in line)


@test()
def test_requests_and_checks_go_over_a_unix_socket(rig):
    for path in (rig.folder / "app.sock", f"@lbd-e2e-{os.getpid()}"):
        origin = UnixOrigin(rig, path)
        lbd = rig.proxy([origin])
        lbd.wait_states({origin.text: "healthy"})
        with Wire(rig.port) as wire:
            for _ in range(3):
                wire.send(get("/a?b", "x-mine: 1"))
                reply = wire.reply()
                check_equal(reply.status, 200, "status")
        fields = fields_of(reply.body)
        check_equal(fields["host"], "shop.example", "host of the request")
        check_equal(fields["x-forwarded-for"], "127.0.0.1", "x-forwarded-for")
        check_equal(fields["x-forwarded-port"], str(rig.port), "x-forwarded-port")
        checks = [head for head in origin.seen if b"/healthz" in head]
        check_equal(fields_of(checks[0])["host"], "localhost", "host of a check")
        code, out, _ = lbd.cli("targets")
        check(code == 0 and origin.text in out, out)
        code, out, _ = lbd.cli("explain", "GET", f"http://shop.example:{rig.port}/")
        check(code == 0 and origin.text in out, f"explain exits {code}: {out}")
        check_equal(lbd.metric("lbd_targets", state="healthy"), 1, "metric")
        lbd.stop()
        attempt = lbd.access_log()[-1]["attempts"][0]
        check_equal(attempt["target"], origin.text, "target in the log")


@test()
def test_a_unix_socket_keeps_connections_and_takes_bodies(rig):
    def script(connection, _):
        stream = connection.makefile("rb")
        while line := stream.readline():
            length = 0
            while (field := stream.readline()) not in (b"\r\n", b""):
                name, _, value = field.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = stream.read(length)
            answer(connection, body or line)

    origin = UnixOrigin(rig, rig.folder / "app.sock", script)
    rig.proxy([origin], NO_CHECKS, workers=1)
    body = os.urandom(3_000_000)
    for _ in range(5):
        reply = request(rig.port, "/", "POST", body=body)
        check_equal((reply.status, reply.body == body), (200, True), "a large body, both ways")
    check_equal(origin.connections, 1, "connections for five requests")


@test()
def test_a_socket_that_is_missing_is_a_refused_connection_tried_elsewhere(rig):
    gone = {"address": f"unix:{rig.folder}/none.sock", "zone": "a"}
    there = UnixOrigin(rig, rig.folder / "app.sock")
    lbd = rig.proxy([gone, there], {**NO_CHECKS, "passive": "off"})
    for number in range(10):
        check_equal(request(rig.port, "/", "POST", body=b"x").status, 200, f"request {number}")
    lbd.config["target_groups"]["app"]["targets"] = [gone]
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    wait_until(lambda: request(rig.port, "/").status == 502, 5, "the other is still asked")
    reply = request(rig.port, "/")
    found = (reply.status, reply.headers.get("x-lbd-reason"))
    check_equal(found, (502, "connect_failed"), "nothing but a missing socket")


@test()
def test_health_says_why_a_unix_socket_fails_and_sees_it_return(rig):
    origin = UnixOrigin(rig, rig.folder / "app.sock")
    lbd = rig.proxy([origin])
    lbd.wait_states({origin.text: "healthy"})
    origin.close()
    lbd.wait_states({origin.text: "unhealthy"})
    reason = lbd.targets()[0]["reason"]
    check("refused" in reason and "No such file" in reason, f"reason: {reason}")
    origin.listen()
    lbd.wait_states({origin.text: "healthy"})
    check_equal(request(rig.port, "/").status, 200, "back")


@test()
def test_a_unix_target_is_drained_by_its_address(rig):
    one = UnixOrigin(rig, rig.folder / "one.sock")
    two = UnixOrigin(rig, rig.folder / "two.sock")
    lbd = rig.proxy([one, two], NO_CHECKS)
    code, _, err = lbd.cli("drain", one.text)
    check_equal(code, 0, f"drain: {err}")
    check_equal(lbd.states(), {one.text: "draining", two.text: "healthy"}, "states")
    time.sleep(0.1 * slowness())  # until every worker knows
    before = one.connections
    for _ in range(10):
        check_equal(request(rig.port, "/").status, 200, "status")
    check_equal(one.connections, before, "connections to the one that drains")
    check_equal(lbd.cli("undrain", one.text)[0], 0, "undrain")
    lbd.wait_states({one.text: "healthy"})


@test()
def test_a_unix_target_is_told_its_client_by_the_proxy_protocol(rig):
    script = ProxiedScript()
    origin = UnixOrigin(rig, rig.folder / "app.sock", script)
    lbd = rig.proxy([origin], {"proxy_protocol": "v1"})
    lbd.wait_states({origin.text: "healthy"})
    with Wire(rig.port) as wire:
        own = wire.socket.getsockname()
        wire.send(get())
        check_equal(wire.reply().status, 200, "status")
    check_equal(script.headers, [(*own, "127.0.0.1", rig.port)], "the client")
    check(script.local > 0, "no check said that it is lbd's own")


@test()
def test_a_burst_waits_for_room_in_the_queue_of_a_unix_socket(rig):
    """Where TCP would send its SYN again, connect() of a full Unix socket fails at once."""
    release = threading.Event()

    class Late(UnixOrigin):
        def _accept(self):
            self.listener.listen(2)
            release.wait(10 * slowness())
            super()._accept()

    origin = Late(rig, rig.folder / "app.sock")
    rig.proxy([origin], {**NO_CHECKS, "retries": {"attempts": 1}, "passive": "off"})
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(request(rig.port, "/").status))
               for _ in range(40)]
    for each in clients:
        each.start()
    time.sleep(0.5)
    check_equal(answers, [], "answers before anyone accepts")
    release.set()
    for each in clients:
        each.join()
    check_equal(answers.count(200), 40, f"answers: {sorted(answers)}")


@test()
def test_a_reload_adds_and_removes_unix_targets_without_losing_a_request(rig):
    one = UnixOrigin(rig, rig.folder / "one.sock")
    two = UnixOrigin(rig, rig.folder / "two.sock")
    lbd = rig.proxy([one], NO_CHECKS)
    done, failed = threading.Event(), []

    def keep_asking():
        while not done.is_set():
            status = request(rig.port, "/").status
            if status != 200:
                failed.append(status)

    client = threading.Thread(target=keep_asking)
    client.start()
    for targets in ([one, two], [two], [one, two], [one]):
        lbd.config["target_groups"]["app"]["targets"] = [each.target() for each in targets]
        check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    done.set()
    client.join()
    check_equal(failed, [], "failed requests")
    check(f"added target {two.text}" in lbd.process.stderr(), "the log does not say what changed")
    wait_until(lambda: set(lbd.states()) == {one.text}, 5, f"{lbd.states()}")


@test()
def test_tls_over_a_unix_socket_wants_a_certificate_of_localhost(rig):
    files = Authority(rig.folder).make("app", "localhost")
    context = server_context(files)

    def script(connection, _):
        with context.wrap_socket(connection, server_side=True) as wire:
            while origin.head(wire):
                answer(wire)

    origin = UnixOrigin(rig, rig.folder / "app.sock", script)
    group = {"protocol": "https", "tls": {"trust": files["chain"]}}
    lbd = rig.proxy([origin], group)
    lbd.wait_states({origin.text: "healthy"})
    check_equal(request(rig.port, "/").status, 200, "status")

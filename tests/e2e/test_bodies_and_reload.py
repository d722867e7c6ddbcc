"""Large bodies in constant memory, and reloads under traffic."""
import os
import socket
import struct
import threading
import time
import zlib

from loadgen import Call, Load
from rig import RawOrigin, Wire, check, check_equal, free_port, request, simple_config, test
from rig import wait_until

MIB = 1 << 20
GROWTH_MAX = 48 * MIB  # of the daemon's resident memory while a body passes; buffers are 64 KiB


class Peak:
    """The daemon's largest resident memory while the block runs, over what it was before."""

    def __init__(self, lbd):
        self.process, self.end = lbd.process, threading.Event()

    def __enter__(self):
        self.before = self.largest = self.process.rss_bytes()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.end.wait(0.05):
            self.largest = max(self.largest, self.process.rss_bytes())

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()

    def check(self, what):
        grown = self.largest - self.before
        check(grown < GROWTH_MAX, f"{what}: memory grew by {grown >> 20} MiB")


def download(port, size, extra=""):
    """Reads /size through the proxy and checks every byte; returns nothing."""
    with Wire(port, timeout=60) as wire:
        wire.send(f"GET /size?n={size}{extra} HTTP/1.1\r\nhost: x\r\n\r\n")
        head = wire.head()
        check_equal(head.status, 200, "status")
        got, expected = 0, bytes(range(256)) * 4096
        while got < size:
            piece = wire.stream.read(min(MIB, size - got))
            check(piece == expected[: len(piece)] and piece, f"wrong bytes after {got}")
            got += len(piece)


def upload(port, size, chunked):
    piece = os.urandom(MIB)
    field = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    crc = 0
    with Wire(port, timeout=60) as wire:
        wire.send(f"POST /checksum HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n")
        for _ in range(size // MIB):
            crc = zlib.crc32(piece, crc)
            wire.send(b"100000\r\n" + piece + b"\r\n" if chunked else piece)
        if chunked:
            wire.send("0\r\n\r\n")
        check_equal(wire.reply().json(), {"bytes": size, "crc32": crc}, "what the target got")


def stream_both_ways(rig, size):
    lbd = rig.proxy([rig.origin()])
    for what, run in (
        ("download", lambda: download(rig.port, size)),
        ("upload", lambda: upload(rig.port, size, False)),
        ("chunked upload", lambda: upload(rig.port, size, True)),
    ):
        with Peak(lbd) as peak:
            run()
        peak.check(f"{what} of {size >> 20} MiB")


@test(timeout=120)
def test_512_mib_stream_each_way_in_constant_memory(rig):
    stream_both_ways(rig, 512 * MIB)


@test("long", 900)
def test_10_gib_stream_each_way_in_constant_memory(rig):
    stream_both_ways(rig, 10 * 1024 * MIB)


@test(timeout=60)
def test_a_client_that_does_not_read_holds_the_target_back(rig):
    """Back-pressure: 1 GiB offered, nobody reads, memory must not grow."""
    lbd = rig.proxy([rig.origin()])
    with Peak(lbd) as peak, Wire(rig.port) as wire:
        wire.send(f"GET /size?n={1024 * MIB} HTTP/1.1\r\nhost: x\r\n\r\n")
        check_equal(wire.head().status, 200, "status")
        time.sleep(2)
    peak.check("a client that does not read")


@test()
def test_a_client_that_stops_reading_is_cut_at_write_idle(rig):
    rig.proxy([rig.origin()], listener={"timeouts": {"write_idle": "500ms"}})
    with Wire(rig.port) as wire:
        wire.send(f"GET /size?n={256 * MIB} HTTP/1.1\r\nhost: x\r\n\r\n")
        wire.head()
        time.sleep(2.5)
        got = 0
        try:
            while piece := wire.stream.read(MIB):
                got += len(piece)
        except OSError:
            pass
        check(got < 255 * MIB, "a client that did not read for 2.5 s got all")


@test(timeout=60)
def test_reloads_lose_no_request_and_no_connection(rig):
    origins = rig.origins("aab")
    lbd = rig.proxy(origins)
    kept = Wire(rig.port)
    call = "GET /id HTTP/1.1\r\nhost: x\r\n\r\n"
    kept.send(call)
    check_equal(kept.reply().status, 200, "before")
    calls = [Call("/id"), Call("/slow?ms=300", weight=0.2)]
    load = Load(f"http://127.0.0.1:{rig.port}", calls, profile=[(0, 150)], seconds=8).start()
    for number in range(8):
        chosen = origins[: 2 + number % 2]
        code, out, err = lbd.reload(simple_config(rig.port, chosen))
        check_equal(code, 0, f"reload {number}: {err or out}")
        time.sleep(0.6)
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures during 8 reloads: {summary['errors']}")
    kept.send(call)
    reply = kept.reply()
    check(reply and reply.status == 200, "a kept connection did not survive the reloads")
    kept.close()
    check_equal(lbd.metric("lbd_config_reloads_total", result="success"), 8, "reloads counted")


@test()
def test_live_target_state_survives_a_reload(rig):
    """A slow request's in-flight count, and health verdicts, must not restart from nothing."""
    origins = rig.origins("ab")
    lbd = rig.proxy(origins)
    origins[1].kill()
    lbd.wait_states({origins[1].text: "unhealthy"})
    thread = threading.Thread(target=lambda: request(rig.port, "/slow?ms=2500"))
    thread.start()
    time.sleep(0.3)
    in_flight = {t["address"]: t["in_flight"] for t in lbd.targets()}
    check_equal(in_flight[origins[0].text], 1, "in flight before the reload")
    config = simple_config(rig.port, origins, {"balance": "least_requests", "fail_open": False})
    check_equal(lbd.reload(config)[0], 0, "reload")
    after = {t["address"]: t for t in lbd.targets()}
    check_equal(after[origins[0].text]["in_flight"], 1, "in flight after the reload")
    check_equal(after[origins[0].text]["state"], "healthy", "a healthy target after the reload")
    check_equal(after[origins[1].text]["state"], "unhealthy", "a dead target after the reload")
    thread.join()


@test()
def test_sighup_reloads_as_well(rig):
    import signal

    from rig import wait_until

    first, second = rig.origins("aa")
    lbd = rig.proxy([first])
    lbd.write(simple_config(rig.port, [second]))
    lbd.process.signal(signal.SIGHUP)

    def moved():
        return request(rig.port, "/id").headers.get("x-instance") == second.name

    wait_until(moved, 10, "SIGHUP changes nothing")


@test()
def test_a_bad_reload_changes_nothing_exits_1_and_says_where(rig):
    lbd = rig.proxy([rig.origin()])
    before = lbd.json("status")
    good = lbd.file.read_text()
    lbd.write(good.replace("listeners:", "listenerz:"))
    code, out, err = lbd.cli("reload", "--wait")
    check_equal(code, 1, f"exit code: {out}{err}")
    text = out + err
    check(f"{lbd.file}:" in text or "lbd.yaml:" in text, f"no place in: {text}")
    check("listenerz" in text and "listeners" in text, f"no suggestion in: {text}")
    checked = lbd.binary, "check", str(lbd.file)
    import subprocess

    done = subprocess.run(checked, capture_output=True, text=True, timeout=30)
    check(done.returncode in (1, 78), f"lbd check exits {done.returncode} on the same file")
    check_equal(request(rig.port, "/id").status, 200, "traffic after the bad reload")
    generation = before["config"]["generation"]
    check_equal(lbd.json("status")["config"]["generation"], generation, "generation")
    check_equal(lbd.metric("lbd_config_last_reload_successful"), 0, "the gauge says it")
    lbd.write(good)
    check_equal(lbd.cli("reload", "--wait")[0], 0, "the next good reload")
    check_equal(lbd.metric("lbd_config_last_reload_successful"), 1, "the gauge says it again")


@test()
def test_a_reload_that_cannot_bind_its_listener_changes_nothing(rig):
    import socket

    lbd = rig.proxy([rig.origin()])
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        config = simple_config(rig.port, [rig.origin("other")])
        listen = [f"127.0.0.1:{rig.port}", f"127.0.0.1:{taken.getsockname()[1]}"]
        config["listeners"]["public"]["listen"] = listen
        code, out, err = lbd.reload(config)
        check_equal(code, 1, f"exit code: {out}{err}")
        check_equal(request(rig.port, "/id").headers["x-instance"], "app", "who answers")


@test()
def test_a_config_without_target_groups_serves_and_reloads(rig):
    port = free_port()
    fixed = {"respond": {"status": 200, "body": "one"}}
    listener = {"listen": [f"127.0.0.1:{port}"], "protocol": "http", "default": fixed}
    lbd = rig.lbd({"listeners": {"public": listener}})
    check_equal(request(port, "/").body, b"one", "body")
    fixed["respond"]["body"] = "two"
    lbd.reload({"listeners": {"public": listener}})
    wait_until(lambda: request(port, "/").body == b"two", 3, "the reload does not show")


class Holding:
    """A target that keeps its request until told to answer, or to reset the connection."""

    def __init__(self, rig):
        self.came, self.go, self.answers = threading.Event(), threading.Event(), False
        self.origin = RawOrigin(rig, self.serve)

    def serve(self, connection, _):
        while self.origin.head(connection):
            self.came.set()
            self.go.wait(20)
            if not self.answers:
                reset = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                return connection.close()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@test(timeout=60)
def test_a_request_retried_over_several_reloads_remembers_each_target(rig):
    """The targets it failed at are in no configuration any more when it is written to the log."""
    first, second, third, last = (Holding(rig) for _ in range(4))
    group = {"health_check": "off", "passive": "off", "retries": {"attempts": 4}}
    lbd = rig.proxy([first.origin], group, workers=1)

    def only(target):
        lbd.config["target_groups"]["app"]["targets"] = [target.origin.target()]
        check_equal(lbd.reload(lbd.config)[0], 0, "reload")

    with Wire(rig.port) as wire:
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        check(first.came.wait(10), "the first target got no request")
        only(second)
        first.go.set()
        check(second.came.wait(10), "no retry")
        only(third)
        second.go.set()
        check(third.came.wait(10), "no second retry")
        for target in (last, third, last):  # what nobody holds is forgotten within a second
            only(target)
            time.sleep(1.2)
        third.answers = True
        third.go.set()
        check_equal(wire.reply().status, 200, "status")
    wait_until(lambda: lbd.access_log(), 5, "no line")
    line = lbd.access_log()[0]
    tried = [attempt["target"] for attempt in line["attempts"]]
    check_equal(tried, [each.origin.text for each in (first, second, third)], "targets")
    check_equal(line["zone"], "a", "zone")


@test()
def test_a_reload_changes_what_is_logged_and_says_what_waits_for_a_restart(rig):
    def config(level, zone):
        return {"node": {"log_level": level, "zone": zone},
                "listeners": {"web": {"listen": [f"127.0.0.1:{port}"],
                                      "default": {"respond": {"status": 204}}}}}

    port = free_port()
    lbd = rig.lbd(config("error", "a"))
    check("level=info" not in lbd.process.stderr(), "logged below its level")
    code, out, err = lbd.reload(config("debug", "auto"))
    check_equal(code, 0, f"reload: {out}{err}")
    check("takes effect only after a restart: node.zone" in out + err, f"{out}{err}")
    wait_until(lambda: "level=info" in lbd.process.stderr(), 5, "the level is as before")

"""What admins do to a running daemon, and what its host runs out of."""
import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time

from loadgen import Call, Load
from rig import Wire, check, check_equal, free_port, request, simple_config, test, wait_until


def two_listeners(first, second, ports):
    """Listeners by name, each with a target group of its own."""
    names = [(first, "one"), (second, "two")]
    return {
        "listeners": {
            name: {"listen": [f"127.0.0.1:{port}"], "default": {"forward": group}}
            for (name, group), port in zip(names, ports)
        },
    }


def serving(port):
    return request(port, "/id").headers.get("x-instance")


@test()
def test_an_address_follows_the_listener_that_a_reload_gives_it_to(rig):
    """Renamed, then swapped: each connection is served by the listener that has its address now."""
    one, two = rig.origins("aa")
    groups = {
        "target_groups": {
            name: {"port": 80, "health_check": "off", "targets": [origin.target()]}
            for name, origin in (("one", one), ("two", two))
        }
    }
    ports = [free_port(), free_port()]
    lbd = rig.lbd({**two_listeners("a", "b", ports), **groups})
    calls = [Call("/id")]
    load = Load(f"http://127.0.0.1:{ports[0]}", calls, profile=[(0, 100)], seconds=20).start()
    check_equal([serving(p) for p in ports], [one.name, two.name], "before")
    check_equal(lbd.reload({**two_listeners("renamed", "b", ports), **groups})[0], 0, "rename")
    check_equal([serving(p) for p in ports], [one.name, two.name], "renamed")
    time.sleep(1)
    summary = load.stop()
    check_equal(summary["failures"], 0, f"failures while renaming: {summary['errors']}")
    check_equal(lbd.reload({**two_listeners("renamed", "b", ports[::-1]), **groups})[0], 0, "swap")
    check_equal([serving(p) for p in ports], [two.name, one.name], "swapped")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def limit_descriptors(lbd, more):
    """Lets the daemon open this many descriptors more than it has."""
    pid = lbd.process.popen.pid
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + more, hard))


@test()
def test_running_out_of_descriptors_while_reloading_never_kills(rig):
    lbd = rig.proxy([rig.origin()])
    request(rig.port, "/id")
    for more in range(8):
        config = simple_config(rig.port, lbd.config["target_groups"]["app"]["targets"])
        config["listeners"]["extra"] = {
            "listen": [f"127.0.0.1:{free_port()}"],
            "default": {"respond": {"status": 204}},
        }
        lbd.write(config)
        limit_descriptors(lbd, more)
        lbd.process.signal(signal.SIGHUP)
        time.sleep(0.3)
        limit_descriptors(lbd, 200)
        check(lbd.process.running(), f"died with {more} descriptors left\n{lbd.process.tail()}")
        check_equal(request(rig.port, "/id").status, 200, f"traffic after {more}")


@test()
def test_an_empty_name_drains_nothing(rig):
    lbd = rig.proxy(rig.origins("ab"))
    code, out, err = lbd.cli("drain", "")
    check(code != 0, f"exits {code}: {out}")
    check("missing" in out + err, f"says: {out}{err}")
    check_equal(set(lbd.states().values()), {"healthy"}, "states")


@test()
def test_admin_connections_are_bounded_and_cost_nothing_without_descriptors(rig):
    lbd = rig.proxy([rig.origin()])
    with contextlib.ExitStack() as held:
        for _ in range(400):
            wire = held.enter_context(socket.socket(socket.AF_UNIX))
            wire.connect(lbd.socket)
        time.sleep(0.5)
        check(descriptors(lbd.process.popen.pid) < 350, "400 idle admin connections are all held")
    wait_until(lambda: lbd.cli("status")[0] == 0, 10, "no status after the flood")
    limit_descriptors(lbd, 0)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(lbd.socket)
        before = cpu_seconds(lbd.process.popen.pid)
        time.sleep(1)
        used = cpu_seconds(lbd.process.popen.pid) - before
        check(used < 0.5, f"waiting for a descriptor used {used} s of CPU in a second")
        limit_descriptors(lbd, 200)
    check_equal(lbd.cli("status")[0], 0, "status once there are descriptors")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test()
def test_a_log_whose_reader_has_gone_does_not_end_the_daemon(rig):
    port = free_port()
    lbd = rig.lbd(simple_config(port, [rig.origin()]), start=False)
    (lbd.folder / "state").mkdir(exist_ok=True)
    command = [lbd.binary, "run", "-c", str(lbd.file)]
    text = lbd.file.read_text().replace(str(lbd.folder / "access.log"), "/dev/stdout")
    lbd.file.write_text(text)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: reachable(port), 10, "lbd does not serve")
        process.stdout.close()
        for _ in range(5):
            check_equal(request(port, "/id").status, 200, "a request")
            time.sleep(0.3)
        check(process.poll() is None, f"lbd ended with {process.poll()}")
        process.send_signal(signal.SIGTERM)
        check_equal(process.wait(15), 0, "exit code")


def reachable(port):
    with contextlib.suppress(OSError):
        return request(port, "/id").status == 200
    return False


@test()
def test_a_file_at_the_admin_sockets_path_is_not_deleted(rig):
    lbd = rig.lbd(simple_config(free_port(), [rig.origin()]), start=False)
    with open(lbd.socket, "w") as file:
        file.write("precious")
    lbd.start(ready=False)
    wait_until(lambda: not lbd.process.running(), 10, "lbd runs without its admin socket")
    check("is not a socket" in lbd.process.stderr(), lbd.process.tail())
    with open(lbd.socket) as file:
        check_equal(file.read(), "precious", "the file")
    os.unlink(lbd.socket)


@test()
def test_a_reload_while_stopping_is_refused_and_new_connections_are_too(rig):
    lbd = rig.proxy([rig.origin()])
    thread = threading.Thread(target=lambda: request(rig.port, "/slow?ms=2500"))
    thread.start()
    time.sleep(0.3)
    lbd.process.signal(signal.SIGTERM)
    time.sleep(0.3)
    code, out, err = lbd.cli("reload", "--wait")
    check(code != 0 and "stopping" in out + err, f"reload while stopping exits {code}: {out}{err}")
    try:
        with Wire(rig.port) as wire:
            wire.send("GET /id HTTP/1.1\r\nhost: x\r\n\r\n")
            check(wire.reply() is None, "a new connection is served while stopping")
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("a new connection is accepted by nobody while stopping")
    thread.join()
    check_equal(lbd.process.wait(15), 0, "exit code")

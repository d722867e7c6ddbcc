"""Layer 4: TCP as it comes, and TLS that is passed through by the name its client asks for."""
import contextlib
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from http_text import NO_CHECKS
from proxy_protocol import read_header, v2
from rig import PYTHON, RawOrigin, Wire, check, check_equal, free_port, slowness, test
from rig import wait_until
from test_bodies_and_reload import MIB, Peak
from test_tls import Authority
from tls_origin import TlsOrigin, server_context

QUICK_TCP = {"interval": "200ms", "timeout": "200ms", "healthy": 1, "unhealthy": 1}


def echo(connection, _=0):
    while data := connection.recv(65536):
        connection.sendall(data)


def named(name):
    """Says who it is, then echoes."""

    def script(connection, _):
        connection.sendall(name)
        echo(connection)

    return script


NAMED = """
import socket, sys, threading
def serve(connection):
    connection.sendall(sys.argv[1].encode())
    while data := connection.recv(65536):
        connection.sendall(data)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def named_process(rig, name, port):
    """The same in a process of its own, which may be killed."""
    process = rig.process([PYTHON, "-c", NAMED, name, str(port)], f"target-{name}")
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 10, "no target")
    return process


def group_of(targets, **more):
    listed = [t if isinstance(t, dict) else t.target() for t in targets]
    return {"protocol": "tcp", "targets": listed, **NO_CHECKS, **more}


def tcp_config(port, targets, group=None, listener=None, node=None):
    return {
        "node": node or {},
        "listeners": {"db": {"listen": [f"127.0.0.1:{port}"], "protocol": "tcp",
                             "default": {"forward": "db"}, **(listener or {})}},
        "target_groups": {"db": group_of(targets, **(group or {}))},
    }


def balanced(rig, targets, group=None, listener=None, **node):
    rig.port = free_port()
    return rig.lbd(tcp_config(rig.port, targets, group, listener, node))


def exact(wire, data):
    wire.send(data)
    check_equal(wire.stream.read(len(data)), data, "came back")


def is_refused(port):
    """True when a connection is closed without a byte, perhaps before it seems to be open."""
    try:
        with Wire(port) as wire:
            return wire.at_end()
    except ConnectionResetError:
        return True


def last_line(lbd, count=1):
    wait_until(lambda: len(lbd.access_log()) >= count, 10, "no line in the access log")
    return lbd.access_log()[count - 1]


def sites(rig, **more):
    """Two TLS origins of different names behind one passthrough listener."""
    authority = Authority(rig.folder)
    files = {name: authority.make(name, f"{name}.test", f"*.{name}.test")
             for name in ("shop", "blog")}

    def answer(name):
        def script(wire):
            wire.recv(65536)
            wire.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" %
                         (len(name), name.encode()))
        return script

    origins = {name: TlsOrigin(rig, server_context(files[name]), answer(name)) for name in files}
    rig.port = free_port()
    lbd = rig.lbd({
        "listeners": {"sites": {
            "listen": [f"127.0.0.1:{rig.port}"], "protocol": "tls",
            "rules": [
                {"name": "shop", "when": {"sni": ["shop.test", "*.shop.test"]},
                 "then": {"forward": "shop"}},
                {"name": "blog", "when": {"sni": "blog.test"}, "then": {"forward": "blog"}}],
            **more}},
        "target_groups": {name: group_of([origin]) for name, origin in origins.items()}})
    return lbd, files, origins


def curl(rig, name, files):
    command = ["curl", "-sS", "--cacert", files["chain"], "--connect-to",
               f"{name}:443:127.0.0.1:{rig.port}", f"https://{name}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 * slowness())
    return done.returncode, done.stdout, done.stderr


@test()
def test_tls_goes_by_its_name_to_targets_whose_certificates_clients_verify(rig):
    lbd, files, origins = sites(rig)
    check_equal(curl(rig, "shop.test", files["shop"])[:2], (0, "shop"), "curl at the shop")
    check_equal(curl(rig, "img.shop.test", files["shop"])[:2], (0, "shop"), "a wildcard's")
    check_equal(curl(rig, "blog.test", files["blog"])[:2], (0, "blog"), "curl at the blog")
    code, _, _ = curl(rig, "blog.test", files["shop"])
    check_equal(code, 60, "another's certificate is shown by nobody")
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{rig.port}", "-servername", "SHOP.test",
         "-verify_return_error", "-verify_hostname", "shop.test", "-CAfile",
         files["shop"]["chain"]],
        input="GET / HTTP/1.1\r\n\r\n", capture_output=True, text=True, timeout=30 * slowness())
    check("Verification: OK" in done.stdout, f"openssl: {done.stdout[-500:]} {done.stderr}")
    check_equal(origins["shop"].asked[:2], ["shop.test", "img.shop.test"], "names at the shop")
    last_line(lbd, 5)  # workers write in no order
    line = next(each for each in lbd.access_log() if each["sni"] == "shop.test")
    check_equal((line["protocol"], line["sni"], line["rule"], line["target_group"]),
                ("tls", "shop.test", "shop", "shop"), "logged")
    check(line["request_bytes"] > 200 and line["response_bytes"] > 500, f"bytes: {line}")
    check("status" not in line and "method" not in line, f"HTTP in the log of TLS: {line}")


@test()
def test_a_name_without_a_rule_and_what_is_no_tls_get_an_alert(rig):
    lbd, files, _ = sites(rig)
    code, _, error = curl(rig, "other.test", files["shop"])
    check_equal(code, 35, "curl")
    check("unrecognized name" in error, error)
    with Wire(rig.port) as wire:
        wire.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        check_equal(wire.stream.read(), b"\x15\x03\x01\x00\x02\x02\x32", "decode_error")
    last_line(lbd, 2)
    reasons = {each["reason"] for each in lbd.access_log()}  # workers write in no order
    check_equal(reasons, {"no_route", "client_protocol"}, "reasons")
    check_equal(lbd.metric("lbd_request_failures_total", reason="no_route"), 1, "counted")
    check_equal(lbd.metric("lbd_layer4_connections_total", rule="none"), 1, "by rule")


@test()
def test_a_client_hello_may_come_in_any_pieces_and_records(rig):
    _, files, _ = sites(rig)
    for piece in (1, 7, 300):
        context = ssl.create_default_context(cafile=files["shop"]["chain"])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="shop.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        message = hello[5:]
        half = len(message) // 3
        cut = b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part
                       for part in (message[:half], message[half:]))
        with Wire(rig.port) as wire:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(cut), piece):
                wire.send(cut[at:at + piece])
                time.sleep(0.001)
            while True:
                incoming.write(wire.socket.recv(65536))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    continue
            check_equal(tls.getpeercert()["subject"][0][0][1], "shop", f"in pieces of {piece}")


@test()
def test_each_side_may_end_its_half_first(rig):
    got = []

    def script(connection, number):
        if number == 0:
            data = b""
            while piece := connection.recv(65536):
                data += piece
            got.append(data)
            connection.sendall(b"x" * 100_000)
        else:
            connection.sendall(b"bye")
            connection.shutdown(socket.SHUT_WR)
            got.append(connection.recv(65536))

    lbd = balanced(rig, [RawOrigin(rig, script)])
    with Wire(rig.port) as wire:
        wire.send("last words")
        wire.socket.shutdown(socket.SHUT_WR)
        check_equal(len(wire.stream.read()), 100_000, "what came after the half-close")
    check_equal(got, [b"last words"], "what the target got")
    line = last_line(lbd)
    check_equal((line["request_bytes"], line["response_bytes"]), (10, 100_000), "bytes logged")
    check("reason" not in line and line["protocol"] == "tcp", f"{line}")
    with Wire(rig.port) as wire:
        check_equal(wire.stream.read(), b"bye", "what the client got")
        wire.send("more")
        wait_until(lambda: len(got) == 2, 10, "nothing came after the target's end")
    check_equal(got[1], b"more", "what the target got")
    check_equal(lbd.metric("lbd_request_body_bytes_total", listener="db"), 14, "bytes up")
    check_equal(lbd.metric("lbd_response_body_bytes_total", listener="db"), 100_003, "bytes down")


@test(profile="default", timeout=120)
def test_two_hundred_megabytes_to_a_slow_reader_take_little_memory(rig):
    size = 200 * MIB
    sent = []

    def script(connection, _):
        for _ in range(size // MIB):
            connection.sendall(bytes(MIB))
            sent.append(1)

    lbd = balanced(rig, [RawOrigin(rig, script)])
    with Wire(rig.port, timeout=60) as wire, Peak(lbd) as peak:
        wire.socket.recv(1)
        standing = -1
        while standing != len(sent):  # until all buffers on the way are full
            standing = len(sent)
            time.sleep(0.5)
        check(len(sent) < 100, f"{len(sent)} MiB went to a client that reads nothing")
        count = 1
        while piece := wire.socket.recv(MIB):
            count += len(piece)
    check_equal(count, size, "bytes")
    check(peak.largest - peak.before < 8 * MIB, f"{(peak.largest - peak.before) // 1024} KiB more")


@test()
def test_a_target_that_dies_takes_only_its_own_connections(rig):
    pa, pb = free_port(), free_port()
    first, second = named_process(rig, "a", pa), named_process(rig, "b", pb)
    targets = [{"address": f"127.0.0.1:{port}", "zone": "a"} for port in (pa, pb)]
    turns = {"health_check": QUICK_TCP, "balance": "round_robin"}
    lbd = balanced(rig, targets, turns, workers=1)  # turns are a worker's own
    lbd.wait_states({f"127.0.0.1:{pa}": "healthy", f"127.0.0.1:{pb}": "healthy"})
    wires = [Wire(rig.port) for _ in range(6)]
    names = [wire.stream.read(1) for wire in wires]
    check_equal(sorted(names), [b"a"] * 3 + [b"b"] * 3, "spread")
    first.kill()
    for wire, name in zip(wires, names):
        if name == b"b":
            exact(wire, b"still here")
        else:
            check(wire.at_end(), "a connection to a dead target stays open")
    for _ in range(10):
        with Wire(rig.port) as wire:
            check_equal(wire.stream.read(1), b"b", "where a new one goes")
    lbd.wait_states({f"127.0.0.1:{pa}": "unhealthy"})
    check(second.running(), "the other target")
    for wire in wires:
        wire.close()


@test()
def test_a_drained_target_keeps_what_it_has_and_its_count_is_exact(rig):
    a, b = RawOrigin(rig, named(b"a")), RawOrigin(rig, named(b"b"))
    lbd = balanced(rig, [a, b], {"balance": "round_robin"}, workers=1)
    wires = [Wire(rig.port) for _ in range(4)]
    names = [wire.stream.read(1) for wire in wires]
    check_equal(sorted(names), [b"a", b"a", b"b", b"b"], "spread")
    code, out, err = lbd.cli("drain", a.text)
    check_equal(code, 0, f"lbd drain: {out}{err}")
    lbd.wait_states({a.text: "draining"})
    for _ in range(4):
        with Wire(rig.port) as wire:
            check_equal(wire.stream.read(1), b"b", "a new one while the other drains")

    def in_flight():
        return next(t["in_flight"] for t in lbd.targets() if t["address"] == a.text)

    check_equal(in_flight(), 2, "open connections of the draining target")
    for wire in wires:
        exact(wire, b"goes on")
    wires[names.index(b"a")].close()
    wait_until(lambda: in_flight() == 1, 10, "the count does not follow")
    lbd.cli("undrain", a.text)
    lbd.wait_states({a.text: "healthy"})
    found = set()
    for _ in range(4):
        with Wire(rig.port) as wire:
            found.add(wire.stream.read(1))
    check_equal(found, {b"a", b"b"}, "after undrain")
    for wire in wires:
        wire.close()


@test()
def test_a_reload_keeps_connections_even_of_what_it_removes(rig):
    a, b = RawOrigin(rig, named(b"a")), RawOrigin(rig, named(b"b"))
    lbd = balanced(rig, [a])
    with Wire(rig.port) as wire:
        check_equal(wire.stream.read(1), b"a", "the first")
        for _ in range(3):
            check_equal(lbd.reload(tcp_config(rig.port, [b]))[0], 0, "reload")
            exact(wire, b"after a reload")
        with Wire(rig.port) as other:
            check_equal(other.stream.read(1), b"b", "a new one")
        config = tcp_config(free_port(), [b])
        config["listeners"]["elsewhere"] = config["listeners"].pop("db")
        code, _, err = lbd.reload(config)
        check_equal(code, 0, f"reload without the listener: {err}")
        exact(wire, b"without its listener")


@test()
def test_targets_get_real_addresses_by_the_proxy_protocol(rig):
    seen = []

    def script(connection, _):
        stream = connection.makefile("rb")
        seen.append(read_header(stream))
        connection.sendall(stream.read(4))

    trusted = {"proxy_protocol": {"trusted": ["127.0.0.0/8"]},
               "rules": [{"name": "office", "when": {"source_ip": "192.0.2.0/24"},
                          "then": {"forward": "db"}}]}
    lbd = balanced(rig, [RawOrigin(rig, script)], {"proxy_protocol": "v2"}, trusted)
    with Wire(rig.port) as wire:
        wire.send(v2() + b"ping")
        check_equal(wire.stream.read(), b"ping", "what comes behind the header")
    check_equal(seen, [("192.0.2.7", 4711, "198.51.100.1", 443)], "at the target")
    line = last_line(lbd)
    check_equal((line["client_ip"], line["rule"]), ("192.0.2.7", "office"), "in the log")
    del trusted["proxy_protocol"], trusted["rules"]
    config = tcp_config(rig.port, [], listener=trusted)
    config["target_groups"] = lbd.config["target_groups"]
    check_equal(lbd.reload(config)[0], 0, "reload")
    with Wire(rig.port) as wire:
        own = wire.socket.getsockname()
        wire.send(b"ping")
        check_equal(wire.stream.read(), b"ping", "without a header of its own")
    check_equal(seen[1], (own[0], own[1], "127.0.0.1", rig.port), "the client's own address")


@test()
def test_an_idle_connection_ends_and_one_that_is_used_does_not(rig):
    lbd = balanced(rig, [RawOrigin(rig, echo)], listener={"timeouts": {"tunnel_idle": "1s"}})
    with Wire(rig.port) as used, Wire(rig.port) as idle:
        exact(idle, b"once")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            exact(used, b"again")
            time.sleep(0.1)
        check(idle.at_end(), "an idle connection stays open")
        line = last_line(lbd)
        check_equal((line["reason"], line["cut"]), ("tunnel_timeout", True), "logged")
        exact(used, b"still")


@test()
def test_sigterm_leaves_connections_until_the_drain_deadline(rig):
    lbd = balanced(rig, [RawOrigin(rig, echo)], drain_deadline="2s")
    with Wire(rig.port) as stays, Wire(rig.port) as leaves:
        exact(stays, b"before")
        exact(leaves, b"before")
        lbd.process.signal(signal.SIGTERM)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", rig.port)) != 0, 10,
                   "it still listens")
        exact(stays, b"after")
        exact(leaves, b"after")
        leaves.close()
        check(stays.at_end(10), "a connection outlives the drain deadline")
    check_equal(lbd.process.wait(10), 0, "exit code")
    # Who looked whether it still listens may be in the log, too.
    cut = [line["reason"] for line in lbd.access_log() if "reason" in line]
    check_equal(cut, ["drain_deadline"], "logged")
    lbd.process = None


@test()
def test_a_process_without_connections_does_not_wait_for_the_deadline(rig):
    lbd = balanced(rig, [RawOrigin(rig, echo)], drain_deadline="60s")
    with Wire(rig.port) as wire:
        exact(wire, b"x")
    lbd.stop(deadline=15)


@test()
def test_targets_on_unix_sockets_and_by_name_work(rig):
    path = str(rig.folder / "db.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    rig.closers.append(listener.close)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    lbd = balanced(rig, [{"address": f"unix:{path}"}])
    with Wire(rig.port) as wire:
        exact(wire, b"through a file")
    origin = RawOrigin(rig, echo)
    by_name = tcp_config(rig.port, [{"name": "localhost", "port": origin.port}])
    check_equal(lbd.reload(by_name)[0], 0, "reload")
    wait_until(lambda: any(str(origin.port) in t["address"] for t in lbd.targets()), 10, "no name")
    with Wire(rig.port) as wire:
        exact(wire, b"by name")


@test()
def test_tls_that_ends_here_is_passed_on_plain(rig):
    authority = Authority(rig.folder)
    files = authority.make("db")
    tls = {"tls": {"certificates": [files]}}
    lbd = balanced(rig, [RawOrigin(rig, echo)], listener=tls)
    context = ssl.create_default_context(cafile=files["chain"])
    context.set_alpn_protocols(["h2", "http/1.1", "postgresql"])
    with Wire(rig.port) as wire:
        with context.wrap_socket(wire.socket, server_hostname="db.test") as client:
            client.sendall(b"plain inside")
            check_equal(client.recv(100), b"plain inside", "came back")
            check_equal(client.selected_alpn_protocol(), None, "a protocol nobody knows of")
    line = last_line(lbd)
    check_equal((line["protocol"], line["sni"]), ("tcp", "db.test"), "logged")
    check(line["tls_version"].startswith("TLS"), f"{line}")


@test()
def test_what_it_says_of_itself_is_so(rig):
    lbd, _, origins = sites(rig)
    for url, rule, action in (
        ("https://shop.test/", "shop", "forward"),
        ("https://other.test/", None, "close no_route"),
        ("http://shop.test/", None, "close client_protocol"),
    ):
        (listener,) = lbd.json("explain", "GET", url)["listeners"]
        answer = listener["answers"][0]
        check_equal((answer["rule"], answer["action"]), (rule, action), url)
    code, out, _ = lbd.cli("targets")
    check(code == 0 and origins["shop"].text in out, f"lbd targets: {out}")
    with Wire(rig.port):
        labels = {"listener": "sites", "protocol": "tls"}
        wait_until(lambda: lbd.metric("lbd_open_connections", **labels) == 1, 10, "not counted")


@test()
def test_a_target_gets_no_more_connections_than_it_may_have(rig):
    lbd = balanced(rig, [RawOrigin(rig, echo)], {"limits": {"requests_per_target_max": 2}})
    with Wire(rig.port) as one, Wire(rig.port) as two:
        exact(one, b"1")
        exact(two, b"2")
        check(is_refused(rig.port), "more than the target's limit")
        check_equal(last_line(lbd)["reason"], "queue_full", "reason")
        one.close()
        wait_until(lambda: lbd.metric("lbd_requests_in_flight", target_group="db") == 1, 10, "free")
        with Wire(rig.port) as three:
            exact(three, b"3")


@test()
def test_connections_max_counts_them(rig):
    lbd = balanced(rig, [RawOrigin(rig, echo)], workers=1, connections_max=1)
    with Wire(rig.port) as one:
        exact(one, b"1")
        check(is_refused(rig.port), "more than connections_max")
    check_equal(lbd.metric("lbd_connections_shed_total", listener="db"), 1, "shed")

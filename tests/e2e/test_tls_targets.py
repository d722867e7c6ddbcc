"""TLS to targets: who is trusted, what is shown, and what an admin learns when it fails."""
import contextlib
import ssl
import subprocess
import time
import zlib

from http_text import NO_CHECKS, answer, get
from rig import QUICK_CHECK, RawOrigin, Wire, check, check_equal, free_port, request
from rig import simple_config, test, wait_until
from test_tls import Authority
from test_websocket import SWITCH, opened
from tls_origin import TlsOrigin, server_context

BY_NAME = {"server_name": "app.test"}


def https_group(trust=None, **more):
    """A group over https without checks, one attempt a request; `more` goes into its `tls`."""
    tls = {**({"trust": trust["chain"]} if trust else {}), **more}
    return {**NO_CHECKS, "protocol": "https", "tls": tls, "retries": {"attempts": 1}}


@test()
def test_a_target_is_asked_for_its_name_and_trusted_by_its_authority(rig):
    files = Authority(rig.folder).make("app")
    target = TlsOrigin(rig, server_context(files), rig.origin())
    lbd = rig.proxy([target], https_group(files, **BY_NAME), workers=1)
    for _ in range(3):
        reply = request(rig.port, "/headers")
        check_equal(reply.status, 200, "status")
        check(b'["X-Forwarded-Proto", "http"]' in reply.body, f"the target sees {reply.body}")
    check_equal(target.asked, ["app.test"], "server names of the one connection")
    check_equal(lbd.metric("lbd_target_tls_handshakes_total", version="TLSv1.3"), 1, "counted")
    check_equal(lbd.metric("lbd_target_tls_errors_total"), 0, "errors")


@test()
def test_the_time_of_a_response_does_not_hold_that_of_connecting(rig):
    files = Authority(rig.folder).make("app")

    class SlowHands(TlsOrigin):
        def _shake_hands(self, connection, number):
            time.sleep(0.3)
            super()._shake_hands(connection, number)

    target = SlowHands(rig, server_context(files), rig.origin())
    lbd = rig.proxy([target], https_group(files, **BY_NAME), workers=1)
    check_equal(request(rig.port, "/id").status, 200, "status")
    wait_until(lambda: len(lbd.access_log()) == 1, 10, "no line")
    line = lbd.access_log()[0]
    attempt = line["attempts"][0]
    connect, response = attempt["connect_seconds"], attempt["response_seconds"]
    check(connect >= 0.3 and 0 < response, f"{line}")
    microseconds = round((connect + response) * 1e6)
    check(microseconds <= round(line["duration_seconds"] * 1e6), f"{line}")
    counted = lbd.metric("lbd_target_response_seconds_sum")
    check(abs(counted - response) < 0.001, f"{counted} in the metric, {response} in the log")


@test()
def test_without_a_name_the_certificate_must_name_the_address(rig):
    authority = Authority(rig.folder)
    by_ip, by_name = authority.make("ip", "IP:127.0.0.1"), authority.make("app")
    target = TlsOrigin(rig, server_context(by_ip), rig.origin())
    rig.proxy([target], https_group(by_ip))
    check_equal(request(rig.port, "/id").status, 200, "a certificate of 127.0.0.1")
    check_equal(target.asked, [None], "no server name is asked for")
    other = TlsOrigin(rig, server_context(by_name), rig.origin("other"))
    config = simple_config(free_port(), [other], https_group(by_name))
    lbd = rig.lbd(config, name="second")
    port = int(config["listeners"]["public"]["listen"][0].rpartition(":")[2])
    reply = request(port, "/id")
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (502, "tls_failed"), "another name")
    wait_until(lambda: "wanted 127.0.0.1" in lbd.process.stderr(), 10, "not told")


@test()
def test_a_target_that_cannot_be_trusted_gets_no_request_and_says_why(rig):
    authority = Authority(rig.folder)
    good, stranger = authority.make("app"), authority.make("stranger", "app.test")
    old = authority.expire(authority.make("old", "app.test"))
    origin, plain = rig.origin(), rig.origin("plain")

    def not_tls(connection, _):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    def hangs_up(connection, _):
        connection.recv(65536)

    cases = {
        "name": (TlsOrigin(rig, server_context(good), origin), good, "other.test",
                 "wanted other.test", "certificate"),
        "expired": (TlsOrigin(rig, server_context(old), origin), old, "app.test",
                    "certificate has expired", "certificate"),
        "unknown": (TlsOrigin(rig, server_context(stranger), origin), good, "app.test",
                    "self-signed certificate", "certificate"),
        "plain": (RawOrigin(rig, not_tls), good, "app.test", "", "not_tls"),
        "gone": (RawOrigin(rig, hangs_up), good, "app.test", "", "closed"),
    }
    port = free_port()
    config = simple_config(port, [plain])
    rules = config["listeners"]["public"]["rules"] = []
    for name, (target, trust, wanted, _, _) in cases.items():
        for checked in ("", "-checked"):
            group = {**https_group(trust, server_name=wanted), "port": 80, "passive": "off",
                     "targets": [target.target()]}
            if checked:
                group["health_check"] = QUICK_CHECK | {"timeout": "200ms"}
            config["target_groups"][name + checked] = group
            rules.append({"name": name + checked, "when": {"path": f"/{name}{checked}"},
                          "then": {"forward": name + checked}})
    before = origin.served()
    lbd = rig.lbd(config)
    for name, (_, _, _, words, fault) in cases.items():
        reply = request(port, f"/{name}")
        got = (reply.status, reply.headers.get("x-lbd-reason"))
        check_equal(got, (502, "tls_failed"), name)
        failed = lbd.metric("lbd_target_tls_errors_total", target_group=name, reason=fault)
        check_equal(failed, 1, f"{name} counted as {fault}: {lbd.metrics()}")
        reasons = lambda: [t["reason"] for t in lbd.targets(f"{name}-checked")]  # noqa: B023,E731
        wait_until(lambda: reasons()[0].startswith("tls_failed: "), 10, f"{name}: {reasons()}")
        check(words in reasons()[0] and len(reasons()[0]) > 14, f"{name}: {reasons()}")
        told = f'target_group={name} target={cases[name][0].text} reason={fault}'
        wait_until(lambda: told in lbd.process.stderr(), 5, f"not told: {told}")  # noqa: B023
    check_equal(origin.served(), before + 1, "requests that reached the origin; ours is one")


@test()
def test_unverified_targets_are_used_when_told_so(rig):
    authority = Authority(rig.folder)
    files = authority.expire(authority.make("whoever"))
    target = TlsOrigin(rig, server_context(files), rig.origin())
    rig.proxy([target], https_group(verify=False))
    check_equal(request(rig.port, "/id").status, 200, "status")


@test()
def test_targets_of_the_systems_authorities_are_trusted_without_a_file(rig):
    files = Authority(rig.folder).make("app")
    target = TlsOrigin(rig, server_context(files), rig.origin())
    config = simple_config(free_port(), [target], https_group(**BY_NAME))
    port = int(config["listeners"]["public"]["listen"][0].rpartition(":")[2])
    rig.lbd(config, env={"SSL_CERT_FILE": files["chain"]})
    check_equal(request(port, "/id").status, 200, "status")


@test()
def test_targets_that_want_a_certificate_are_shown_one(rig):
    authority = Authority(rig.folder)
    files, ours, wrong = authority.make("app"), authority.make("lbd"), authority.make("wrong")
    origin = rig.origin()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        target = TlsOrigin(rig, server_context(files, ours, version), origin)
        port = free_port()
        config = simple_config(port, [target], https_group(files, **BY_NAME, certificate=ours))
        config["target_groups"]["app"]["health_check"] = {**QUICK_CHECK, "timeout": "200ms"}
        lbd = rig.lbd(config, name=f"lbd-{version.name}")
        lbd.wait_states({target.text: "healthy"})
        check_equal(request(port, "/id").status, 200, f"with it, {version.name}")
        check_equal(target.clients[-1], {"commonName": "lbd"}, "who the target sees")
        for tls in ({}, {"certificate": wrong}):
            changed = https_group(files, **BY_NAME, **tls)
            config["target_groups"]["app"] |= changed | {"health_check": "off"}
            check_equal(lbd.reload(config)[0], 0, "reload")
            before = lbd.metric("lbd_target_tls_errors_total")
            reply = request(port, "/id")
            got = (reply.status, reply.headers.get("x-lbd-reason"))
            check_equal(got, (502, "tls_failed"), f"{version.name} with {tls}")
            check_equal(lbd.metric("lbd_target_tls_errors_total"), before + 1, "counted")
        config["target_groups"]["app"]["health_check"] = {**QUICK_CHECK, "timeout": "200ms"}
        check_equal(lbd.reload(config)[0], 0, "reload")
        lbd.wait_states({target.text: "unhealthy"})
        reason = lbd.targets()[0]["reason"]
        check(reason.startswith("tls_failed: ") and "alert" in reason, f"checks say {reason}")


@test()
def test_sessions_with_targets_are_resumed_over_a_reload(rig):
    files = Authority(rig.folder).make("app")
    origin = rig.origin()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        target = TlsOrigin(rig, server_context(files, version=version), origin)
        port = free_port()
        config = simple_config(port, [target], {
            **https_group(files, **BY_NAME), "limits": {"idle_connections_max": 0}})
        lbd = rig.lbd(config, name=f"lbd-{version.name}")
        for _ in range(3):
            check_equal(request(port, "/id").status, 200, "status")
        check_equal(target.resumed, 2, f"resumed, {version.name}")
        config["listeners"]["public"]["timeouts"] = {"idle": "30s"}
        check_equal(lbd.reload(config)[0], 0, "reload")
        check_equal(request(port, "/id").status, 200, "status")
        check_equal(target.resumed, 3, f"resumed after a reload, {version.name}")
        check_equal(lbd.metric("lbd_target_tls_handshakes_total", resumed="true"), 3, "counted")
        check_equal(lbd.metric("lbd_target_tls_handshakes_total", resumed="false"), 1, "counted")
        config["target_groups"]["app"]["tls"] = {"verify": False}
        check_equal(lbd.reload(config)[0], 0, "reload")
        check_equal(request(port, "/id").status, 200, "status")
        check_equal(target.resumed, 3, "under other rules nothing is resumed")


@test()
def test_bodies_of_every_size_pass_both_ways_over_tls_to_targets(rig):
    files = Authority(rig.folder).make("app")
    target = TlsOrigin(rig, server_context(files), rig.origin())
    rig.proxy([target], https_group(files, **BY_NAME))
    for size in (0, 1, 1399, 1400, 16384, 16385, 300_000, 8_000_000):
        reply = request(rig.port, f"/size?n={size}", timeout=60)
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        check_equal((reply.status, len(reply.body)), (200, size), f"download of {size}")
        check(reply.body == body, f"bytes of {size}")
        reply = request(rig.port, "/checksum", "POST", body=body, timeout=60)
        check_equal(reply.json()["bytes"], size, "upload")
        check_equal(reply.json()["crc32"], zlib.crc32(body), f"checksum of {size}")


@test()
def test_a_request_goes_to_another_target_when_the_first_cannot_be_trusted(rig):
    """A POST too: nothing was sent. And a target that fails so is ejected like one that is down."""
    authority = Authority(rig.folder)
    good, bad = authority.make("app"), authority.make("bad", "app.test")
    origin = rig.origin()
    targets = [TlsOrigin(rig, server_context(f), origin) for f in (bad, good)]
    group = {**https_group(good, **BY_NAME), "retries": {"attempts": 2},
             "limits": {"idle_connections_max": 0}, "balance": "round_robin"}
    lbd = rig.proxy(targets, group)
    for number in range(20):
        reply = request(rig.port, "/echo", "POST", body=b"x")
        check_equal(reply.status, 200, f"request {number}")
    lbd.wait_states({targets[0].text: "ejected", targets[1].text: "healthy"})
    check("tls_failed" in str(lbd.access_log()), "no attempt in the log says so")


@test()
def test_a_request_that_a_target_refused_by_its_certificate_goes_to_another(rig):
    """With TLS 1.3 the refusal comes when the request may be under way, or the target gone."""
    authority = Authority(rig.folder)
    files, ours, others = (authority.make(name) for name in ("app", "lbd", "others"))
    origin = rig.origin()
    targets = [TlsOrigin(rig, server_context(files, who), origin) for who in (others, ours)]
    group = {**https_group(files, **BY_NAME, certificate=ours), "retries": {"attempts": 2},
             "limits": {"idle_connections_max": 0}, "balance": "round_robin"}
    lbd = rig.proxy(targets, group)
    with Wire(rig.port) as wire:
        for number in range(40):
            wire.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            reply = wire.reply()
            check_equal(reply.status, 200, f"request {number}: {reply.headers}")
    lbd.wait_states({targets[0].text: "ejected", targets[1].text: "healthy"})
    rows = wait_until(lambda: (r := lbd.access_log()) and len(r) == 40 and r, 10, "rows missing")
    failed = [a["reason"] for row in rows for a in row["attempts"] if "reason" in a]
    check(failed, f"no attempt failed: {rows[0]}")
    check_equal(set(failed), {"tls_failed"}, f"why attempts failed: {rows}")
    check_equal(lbd.metric("lbd_target_tls_errors_total", reason="client_certificate"),
                len(failed), "counted")


@test()
def test_a_body_cut_off_without_a_goodbye_is_not_passed_off_as_whole(rig):
    """Anyone on the way can end a TCP connection; only the target can say close_notify."""
    files = Authority(rig.folder).make("app")

    def until_close(polite):
        def script(wire):
            wire.recv(65536)
            wire.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npart")
            if polite:
                with contextlib.suppress(OSError):
                    wire.unwrap()

        return script

    for polite in (True, False):
        target = TlsOrigin(rig, server_context(files), until_close(polite))
        rig.port = free_port()
        config = simple_config(rig.port, [target], https_group(files, **BY_NAME))
        rig.lbd(config, name=f"lbd-{polite}")
        with Wire(rig.port) as wire:
            wire.send(get())
            if polite:
                check_equal(wire.reply().body, b"part", "after a close_notify")
                continue
            with contextlib.suppress(OSError, ValueError, AssertionError):
                reply = wire.reply()
                check(reply.body != b"part" or wire.at_end(), "passed off as whole")
            check(wire.at_end(), "the connection goes on")


@test()
def test_a_tunnel_over_tls_to_a_target_ends_with_or_without_a_goodbye(rig):
    files = Authority(rig.folder).make("app")

    def echo(polite):
        def script(wire):
            wire.recv(65536)
            wire.sendall(SWITCH)
            wire.sendall(wire.recv(100))
            if polite:
                wire.unwrap()

        return script

    targets = [TlsOrigin(rig, server_context(files), echo(polite)) for polite in (True, False)]
    for number, target in enumerate(targets):
        rig.port = free_port()
        config = simple_config(rig.port, [target], https_group(files, **BY_NAME))
        lbd = rig.lbd(config, name=f"lbd-{number}")
        with Wire(rig.port) as wire:
            opened(rig, wire)
            wire.send("hello")
            check_equal(wire.stream.read(5), b"hello", "echo")
            check(wire.at_end(), "the tunnel goes on")
        rows = wait_until(lambda: lbd.access_log(), 10, "no row")  # noqa: B023
        check_equal((rows[0]["status"], rows[0].get("reason")), (101, None), f"the log: {rows[0]}")


@test()
def test_kept_connections_end_when_the_group_changes_how_it_speaks(rig):
    files = Authority(rig.folder).make("app")
    greeting = b"\x16\x03"
    plain = rig.origin()

    def both(connection, number):
        """TLS or plain on one port: what the first bytes say."""
        import socket as sockets
        first = connection.recv(2, sockets.MSG_PEEK)
        kinds.append("tls" if first == greeting else "plain")
        if first == greeting:
            secure._shake_hands(connection, number)
        else:
            while secure.head(connection):
                answer(connection)

    kinds = []
    secure = TlsOrigin(rig, server_context(files), plain)
    target = RawOrigin(rig, both)
    port = free_port()
    group = {**NO_CHECKS, "retries": {"attempts": 1}}
    lbd = rig.lbd(simple_config(port, [target], group, node={"workers": 1}))
    check_equal(request(port, "/id").status, 200, "plain")
    over_tls = simple_config(port, [target], https_group(files, **BY_NAME), node={"workers": 1})
    for config in (over_tls, simple_config(port, [target], group, node={"workers": 1})):
        check_equal(lbd.reload(config)[0], 0, "reload")
        for _ in range(2):
            check_equal(request(port, "/id").status, 200, "after the reload")
    check_equal(kinds, ["plain", "tls", "plain"], "connections")


@test()
def test_changed_files_of_a_group_are_used_without_a_reload_and_broken_ones_are_not(rig):
    authority = Authority(rig.folder)
    files, ours = authority.make("app"), authority.make("lbd")
    origin = rig.origin()
    target = TlsOrigin(rig, server_context(files, ours), origin)
    group = {**https_group(files, **BY_NAME, certificate=ours),
             "health_check": {**QUICK_CHECK, "timeout": "200ms"}}
    lbd = rig.proxy([target], group)
    check_equal(request(rig.port, "/id").status, 200, "before")
    labels = {"target_group": "app", "name": "lbd.test"}
    check_equal(lbd.metric("lbd_certificate_current", **labels), 1, "current")
    with open(ours["key"], "w") as file:
        file.write("not a key\n")
    wait_until(lambda: lbd.metric("lbd_certificate_current", **labels) == 0, 15, "no complaint")
    check("certificate not read again" in lbd.process.stderr(), "nothing in the log")
    check_equal(request(rig.port, "/id").status, 200, "with a broken key on disk")
    code, out, err = lbd.cli("reload", "--wait")
    check(code == 1 and ours["key"] in out + err, f"reload with it exits {code}: {out}{err}")
    authority.make("lbd")
    authority.make("app")
    target.context = server_context(files, ours)
    wait_until(lambda: lbd.metric("lbd_certificate_current", **labels) == 1, 15, "not mended")
    wait_until(lambda: "authorities read again" in lbd.process.stderr(), 15, "trust not read")
    lbd.wait_states({target.text: "healthy"})
    time.sleep(0.5)
    check_equal(request(rig.port, "/id").status, 200, "with the new ones on both sides")
    with open(files["chain"], "w") as file:
        file.write("no certificate\n")
    wait_until(lambda: "certificates not used" in lbd.process.stderr(), 15, "trust not told")
    check_equal(request(rig.port, "/id").status, 200, "with a broken trust file on disk")
    code, out, err = lbd.cli("reload", "--wait")
    check(code == 1 and files["chain"] in out + err, f"reload with it exits {code}: {out}{err}")


@test()
def test_checks_go_the_way_of_the_requests_unless_told_otherwise(rig):
    files = Authority(rig.folder).make("app")
    plain = rig.origin()
    target = TlsOrigin(rig, server_context(files), plain)
    groups = {
        "follows": (target, "https", {}, "healthy"),
        "tcp": (target, "https", {"protocol": "tcp"}, "healthy"),
        "http": (target, "https", {"protocol": "http", "port": plain.port}, "healthy"),
        "wrong": (target, "https", {"protocol": "http"}, "unhealthy"),
        "checks-only": (plain, "http", {"protocol": "https", "port": target.port}, "healthy"),
    }
    config = simple_config(free_port(), [plain])
    for name, (place, protocol, checks, _) in groups.items():
        config["target_groups"][name] = {
            "protocol": protocol, "tls": {"trust": files["chain"], **BY_NAME}, "port": 80,
            "health_check": {**QUICK_CHECK, "timeout": "200ms", **checks},
            "targets": [place.target()]}
    lbd = rig.lbd(config)
    for name, (*_, state) in groups.items():
        wait_until(lambda: lbd.targets(name)[0]["state"] == state, 10,  # noqa: B023
                   lambda: f"{name}: {lbd.targets(name)}")  # noqa: B023


@test()
def test_check_reads_certificates_and_names_each_file_that_is_no_use(rig):
    authority = Authority(rig.folder)
    files, other = authority.make("app"), authority.make("other")
    mixed = {"chain": files["chain"], "key": other["key"]}
    empty = rig.folder / "empty.pem"
    empty.write_text("")
    config = simple_config(free_port(), [rig.origin()], https_group(
        {"chain": str(empty)}, certificate={"chain": "/nowhere/a.pem", "key": files["key"]}))
    config["listeners"]["secure"] = {
        "listen": f"127.0.0.1:{free_port()}", "protocol": "https", "default": {"forward": "app"},
        "tls": {"certificates": [files, mixed]}}
    lbd = rig.lbd(config, start=False)

    def checked():
        command = [lbd.binary, "check", str(lbd.file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    code, err = checked()
    check_equal(code, 78, f"exit code: {err}")
    for words in (other["key"], "/nowhere/a.pem", str(empty), "3 errors"):
        check(words in err, f"'{words}' is not in {err}")
    check_equal(err.count("error[E3042]"), 3, f"errors: {err}")
    config["listeners"]["secure"]["tls"]["certificates"] = [files]
    config["target_groups"]["app"]["tls"] = {"trust": files["chain"], "certificate": files}
    lbd.write(config)
    code, err = checked()
    check_equal((code, "good" in err), (0, True), f"mended: {err}")

"""The PROXY protocol: what clients' addresses become behind a layer-4 balancer, and what targets
are told."""
import contextlib
import socket
import subprocess
import time

from h2_client import H2Client
from http_text import NO_CHECKS, answer, get
from proxy_protocol import V1_UNKNOWN, V2_LOCAL, ProxiedScript, v1, v2, v2_with_checksum
from rig import QUICK_CHECK, RawOrigin, Wire, check, check_equal, free_port
from rig import simple_config, test, wait_until
from test_proxy import seen_fields
from test_rule_changes import ruled
from test_tls import Authority, client_context, fetch
from tls_origin import server_context

TRUSTED = {"proxy_protocol": {"trusted": ["127.0.0.0/8"]}}
OK = {"respond": {"status": 200, "body": "ok"}}


def ask(port, header, path="/headers", *fields):
    """One request on a connection that begins with `header`."""
    with Wire(port) as wire:
        wire.send(header + get(path, *fields).encode())
        return wire.reply()


def refused(port, data):
    """True when a connection that begins so is closed without a byte of an answer."""
    with Wire(port) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(data)
        return wire.at_end()


@test()
def test_the_address_of_the_header_is_the_clients_everywhere(rig):
    lbd = rig.proxy([rig.origin()], listener=TRUSTED)
    for header, ip in (
        (v1(), "192.0.2.7"),
        (v2(), "192.0.2.7"),
        (v1("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
        (v2("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
        (v2(more=b"\x04\x00\x03pad\xea\x00\x01x"), "192.0.2.7"),
        (v2_with_checksum(), "192.0.2.7"),
    ):
        seen = seen_fields(ask(rig.port, header))
        check_equal(seen.get("x-forwarded-for"), [ip], "x-forwarded-for")
        check_equal(seen.get("x-forwarded-port"), ["443"], "the port that the client asked")
        check(ip in seen.get("forwarded", [""])[0], f"forwarded: {seen.get('forwarded')}")
    wait_until(lambda: len(lbd.access_log()) == 6, 5, "no log")
    logged = {(row["client_ip"], row["client_port"]) for row in lbd.access_log()}
    check_equal(logged, {("192.0.2.7", 4711), ("2001:db8::7", 4711)}, "in the log")
    check_equal(lbd.metric("lbd_proxy_protocol_errors_total"), 0, "errors")


@test()
def test_rules_access_lists_and_rates_go_by_the_address_of_the_header(rig):
    limit = [{"by": "source_ip", "requests": 1, "per": "1h", "burst": 1}]
    rules = [
        {"when": {"path": "/rate"}, "then": OK, "rate_limits": limit},
        {"when": {"source_ip": "10.1.0.0/16"}, "then": {"respond": {"status": 202}}},
        {"then": OK, "access": {"deny": ["10.2.0.0/16"]}},
    ]
    ruled(rig, rules, **TRUSTED)
    for source, path, status in (
        ("10.1.2.3", "/", 202),
        ("10.2.2.3", "/", 403),
        ("10.3.2.3", "/", 200),
        ("10.3.2.3", "/rate", 200),
        ("10.3.2.3", "/rate", 429),
        ("10.3.2.4", "/rate", 200),
    ):
        check_equal(ask(rig.port, v2(source), path).status, status, f"{path} from {source}")


@test()
def test_a_proxy_that_speaks_for_itself_keeps_its_own_address(rig):
    rig.proxy([rig.origin()], listener=TRUSTED)
    for header in (V1_UNKNOWN, V2_LOCAL, b"PROXY UNKNOWN ::1 ::1 1 2\r\n"):
        seen = seen_fields(ask(rig.port, header))
        check_equal(seen.get("x-forwarded-for"), ["127.0.0.1"], f"{header}")
        check_equal(seen.get("x-forwarded-port"), [str(rig.port)], f"{header}")


@test()
def test_forwarding_headers_are_believed_of_the_stated_client_and_not_of_its_proxy(rig):
    believed = {"forwarded_headers": {"trusted_proxies": ["127.0.0.0/8", "10.1.0.0/16"]}}
    rules = [{"when": {"source_ip": "203.0.113.9"}, "then": {"respond": {"status": 202}}},
             {"then": OK}]
    ruled(rig, rules, **TRUSTED, **believed)
    forged = "x-forwarded-for: 203.0.113.9"
    check_equal(ask(rig.port, v1("10.1.0.1"), "/", forged).status, 202, "a trusted client")
    check_equal(ask(rig.port, v1("192.0.2.7"), "/", forged).status, 200, "any client")


@test()
def test_a_connection_is_kept_and_its_header_may_come_in_pieces(rig):
    rig.proxy([rig.origin()], listener=TRUSTED)
    for header in (v1(), v2()):
        with Wire(rig.port) as wire:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header:
                wire.send(bytes([byte]))
                time.sleep(0.002)
            for _ in range(3):
                wire.send(get("/headers"))
                seen = seen_fields(wire.reply())
                check_equal(seen.get("x-forwarded-for"), ["192.0.2.7"], "of each request")


@test()
def test_curl_speaks_it(rig):
    rig.proxy([rig.origin()], listener=TRUSTED)
    url = f"http://127.0.0.1:{rig.port}/id"
    with_header = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--haproxy-protocol", url]
    done = subprocess.run(with_header, capture_output=True, text=True, timeout=20)
    check_equal(done.stdout, "200", "with a header")
    without = subprocess.run(["curl", "-s", url], capture_output=True, text=True, timeout=20)
    check(without.returncode in (52, 56), f"without: curl exits {without.returncode}")


@test()
def test_it_comes_before_tls_and_before_http2(rig):
    port, plain, authority = free_port(), free_port(), Authority(rig.folder)
    tls = {"certificates": [authority.make("shop")]}
    origin = rig.origin()
    config = simple_config(port, [origin], listener={"protocol": "https", "tls": tls, **TRUSTED})
    config["listeners"]["plain"] = {
        "listen": [f"127.0.0.1:{plain}"],
        "http2": {"cleartext": True},
        "default": {"forward": "app"},
        **TRUSTED,
    }
    lbd = rig.lbd(config)
    with Wire(port) as wire:
        wire.send(v2())
        with client_context().wrap_socket(wire.socket, server_hostname="shop.test") as tls_wire:
            status, _, body = fetch(tls_wire, "/headers")
            check_equal(status, 200, "status over TLS")
            check(b"192.0.2.7" in body, f"the client over TLS: {body}")
    for over, secure in ((port, True), (plain, False)):
        with H2Client(over, secure, hello=v1()) as client:
            answer = client.fetch("/headers")
            check_equal(answer.status, 200, f"HTTP/2, TLS {secure}")
            check(b"192.0.2.7" in answer.body, f"the client over HTTP/2: {answer.body}")
    check_equal(seen_fields(ask(plain, v1())).get("x-forwarded-for"), ["192.0.2.7"], "HTTP/1.1")
    check_equal(lbd.metric("lbd_http2_connections_total"), 2, "HTTP/2 connections")
    check(refused(port, b"\x16\x03\x01\x00\x05"), "a handshake without a header")
    check_equal(lbd.metric("lbd_tls_errors_total"), 0, "errors that TLS has seen")


@test()
def test_what_is_no_good_header_is_closed_without_an_answer_and_counted(rig):
    lbd = rig.proxy([rig.origin()], listener={**TRUSTED, "timeouts": {"request_head": "300ms"}})
    for data, reason in (
        (get("/").encode(), "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed"),
        (v1().replace(b"\r\n", b"\n") + get("/").encode(), "malformed"),
        (b"PROXY UNKNOWN " + b"x" * 200, "malformed"),
        (v2()[:12] + b"\x31" + v2()[13:], "malformed"),
        (v2()[:14] + b"\xff\xff" + b"x" * 65535, "too_long"),
        (v2_with_checksum()[:-1] + b"\0", "checksum"),
        (v1()[:20], "timeout"),
        (b"", "timeout"),
    ):
        before = lbd.metric("lbd_proxy_protocol_errors_total", reason=reason)
        check(refused(rig.port, data), f"{data[:40]} is answered, or its connection left open")
        count = lbd.metric("lbd_proxy_protocol_errors_total", reason=reason)
        check_equal(count, before + 1, f"{reason} after {data[:40]}")
    with Wire(rig.port) as wire:
        wire.send(v1()[:20])
    wait_until(lambda: lbd.metric("lbd_proxy_protocol_errors_total", reason="closed") == 1, 5,
               "a client that left is not counted")
    check_equal(lbd.metric("lbd_requests_total"), 0, "requests")
    check_equal(ask(rig.port, v1()).status, 200, "a good one after all that")


@test()
def test_a_header_that_trickles_is_cut_at_the_deadline(rig):
    lbd = rig.proxy([rig.origin()], listener={**TRUSTED, "timeouts": {"request_head": "400ms"}})
    began = time.monotonic()
    with Wire(rig.port) as wire:
        try:
            for byte in V1_UNKNOWN[:-2] + b" " * 60:
                wire.send(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        check(wire.at_end(), "still open")
    check(time.monotonic() - began < 3, "much later than its deadline")
    check_equal(lbd.metric("lbd_proxy_protocol_errors_total", reason="timeout"), 1, "counted")


@test()
def test_a_peer_that_is_not_trusted_is_closed_whatever_it_sends(rig):
    lbd = rig.proxy([rig.origin()], listener={"proxy_protocol": {"trusted": ["10.0.0.0/8"]}})
    for data in (v1("10.0.0.1"), v2("10.0.0.1"), get("/").encode()):
        check(refused(rig.port, data), f"{data[:30]} got in")
    count = lbd.metric("lbd_proxy_protocol_errors_total", reason="untrusted")
    check_equal(count, 3, "counted")


@test()
def test_without_it_a_header_is_a_bad_request(rig):
    rig.proxy([rig.origin()])
    check_equal(ask(rig.port, v1()).status, 400, "a header that nobody asked for")


@test()
def test_a_reload_turns_it_on_and_off_for_connections_to_come(rig):
    lbd = rig.proxy([rig.origin()])
    config = lbd.config
    with Wire(rig.port) as old:
        old.send(get("/headers"))
        check_equal(old.reply().status, 200, "before")
        config["listeners"]["public"].update(TRUSTED)
        check_equal(lbd.reload(config)[0], 0, "reload")
        wait_until(lambda: refused(rig.port, get("/").encode()), 5, "it is not on")
        check_equal(ask(rig.port, v1()).status, 200, "with a header")
        old.send(get("/headers"))
        check_equal(old.reply().status, 200, "on the connection from before")
    config["listeners"]["public"]["proxy_protocol"] = "off"
    check_equal(lbd.reload(config)[0], 0, "reload")
    wait_until(lambda: not refused(rig.port, get("/").encode()), 5, "it is not off again")


@test()
def test_a_stop_does_not_wait_for_headers_that_never_come(rig):
    lbd = rig.proxy([rig.origin()], listener=TRUSTED, drain_deadline="1s")
    with Wire(rig.port) as wire:
        wire.send(v1()[:5])
        time.sleep(0.2)
        lbd.stop(deadline=8)
        check(wire.at_end(), "the connection outlives lbd")


@test()
def test_targets_are_told_who_their_client_is(rig):
    for version in ("v1", "v2"):
        script = ProxiedScript()
        origin = RawOrigin(rig, script)
        rig.proxy([origin], {**NO_CHECKS, "proxy_protocol": version}, workers=1)
        with Wire(rig.port) as wire:
            own = wire.socket.getsockname()
            for _ in range(3):
                wire.send(get())
                check_equal(wire.reply().body, b"0", "one connection for one client")
        expected = [(own[0], own[1], "127.0.0.1", rig.port)]
        check_equal(script.headers, expected, version)
        rig.daemons.pop().stop()


@test()
def test_no_two_clients_share_a_connection_to_a_target_that_is_told(rig):
    script = ProxiedScript()
    group = {**NO_CHECKS, "proxy_protocol": "v2", "limits": {"idle_connections_max": 3}}
    rig.proxy([RawOrigin(rig, script)], group, workers=1)
    wires = [Wire(rig.port) for _ in range(5)]
    for turn in range(2):
        for wire in wires:
            wire.send(get(f"/{wire.socket.getsockname()[1]}"))
            check_equal(wire.reply().status, 200, f"turn {turn}")
    with Wire(rig.port) as last:
        for _ in range(3):  # more clients than may be kept: the newest connection is
            last.send(get(f"/{last.socket.getsockname()[1]}"))
            number = last.reply().body
        check_equal(number, str(len(script.headers) - 1).encode(), "its own, kept")
    for header, line in script.requests:
        check_equal(line.split()[1], f"/{header[1]}".encode(), "the client of a request")
    check_equal(len({header[1] for header, _ in script.requests}), 6, "clients")
    for wire in wires:
        wire.close()


@test()
def test_a_chain_of_two_passes_the_first_clients_address_on(rig):
    inner, outer = free_port(), free_port()
    config = simple_config(inner, [rig.origin()], listener=TRUSTED)
    config["listeners"]["outer"] = {
        "listen": [f"127.0.0.1:{outer}"],
        "default": {"forward": "inner"},
        **TRUSTED,
    }
    config["target_groups"]["inner"] = {
        "targets": [{"address": f"127.0.0.1:{inner}"}],
        "proxy_protocol": "v2",
        "health_check": {**QUICK_CHECK, "protocol": "tcp"},
    }
    lbd = rig.lbd(config)
    for header, ip in ((v1(), "192.0.2.7"), (v2("2001:db8::7", "2001:db8::1"), "2001:db8::7")):
        seen = seen_fields(ask(outer, header))
        check(all(ip in each for each in seen["x-forwarded-for"]), f"{seen['x-forwarded-for']}")
    wait_until(lambda: len(lbd.access_log()) == 4, 5, "no log")
    ips = {row["client_ip"] for row in lbd.access_log() if row["listener"] == "public"}
    check_equal(ips, {"192.0.2.7", "2001:db8::7"}, "clients that the inner one saw")
    state = lbd.states()[f"127.0.0.1:{inner}"]
    check_equal(state, "healthy", "by its check, with a header of its own")


@test()
def test_health_checks_speak_for_lbd_itself(rig):
    for version in ("v1", "v2"):
        script = ProxiedScript()
        origin = RawOrigin(rig, script)
        lbd = rig.proxy([origin], {"proxy_protocol": version})
        lbd.wait_states({origin.text: "healthy"})
        wait_until(lambda: script.local >= 3, 10, "no checks")
        check_equal(script.headers, [], f"{version}: named clients of checks")
        rig.daemons.pop().stop()
    elsewhere = rig.origin()
    script = ProxiedScript()
    origin = RawOrigin(rig, script)
    check_there = {**QUICK_CHECK, "port": elsewhere.port}
    lbd = rig.proxy([origin], {"proxy_protocol": "v2", "health_check": check_there})
    lbd.wait_states({origin.text: "healthy"})
    check_equal(script.local, 0, "checks of another port came here")


@test()
def test_connections_from_before_a_reload_serve_no_requests_that_need_a_header(rig):
    plain = []

    def both(connection, number):
        first = connection.recv(1, socket.MSG_PEEK)
        if first == b"G":
            plain.append(number)
            while origin.head(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain")
        else:
            script(connection, number)

    script = ProxiedScript()
    origin = RawOrigin(rig, both)
    lbd = rig.proxy([origin], NO_CHECKS, workers=1)
    with Wire(rig.port) as wire:

        def body():
            wire.send(get())
            return wire.reply().body

        check_equal(body(), b"plain", "before")
        lbd.config["target_groups"]["app"]["proxy_protocol"] = "v2"
        check_equal(lbd.reload(lbd.config)[0], 0, "reload")
        wait_until(lambda: body() == b"1", 5, "after")
        lbd.config["target_groups"]["app"]["proxy_protocol"] = "off"
        check_equal(lbd.reload(lbd.config)[0], 0, "reload")
        wait_until(lambda: body() == b"plain", 5, "off again")
    check_equal(len(script.headers), 1, "connections with a header")


@test()
def test_the_header_comes_before_tls_to_a_target(rig):
    files = Authority(rig.folder).make("app", "IP:127.0.0.1")
    context, headers = server_context(files), []

    def script(connection, _):
        headers.append(connection.recv(28, socket.MSG_WAITALL))
        with context.wrap_socket(connection, server_side=True) as wire:
            while origin.head(wire):
                answer(wire)

    origin = RawOrigin(rig, script)
    group = {"protocol": "https", "tls": {"trust": files["chain"]}, "proxy_protocol": "v2"}
    rig.proxy([origin], {**NO_CHECKS, **group}, workers=1)
    with Wire(rig.port) as wire:
        for _ in range(3):
            wire.send(get())
            check_equal(wire.reply().status, 200, "status")
        expected = v2("127.0.0.1", "127.0.0.1", (wire.socket.getsockname()[1], rig.port))
    check_equal(headers, [expected], "headers of connections")

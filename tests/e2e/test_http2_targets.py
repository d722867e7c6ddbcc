"""HTTP/2 to targets: few connections, many streams, and what can go wrong with them."""
import subprocess
import threading
import time

from h2_client import CANCEL, GOAWAY, PING, RST_STREAM, SETTINGS, H2Client, frame
from h2_target import H2Target, echo
from http_text import NO_CHECKS, get
from rig import RawOrigin, Wire, check, check_equal, free_port, request, simple_config, test
from rig import wait_until
from test_tls import Authority
from tls_origin import server_context

GROUP = {**NO_CHECKS, "http_version": "2"}
CLEARTEXT = {"http2": {"cleartext": True}}
MIB = 1 << 20


def proxy(rig, targets, group=None, listener=None):
    return rig.proxy(targets, {**GROUP, **(group or {})}, {**CLEARTEXT, **(listener or {})},
                     workers=1)


@test()
def test_both_kinds_of_clients_reach_a_target_over_http_2(rig):
    target = H2Target(rig)
    proxy(rig, [target])
    with Wire(rig.port) as wire:
        for path in ("/a?b=c", "/empty?", "/d"):
            wire.send(get(path, "cookie: k=v", "connection: x-secret", "x-secret: 1",
                          "te: trailers"))
            reply = wire.reply()
            check_equal(reply.status, 200, "status")
            seen = reply.body.decode()
            check(f":path: {path}\n" in seen, f"path {path}: {seen}")
            for line in (":method: GET\n", ":scheme: http\n", ":authority: shop.example\n",
                         "cookie: k=v\n", "x-forwarded-for: 127.0.0.1\n"):
                check(line in seen, f"no {line!r} in {seen}")
            check("x-secret" not in seen and "connection" not in seen.replace("x-connection", ""),
                  f"fields of the connection went on: {seen}")
    with H2Client(rig.port) as client:
        answer = client.fetch("/p", "POST", [("te", "trailers")], body=b"x" * 100_000)
        check_equal(answer.status, 200, "status over HTTP/2")
        check(answer.body.endswith(b"x" * 100_000), "the body came whole")
        check(b"te: trailers\n" in answer.body, "TE")
    check_equal(target.connections, 1, "connections")


@test()
def test_a_hundred_requests_at_a_time_need_two_connections_at_most(rig):
    gate = threading.Semaphore(0)
    waiting = []

    def later(conversation, asked):
        waiting.append((conversation, asked))
        if len(waiting) == 100:
            for each in waiting:
                echo(*each)

    target = H2Target(rig, later)
    lbd = proxy(rig, [target])
    with H2Client(rig.port) as client:
        streams = [client.start(f"/{i}") for i in range(100)]
        for answer in client.wait(*streams):
            check_equal(answer.status, 200, "status")
    check(target.connections <= 2, f"{target.connections} connections")
    check_equal(lbd.metric("lbd_target_http2_connections"), target.connections, "metric")


@test()
def test_when_a_connection_is_full_another_is_made_and_shared(rig):
    held = []

    def hold(conversation, asked):
        held.append((conversation, asked))

    target = H2Target(rig, hold, streams_max=4)
    proxy(rig, [target])
    with H2Client(rig.port) as client:
        streams = [client.start(f"/{i}") for i in range(12)]
        client.flush()
        wait_until(lambda: len(held) == 12, 10, "not all requests came")
        check_equal(target.connections, 3, "connections of four streams")
        by_connection = {}
        for conversation, _ in held:
            by_connection[conversation.number] = by_connection.get(conversation.number, 0) + 1
        check_equal(sorted(by_connection.values()), [4, 4, 4], "streams on each")
        for each in held:
            echo(*each)
        for answer in client.wait(*streams):
            check_equal(answer.status, 200, "status")


@test()
def test_trailers_pass_both_ways(rig):
    def answer(conversation, asked):
        conversation.respond(asked, b"body", [("trailer", "x-sum")],
                             [("x-sum", str(asked.trailers))])

    proxy(rig, [H2Target(rig, answer)])
    with Wire(rig.port) as wire:
        wire.send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n"
                  "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-check: 1\r\n\r\n")
        head = wire.head()
        check_equal(head.status, 200, "status")
        rest = b""
        while not rest.endswith(b"\r\n\r\n"):
            rest += wire.stream.readline()
        check(b"x-sum: [('x-check', '1')]" in rest, f"trailers: {rest}")


@test()
def test_heads_without_body_and_interim_heads_pass(rig):
    def answer(conversation, asked):
        if asked.path == "/hints":
            conversation.h2.send_headers(asked.stream, [(":status", "103"), ("link", "</a.css>")])
            conversation.h2.send_headers(asked.stream, [(":status", "103"), ("link", "</b.css>")])
            return conversation.respond(asked, b"page")
        status = {"/204": "204", "/304": "304"}.get(asked.path, "200")
        fields = [("content-length", "7")] if asked[":method"] == "HEAD" else []
        conversation.respond(asked, b"", fields, status=status)

    target = H2Target(rig, answer)
    proxy(rig, [target])
    with Wire(rig.port) as wire:
        wire.send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
        head = wire.head()
        check_equal((head.status, head.all("content-length")), (200, ["7"]), "HEAD")
        for path, status in (("/204", 204), ("/304", 304), ("/empty", 200)):
            wire.send(get(path))
            head = wire.head()
            check_equal(head.status, status, path)
        check_equal(head.all("content-length"), ["0"], "an empty body")
        wire.send(get("/hints"))
        links = []
        while (head := wire.head()).status == 103:
            links += head.all("link")
        check_equal(links, ["</a.css>", "</b.css>"], "hints")
        check_equal(head.status, 200, "after the hints")
    check_equal(target.resets, [], "nothing was reset")


@test()
def test_a_slow_client_does_not_hold_up_the_others_and_costs_bounded_memory(rig):
    def answer(conversation, asked):
        if asked.path != "/big":
            return conversation.respond(asked, b"quick")
        conversation.h2.send_headers(asked.stream, [(":status", "200")])
        state["conversation"], state["asked"] = conversation, asked
        pump()
        return None

    def pump():
        """As far as the window goes; more comes in `early`."""
        conversation, asked = state["conversation"], state["asked"]
        while (room := min(conversation.h2.local_flow_control_window(asked.stream), 16384)) > 0:
            conversation.h2.send_data(asked.stream, b"z" * room)
            state["sent"] += room
        conversation.flush()

    state = {"sent": 0}
    target = H2Target(rig, answer)
    proxy(rig, [target])
    with Wire(rig.port) as slow:
        slow.send(get("/big"))
        wait_until(lambda: state["sent"] > 0, 10, "nothing was sent")
        for i in range(50):
            check_equal(request(rig.port, f"/{i}").body, b"quick", "another request")
        check(state["sent"] <= MIB // 2, f"{state['sent']} bytes were taken of a slow client's")
        check_equal(target.connections, 1, "connections")


@test()
def test_a_large_body_passes_both_ways_through_small_windows(rig):
    def answer(conversation, asked):
        conversation.respond(asked, asked.body)

    proxy(rig, [H2Target(rig, answer, window=20_000)])
    body = bytes(range(256)) * 16 * 1024
    with H2Client(rig.port) as client:
        answer = client.fetch("/", "POST", body=body)
        check_equal(answer.status, 200, "status")
        check(answer.body == body, f"{len(answer.body)} of {len(body)} bytes came back")


@test()
def test_a_client_that_leaves_has_its_stream_cancelled_and_no_other(rig):
    target = H2Target(rig, lambda conversation, asked: asked.path == "/stay" or None)
    proxy(rig, [target])
    with H2Client(rig.port) as client:
        leaving, _ = client.start("/leave"), client.start("/stay")
        wait_until(lambda: len(target.requests) == 2, 10, "requests")
        client.h2.reset_stream(leaving, CANCEL)
        client.flush()
        wait_until(lambda: target.resets == [("/leave", CANCEL)], 10, f"resets {target.resets}")
    wait_until(lambda: len(target.resets) == 2, 10, "the rest with the connection")
    check_equal(target.connections, 1, "connections")


@test()
def test_requests_that_a_goaway_leaves_out_are_made_again(rig):
    def answer(conversation, asked):
        if conversation.number == 0 and asked.path != "/first":
            # None of what came after the first was touched.
            conversation.wire.sendall(frame(GOAWAY, 0, 0, b"\0\0\0\1" + b"\0\0\0\0"))
            return None
        return echo(conversation, asked)

    target = H2Target(rig, answer)
    proxy(rig, [target], {"retries": {"attempts": 1}})
    check_equal(request(rig.port, "/first").status, 200, "first")
    with Wire(rig.port) as wire:
        wire.send("POST /again HTTP/1.1\r\nhost: a\r\ncontent-length: 14\r\n\r\nnot idempotent")
        reply = wire.reply()
        check_equal(reply.status, 200, "the refused request")
        check(reply.body.endswith(b"not idempotent"), "its body")
    check_equal(target.connections, 2, "connections")


@test()
def test_a_refused_stream_goes_to_another_target(rig):
    def refuse(conversation, asked):
        conversation.h2.reset_stream(asked.stream, 7)
        conversation.flush()

    proxy(rig, [H2Target(rig, refuse), H2Target(rig)], {"balance": "round_robin"})
    with H2Client(rig.port) as client:
        for i in range(6):
            answer = client.fetch(f"/{i}", "POST")
            check_equal(answer.status, 200, "status")


@test()
def test_a_target_that_does_not_speak_http_2_gets_no_request_and_says_why(rig):
    seen = []

    def http1(connection, _):
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    proxy(rig, [RawOrigin(rig, http1)], {"retries": {"attempts": 1}})
    reply = request(rig.port, "/secret")
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (502, "bad_response"), "reason")
    check(all(b"secret" not in each for each in seen), "the request was sent")


@test()
def test_over_tls_the_target_must_choose_h2(rig):
    files = Authority(rig.folder).make("app")
    good, bad = server_context(files), server_context(files)
    good.set_alpn_protocols(["h2", "http/1.1"])
    tls = {"protocol": "https", "tls": {"trust": files["chain"], "server_name": "app.test"}}
    target = H2Target(rig, context=good)
    lbd = proxy(rig, [target], tls)
    for _ in range(3):
        reply = request(rig.port, "/")
        check_equal(reply.status, 200, "status")
        check(b":scheme: https\n" in reply.body, f"scheme: {reply.body}")
    check_equal(target.connections, 1, "connections")
    config = simple_config(free_port(), [H2Target(rig, context=bad)],
                           {**GROUP, **tls, "retries": {"attempts": 1}})
    other = rig.lbd(config, name="other")
    port = int(config["listeners"]["public"]["listen"][0].rpartition(":")[2])
    reply = request(port, "/")
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (502, "tls_failed"), "reason")
    check_equal(other.metric("lbd_target_tls_errors_total", reason="alpn"), 1, "metric")
    wait_until(lambda: "'h2' was asked for" in other.process.stderr(), 10, "not told")


@test()
def test_hostile_targets_fail_their_requests_and_nothing_else(rig):
    floods = {
        "/ping": frame(PING, 0, 0, b"12345678") * 20_000,
        "/settings": frame(SETTINGS, 0, 0) * 20_000,
        "/unknown": frame(0x50, 0, 0) * 20_000,
        "/push": frame(5, 4, 1, b"\0\0\0\2" + b"\x82"),
        "/endless": frame(1, 0, 1, b"\x88")
                    + frame(9, 0, 1, b"\0\1a\x7f\x80\x3e" + b"b" * 8000) * 50,
        "/even": frame(1, 5, 2, b"\x88"),
        "/window": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    }

    def answer(conversation, asked):
        if asked.path in floods:
            conversation.wire.sendall(floods[asked.path])
        else:
            echo(conversation, asked)

    proxy(rig, [H2Target(rig, answer)], {"retries": {"attempts": 1}, "passive": "off",
                                         "timeouts": {"response_head": "5s"}})
    for path in floods:
        reply = request(rig.port, path)
        check(reply.status == 502, f"{path}: {reply.status}")
        check_equal(request(rig.port, "/good").status, 200, f"after {path}")


@test()
def test_a_connection_that_dies_takes_only_what_it_began_to_answer(rig):
    def answer(conversation, asked):
        if asked.path == "/die" and conversation.number == 0:
            conversation.wire.close()
        elif asked.path == "/half":
            conversation.h2.send_headers(asked.stream, [(":status", "200")])
            conversation.h2.send_data(asked.stream, b"half")
            conversation.flush()
        else:
            echo(conversation, asked)

    target = H2Target(rig, answer)
    proxy(rig, [target], {"retries": {"attempts": 1}})
    check_equal(request(rig.port, "/").status, 200, "the first")
    with Wire(rig.port) as half:
        half.send(get("/half"))
        check_equal(half.head().status, 200, "its head")
        check_equal(request(rig.port, "/die").status, 200, "made again on another connection")
        half.stream.read()
    check_equal(target.connections, 2, "connections")


@test()
def test_a_drained_target_loses_its_connection_when_the_last_request_ends(rig):
    held = []
    target = H2Target(rig, lambda c, a: held.append((c, a)) if a.path == "/hold" else echo(c, a))
    other = H2Target(rig)
    lbd = proxy(rig, [target, other], {"balance": "round_robin"})
    with H2Client(rig.port) as client:
        streams = [client.start("/hold")]
        while not held:
            streams.append(client.start("/hold" if not held else "/x"))
            time.sleep(0.05)
        lbd.cli("drain", target.text)
        wait_until(lambda: lbd.metric("lbd_targets", state="draining") == 1, 10, "not draining")
        time.sleep(0.2)  # the worker has the snapshot too
        for _ in range(6):
            reply = request(rig.port, "/where")
            check_equal(reply.status, 200, "status")
        check(all(each.path != "/where" for each in target.requests), "requests while it drains")
        for each in held:
            echo(*each)
        client.wait(streams[0])
    wait_until(lambda: lbd.metric("lbd_target_http2_connections") <= 1, 10, "still connected")


@test()
def test_health_checks_speak_the_groups_version(rig):
    down = []

    def answer(conversation, asked):
        status = "503" if asked.path == "/up" and down else "200"
        conversation.respond(asked, b"all is well", status=status)

    target = H2Target(rig, answer)
    quick = {"interval": "100ms", "timeout": "100ms", "path": "/up", "body": "well"}
    lbd = rig.proxy([target], {"http_version": "2", "health_check": quick, "fail_open": False})
    wait_until(lambda: lbd.metric("lbd_targets", state="healthy") == 1, 10, "healthy")
    down.append(1)
    wait_until(lambda: lbd.metric("lbd_targets", state="unhealthy") == 1, 10, "unhealthy")


@test()
def test_websocket_reaches_an_http_2_target_by_extended_connect(rig):
    def accept(conversation, asked):
        if asked[":method"] == "CONNECT":
            state.append((conversation, asked))
            conversation.h2.send_headers(asked.stream, [(":status", "200")])
            conversation.h2.send_data(asked.stream, b"hello")
            conversation.flush()

    state = []
    target = H2Target(rig, websocket=True, early=accept)
    target.answer = lambda conversation, asked: conversation.h2.end_stream(asked.stream)
    proxy(rig, [target])
    fields = ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13",
              "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    with Wire(rig.port) as wire:
        wire.send(get("/chat", *fields))
        head = wire.head()
        check_equal(head.status, 101, "status")
        check_equal(head.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "accept")
        check_equal(wire.stream.read(5), b"hello", "from the target")
        wire.send("ping from the client")
        wait_until(lambda: state[0][1].body == b"ping from the client", 10, "to the target")
    check_equal(state[0][1][":protocol"], "websocket", ":protocol")
    check_equal(state[0][1]["sec-websocket-key"], None, "no key")


@test()
def test_websocket_to_a_target_without_extended_connect_is_refused_with_a_reason(rig):
    target = H2Target(rig)
    proxy(rig, [target])
    with Wire(rig.port) as wire:
        wire.send(get("/chat", "connection: Upgrade", "upgrade: websocket",
                      "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="))
        head = wire.head()
        check_equal((head.status, head.all("x-lbd-reason")), (502, ["upgrade_unsupported"]), "why")
    check_equal(target.requests, [], "requests")


@test()
def test_h2load_through_both_legs_fails_no_request(rig):
    target = H2Target(rig)
    proxy(rig, [target])
    for options in (["-c", "1", "-m", "100"], ["-c", "20", "--h1"]):
        out = subprocess.run(["h2load", "-n", "2000", *options, f"http://127.0.0.1:{rig.port}/"],
                             capture_output=True, text=True, timeout=120).stdout
        check("2000 succeeded, 0 failed, 0 errored" in out, out)
    check(target.connections <= 2, f"{target.connections} connections")


@test()
def test_a_connection_that_falls_silent_is_left_after_a_ping(rig):
    def answer(conversation, asked):
        if asked.path == "/silence" and conversation.number == 0:
            time.sleep(30)  # deaf and mute, with its socket open
        else:
            echo(conversation, asked)

    target = H2Target(rig, answer)
    proxy(rig, [target], {"passive": "off", "retries": {"attempts": 1},
                          "timeouts": {"response_head": "500ms"}})
    check_equal(request(rig.port, "/").status, 200, "the first")
    check_equal(request(rig.port, "/silence").status, 504, "no answer in time")
    wait_until(lambda: request(rig.port, "/again").status == 200, 15, "still trusted")
    check_equal(target.connections, 2, "connections")


@test()
def test_a_target_that_never_says_its_settings_is_one_that_cannot_be_connected_to(rig):
    target = RawOrigin(rig, lambda connection, _: time.sleep(20))
    proxy(rig, [target], {"retries": {"attempts": 1}, "timeouts": {"connect": "300ms"}})
    reply = request(rig.port, "/")
    check_equal((reply.status, reply.headers["x-lbd-reason"]), (504, "connect_timeout"), "reason")


@test()
def test_those_who_wait_for_one_connection_may_leave_and_the_rest_get_it(rig):
    gate = threading.Event()
    target = H2Target(rig, before=lambda *_: gate.wait(10))
    proxy(rig, [target], {"timeouts": {"connect": "10s"}})
    with H2Client(rig.port) as client:
        streams = [client.start(f"/{i}") for i in range(6)]
        wait_until(lambda: target.connections == 1, 10, "nobody dials")
        time.sleep(0.1)
        for stream in streams[:3]:
            client.h2.reset_stream(stream, CANCEL)
        client.flush()
        time.sleep(0.1)
        gate.set()
        for answer in client.wait(*streams[3:]):
            check_equal(answer.status, 200, "status")
        check_equal(sorted(each.path for each in target.requests), ["/3", "/4", "/5"], "requests")
        check_equal(target.connections, 1, "connections")
    with H2Client(rig.port) as client:
        check_equal(client.fetch("/after").status, 200, "afterwards")


@test()
def test_with_proxy_protocol_each_client_has_connections_of_its_own(rig):
    lines = []

    def hear(connection, _):
        line = b""
        while not line.endswith(b"\r\n"):
            line += connection.recv(1)
        lines.append(line)

    target = H2Target(rig, before=hear)
    proxy(rig, [target], {"proxy_protocol": "v1"})
    with H2Client(rig.port) as one, H2Client(rig.port) as two:
        for client in (one, two, one, two):
            check_equal(client.fetch("/").status, 200, "status")
        ports = {b"%d" % each.wire.getsockname()[1] for each in (one, two)}
    check_equal({line.split(b" ")[4] for line in lines}, ports, "who is named")
    check_equal(target.connections, 2, "connections")


@test()
def test_a_reload_that_changes_the_version_takes_effect_with_the_next_request(rig):
    target, plain = H2Target(rig), rig.origin()
    lbd = proxy(rig, [target])
    check_equal(request(rig.port, "/").status, 200, "over HTTP/2")
    config = simple_config(rig.port, [plain], NO_CHECKS, CLEARTEXT)
    config["node"] = lbd.config["node"]
    code, _, err = lbd.reload(config)
    check_equal(code, 0, err)
    check_equal(request(rig.port, "/id").status, 200, "over HTTP/1.1")
    wait_until(lambda: lbd.metric("lbd_target_http2_connections") == 0, 10, "still connected")

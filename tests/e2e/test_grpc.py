"""gRPC through lbd, with grpcio at both ends: no stubs, messages are bytes."""
import contextlib
import threading
import time
from concurrent import futures

import grpc

from h2_target import H2Target
from http_text import NO_CHECKS
from rig import check, check_equal, free_port, test, wait_until
from test_tls import Authority, https_config

SERVICE = "shop.Cart"
CLEARTEXT = {"http2": {"cleartext": True}}
GROUP = {**NO_CHECKS, "http_version": "2"}
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Cart:
    """The four kinds of calls; `serving` is what its health check says."""

    def __init__(self, rig, credentials=None):
        self.calls, self.cancelled, self.serving = [], threading.Event(), 1
        self.pool = futures.ThreadPoolExecutor(16)
        self.server = grpc.server(self.pool, options=[("grpc.max_receive_message_length", -1)])
        unary = grpc.unary_unary_rpc_method_handler
        handlers = {
            "Echo": unary(self.echo),
            "Fail": unary(self.fail),
            "Hang": unary(self.hang),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda each, _: b"".join(each)),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        health = {"Check": unary(self.check)}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),
             grpc.method_handlers_generic_handler("grpc.health.v1.Health", health)))
        if credentials:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        rig.closers.append(lambda: self.server.stop(0).wait(5))

    def target(self, **more):
        return {"address": f"127.0.0.1:{self.port}", "zone": "a", **more}

    def echo(self, message, context):
        self.calls.append(dict(context.invocation_metadata()))
        context.send_initial_metadata((("x-head", "1"), ("x-head-bin", b"\0\xff")))
        context.set_trailing_metadata((("x-tail-bin", b"\x01\xfe"),))
        return message

    def fail(self, message, context):
        context.abort(CODES[int(message)], "as asked: ä")

    def hang(self, _, context):
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(20)
        return b""

    def count(self, message, context):
        for i in range(int(message)):
            yield b"%d" % i

    def chat(self, messages, _):
        for each in messages:
            yield each.upper()

    def check(self, message, context):
        self.calls.append(message)
        if message not in (b"", b"\x0a\x04shop"):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return b"\x08" + bytes([self.serving]) if self.serving else b""


@contextlib.contextmanager
def channel(port, authority=None):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0)]
    if authority:
        options.append(("grpc.ssl_target_name_override", "shop.test"))
        with open(authority, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        made = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)
    else:
        made = grpc.insecure_channel(f"127.0.0.1:{port}", options)
    with made:
        yield made


def path(method):
    return f"/{SERVICE}/{method}"


def proxy(rig, targets, group=None, **node):
    return rig.proxy(targets, {**GROUP, **(group or {})}, CLEARTEXT, workers=1, **node)


def all_kinds(made):
    reply, call = made.unary_unary(path("Echo")).with_call(
        b"hello", metadata=(("x-text", "a"), ("x-raw-bin", b"\0\1\xff")), timeout=15)
    check_equal(reply, b"hello", "unary")
    check_equal(dict(call.initial_metadata())["x-head-bin"], b"\0\xff", "metadata of the head")
    check_equal(dict(call.trailing_metadata())["x-tail-bin"], b"\x01\xfe", "and of the end")
    counted = list(made.unary_stream(path("Count"))(b"1000", timeout=15))
    check_equal(counted, [b"%d" % i for i in range(1000)], "server streaming")
    pieces = [b"%d," % i for i in range(500)]
    check_equal(made.stream_unary(path("Sum"))(iter(pieces), timeout=15), b"".join(pieces),
                "client streaming")
    turn, said = threading.Semaphore(1), []

    def say():
        for i in range(50):
            turn.acquire()  # the answer to the one before has come
            yield b"m%d" % i

    for each in made.stream_stream(path("Chat"))(say(), timeout=15):
        said.append(each)
        turn.release()
    check_equal(said, [b"M%d" % i for i in range(50)], "both ways")


@test()
def test_all_four_kinds_of_calls_pass_in_the_clear(rig):
    cart = Cart(rig)
    lbd = proxy(rig, [cart])
    with channel(rig.port) as made:
        all_kinds(made)
        big = bytes(range(256)) * 16 * 1024
        check(made.unary_unary(path("Echo"))(big, timeout=30) == big, "4 MiB came back")
    check_equal(cart.calls[0]["x-raw-bin"], b"\0\1\xff", "binary metadata at the server")
    check(cart.calls[0]["grpc-timeout"] if "grpc-timeout" in cart.calls[0] else True, "deadline")
    check_equal(lbd.metric("lbd_grpc_responses_total", grpc_status="0"), 5, "counted")
    check_equal(lbd.metric("lbd_target_http2_connections"), 1, "connections")


@test()
def test_all_four_kinds_of_calls_pass_over_tls_on_both_sides(rig):
    authority = Authority(rig.folder)
    shop, app = authority.make("shop", "shop.test"), authority.make("app", "app.test")
    with open(app["chain"], "rb") as chain, open(app["key"], "rb") as key:
        credentials = grpc.ssl_server_credentials([(key.read(), chain.read())])
    cart = Cart(rig, credentials)
    rig.port = free_port()
    config = https_config(rig.port, [cart], {"certificates": [shop]})
    config["target_groups"]["app"].update(
        {**GROUP, "protocol": "https",
         "tls": {"trust": app["chain"], "server_name": "app.test"}})
    rig.lbd(config)
    with channel(rig.port, shop["chain"]) as made:
        all_kinds(made)


@test()
def test_errors_of_the_server_come_as_they_are_and_are_counted(rig):
    lbd = proxy(rig, [Cart(rig)], {"passive": "off"})
    with channel(rig.port) as made:
        for code in (3, 5, 7, 13, 14):
            try:
                made.unary_unary(path("Fail"))(b"%d" % code, timeout=10)
                check(False, "no error")
            except grpc.RpcError as error:
                check_equal((error.code(), error.details()), (CODES[code], "as asked: ä"), "error")
            check_equal(lbd.metric("lbd_grpc_responses_total", grpc_status=str(code)), 1, "metric")
    wait_until(lambda: any(each.get("grpc_status") == 14 for each in lbd.access_log()), 10, "log")


@test()
def test_the_clients_deadline_ends_the_call_at_the_target_too(rig):
    cart = Cart(rig)
    proxy(rig, [cart])
    with channel(rig.port) as made:
        try:
            made.unary_unary(path("Hang"))(b"", timeout=1)
            check(False, "no error")
        except grpc.RpcError as error:
            check_equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code")
    check(cart.cancelled.wait(5), "the target was not told")


@test()
def test_a_call_that_the_client_cancels_is_cancelled_at_the_target(rig):
    cart = Cart(rig)
    proxy(rig, [cart])
    with channel(rig.port) as made:
        call = made.unary_unary(path("Hang")).future(b"", timeout=30)
        time.sleep(0.5)
        call.cancel()
        check(cart.cancelled.wait(5), "the target was not told")


@test()
def test_what_lbd_answers_itself_is_a_status_of_grpc(rig):
    dead = {"address": f"127.0.0.1:{free_port()}"}

    class Dead:
        def target(self):
            return dead

    lbd = proxy(rig, [Dead()], {"retries": {"attempts": 1}})
    with channel(rig.port) as made:
        try:
            made.unary_unary(path("Echo"))(b"", timeout=10)
            check(False, "no error")
        except grpc.RpcError as error:
            check_equal((error.code(), error.details()),
                        (grpc.StatusCode.UNAVAILABLE, "lbd: connect_failed"), "error")
    check_equal(lbd.metric("lbd_grpc_responses_total", grpc_status="14"), 1, "metric")


@test()
def test_failing_statuses_eject_a_target_and_others_do_not(rig):
    def script(status):
        def answer(conversation, asked):
            conversation.respond(asked, b"", [("content-type", "application/grpc"),
                                              ("grpc-status", status)])
        return H2Target(rig, answer)

    lbd = proxy(rig, [script("14"), script("5")],
                {"balance": "round_robin", "passive": {"consecutive_5xx": 3},
                 "retries": {"attempts": 1}})
    with channel(rig.port) as made:
        def code():
            call = made.unary_unary(path("Any")).future(b"", timeout=10)
            return call.code()

        def ejected():
            code()
            return lbd.metric("lbd_ejections_total") == 1

        check_equal({code() for _ in range(4)},
                    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND}, "before")
        wait_until(ejected, 20, "not ejected")
        wait_until(lambda: {code() for _ in range(10)} == {grpc.StatusCode.NOT_FOUND}, 20,
                   "still asked")
    check_equal(lbd.metric("lbd_ejections_total"), 1, "ejections")


@test()
def test_grpc_health_checks_take_serving_for_a_pass(rig):
    cart = Cart(rig)
    quick = {"protocol": "grpc", "service": "shop", "interval": "100ms", "timeout": "100ms"}
    lbd = proxy(rig, [cart], {"health_check": quick, "fail_open": False})
    state = lambda name: lambda: lbd.metric("lbd_targets", state=name) == 1
    wait_until(state("healthy"), 10, "healthy")
    check(b"\x0a\x04shop" in cart.calls, f"asked {cart.calls[:3]}")
    cart.serving = 2
    wait_until(state("unhealthy"), 10, "NOT_SERVING")
    cart.serving = 1
    wait_until(state("healthy"), 10, "healthy again")

"""Connections without a session: in their TLS handshake, or with their PROXY header to come."""

import contextlib
import copy
import socket
import time

from h2_client import H2Client
from http_text import get
from proxy_protocol import v1
from rig import Wire, check, check_equal, free_port, test
from test_proxy_protocol import TRUSTED
from test_tls import Authority, client_context, fetch, https_config


def secure(rig):
    """(lbd, port)"""
    port = free_port()
    certificate = Authority(rig.folder).make("shop", "shop.test")
    return rig.lbd(https_config(port, [rig.origin()], {"certificates": [certificate]})), port


def silent(port, count, stack):
    return [
        stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(count)
    ]


def reload_with(lbd, change):
    config = copy.deepcopy(lbd.config)
    change(config["listeners"])
    check_equal(lbd.reload(config)[0], 0, "reload")
    time.sleep(0.3)  # workers adopt it


def rename(listeners):
    listeners["renamed"] = listeners.pop("public")


@test()
def test_a_reload_that_renames_a_listener_serves_those_in_their_handshake(rig):
    lbd, port = secure(rig)
    with contextlib.ExitStack() as stack:
        raw = silent(port, 3, stack)
        time.sleep(0.3)
        reload_with(lbd, rename)
        for each in raw:
            wire = stack.enter_context(client_context().wrap_socket(each, server_hostname="x"))
            check_equal(fetch(wire)[0], 200, "a handshake after the reload")
    with contextlib.ExitStack() as stack:  # and those of another protocol, on the new name
        check_equal(stack.enter_context(H2Client(port, tls=True)).fetch("/id").status, 200, "h2")


@test()
def test_a_reload_that_renames_a_listener_serves_those_whose_header_is_to_come(rig):
    lbd = rig.proxy([rig.origin()], listener=TRUSTED)
    with contextlib.ExitStack() as stack:
        raw = [stack.enter_context(Wire(rig.port)) for _ in range(3)]
        raw[0].send(v1()[:10])
        time.sleep(0.3)
        reload_with(lbd, rename)
        for number, wire in enumerate(raw):
            wire.send(v1()[10 if number == 0 else 0 :] + get("/id").encode())
            reply = wire.reply()
            check_equal((reply.status, reply.headers.get("connection")), (200, "close"), "answer")


@test()
def test_a_removed_listener_serves_those_it_had_accepted(rig):
    lbd, port = secure(rig)
    other = {"listen": [f"127.0.0.1:{free_port()}"], "default": {"forward": "app"}}
    with contextlib.ExitStack() as stack:
        raw = silent(port, 2, stack)
        time.sleep(0.3)
        reload_with(lbd, lambda listeners: (listeners.clear(), listeners.update(other=other)))
        for each in raw:
            wire = stack.enter_context(client_context().wrap_socket(each, server_hostname="x"))
            check_equal(fetch(wire)[0], 200, "a handshake after the reload")


@test(timeout=40)
def test_a_stop_waits_no_longer_for_who_has_said_nothing(rig):
    """Half the drain deadline or 5 s, whichever is less, as for idle connections; not 10 s."""
    lbd, port = secure(rig)
    lbd.config["node"] = {"drain_deadline": "4s"}
    lbd.stop()
    lbd.write(lbd.config)
    lbd.start()
    with contextlib.ExitStack() as stack:
        silent(port, 3, stack)
        time.sleep(0.3)
        begin = time.monotonic()
        lbd.stop()
        took = time.monotonic() - begin
    check(took < 3.5, f"the stop took {took:.1f} s")

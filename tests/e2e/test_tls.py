"""TLS with clients: real handshakes of Python's ssl (OpenSSL) and curl."""
import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import threading
import time

from rig import QUICK_CHECK, check, check_equal, free_port, simple_config, test, wait_until


class Authority:
    """Makes self-signed certificates; clients trust each of them by its file."""

    def __init__(self, folder):
        self.folder = folder / "tls"
        self.folder.mkdir()

    def make(self, name, *names, days=30, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """Writes NAME.pem and NAME.key for the names (DNS, or IP:…); returns what goes into the
        YAML."""
        files = {"chain": str(self.folder / f"{name}.pem"), "key": str(self.folder / f"{name}.key")}
        names = names or [f"{name}.test"]
        alternative = ",".join(n if n.startswith("IP:") else f"DNS:{n}" for n in names)
        command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", str(days)]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"]
        command += ["-keyout", files["key"] + ".new", "-out", files["chain"] + ".new"]
        subprocess.run(command, check=True, capture_output=True)
        for path in files.values():
            os.replace(path + ".new", path)
        return files

    def expire(self, files):
        """The same certificate, but of some years ago."""
        folder = self.folder
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={folder}/index\nserial={folder}/serial\n"
            f"new_certs_dir={folder}\ndefault_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\n"
        )
        (folder / "index").write_text("")
        (folder / "serial").write_text("01\n")
        key, chain, asked = files["key"], files["chain"], files["chain"] + ".csr"
        names = subprocess.run(
            ["openssl", "x509", "-in", chain, "-noout", "-ext", "subjectAltName"],
            check=True, capture_output=True, text=True).stdout.splitlines()[1].strip()
        subprocess.run(
            ["openssl", "req", "-new", "-key", key, "-subj", "/CN=old", "-out", asked,
             "-addext", f"subjectAltName={names.replace(', ', ',')}"], check=True)
        subprocess.run(
            ["openssl", "ca", "-batch", "-selfsign", "-notext", "-config", folder / "ca.cnf",
             "-keyfile", key, "-in", asked, "-out", chain, "-startdate", "20200101000000Z",
             "-enddate", "20200201000000Z"], check=True, capture_output=True)
        return files


def https_config(port, targets, tls, **more):
    listener = {"protocol": "https", "tls": tls}
    return simple_config(port, targets, listener=listener, **more)


def client_context(version=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.maximum_version = version
    return context


def connect(port, name=None, context=None, **more):
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    return (context or client_context()).wrap_socket(raw, server_hostname=name, **more)


def fetch(wire, path="/id"):
    """One request on a connection that stays open: (status, headers, body)."""
    wire.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    reply = http.client.HTTPResponse(wire)
    reply.begin()
    return reply.status, dict(reply.getheaders()), reply.read()


def shown(port, name=None):
    """The common name of the certificate that a client of this server name sees."""
    with connect(port, name) as wire:
        pem = ssl.DER_cert_to_PEM_cert(wire.getpeercert(binary_form=True))
    command = ["openssl", "x509", "-noout", "-subject", "-serial"]
    text = subprocess.run(command, input=pem, capture_output=True, text=True, check=True).stdout
    return text.split("CN = ")[1].split("\n")[0], text.split("serial=")[1].strip()


@test()
def test_requests_over_tls_say_so_to_targets_and_logs(rig):
    port, authority = free_port(), Authority(rig.folder)
    files = authority.make("shop")
    lbd = rig.lbd(https_config(port, [rig.origin()], {"certificates": [files]}))
    with connect(port, "shop.test") as wire:
        check_equal(wire.version(), "TLSv1.3", "version")
        for _ in range(3):
            status, _, body = fetch(wire, "/headers")
            check_equal(status, 200, "status")
            check(b'["X-Forwarded-Proto", "https"]' in body, f"the target sees {body}")
    with connect(port, context=client_context(ssl.TLSVersion.TLSv1_2)) as wire:
        check_equal(wire.version(), "TLSv1.2", "version")
        check_equal(fetch(wire)[0], 200, "status over TLS 1.2")
    rows = wait_until(lambda: [r for r in lbd.access_log() if r.get("uri") == "/id"], 5, "no row")
    check_equal(rows[0]["tls_version"], "TLSv1.2", "in the log")
    check(rows[0]["tls_cipher"].startswith("ECDHE-"), f"cipher {rows[0]['tls_cipher']}")
    check_equal(lbd.metric("lbd_tls_handshakes_total", version="TLSv1.3"), 1, "handshakes")
    done = subprocess.run(
        ["curl", "-sS", "--cacert", files["chain"], "--resolve", f"shop.test:{port}:127.0.0.1",
         f"https://shop.test:{port}/id"], capture_output=True, text=True, timeout=20)
    check_equal(done.returncode, 0, f"curl, which verifies: {done.stderr}")


@test()
def test_bodies_of_every_size_pass_both_ways_over_tls(rig):
    port, authority = free_port(), Authority(rig.folder)
    rig.lbd(https_config(port, [rig.origin()], {"certificates": [authority.make("shop")]}))
    for size in (0, 1, 1399, 1400, 16384, 16385, 300_000, 20_000_000):
        with connect(port) as wire:
            status, _, body = fetch(wire, f"/size?n={size}")
            check_equal((status, len(body)), (200, size), f"download of {size}")
            check(body == (bytes(range(256)) * (size // 256 + 1))[:size], f"bytes of {size}")
            wire.sendall(f"POST /checksum HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"
                         .encode() + body)
            reply = http.client.HTTPResponse(wire)
            reply.begin()
            check(f'"bytes": {size}'.encode() in reply.read(), f"upload of {size}")


@test()
def test_a_changed_certificate_is_shown_without_a_reload_and_a_broken_one_is_not(rig):
    port, authority = free_port(), Authority(rig.folder)
    files = authority.make("shop")
    lbd = rig.lbd(https_config(port, [rig.origin()], {"certificates": [files]}))
    before = shown(port)
    with connect(port) as kept:
        check_equal(fetch(kept)[0], 200, "before")
        authority.make("shop")
        wait_until(lambda: shown(port) != before, 15, "the new certificate is never shown")
        second = shown(port)
        check_equal(fetch(kept)[0], 200, "the connection from before")
        with open(files["key"], "w") as file:
            file.write("not a key\n")
        labels = {"listener": "public", "name": "shop.test"}
        wait_until(lambda: lbd.metric("lbd_certificate_current", **labels) == 0, 15, "no complaint")
        check_equal(shown(port), second, "shown while the files are broken")
        check("certificate not read again" in lbd.process.stderr(), "nothing in the log")
        code, out, err = lbd.cli("reload", "--wait")
        check(code == 1 and files["key"] in out + err, f"reload with it exits {code}: {out}{err}")
        authority.make("shop")
        wait_until(lambda: lbd.metric("lbd_certificate_current", **labels) == 1, 15, "not mended")
        wait_until(lambda: shown(port) != second, 15, "the mended one is never shown")
        check_equal(fetch(kept)[0], 200, "the connection from before all of it")
    left = lbd.metric("lbd_certificate_not_after_timestamp_seconds", **labels) - time.time()
    check(29 * 86400 < left < 31 * 86400, f"expires in {left} s")


@test()
def test_certificates_go_by_name_over_a_reload(rig):
    port, authority = free_port(), Authority(rig.folder)
    first = authority.make("first")
    others = [authority.make("second", "second.test", "*.wild.test")]
    origin = rig.origin()
    lbd = rig.lbd(https_config(port, [origin], {"certificates": [first]}))
    check_equal(shown(port, "second.test")[0], "first", "before")
    tls = {"policy": "modern", "certificates": [first, *others]}
    check_equal(lbd.reload(https_config(port, [origin], tls))[0], 0, "reload")
    names = [shown(port, name)[0] for name in ("second.test", "a.wild.test", "x.test", None)]
    check_equal(names, ["second", "second", "first", "first"], "after")
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        connect(port, context=client_context(ssl.TLSVersion.TLSv1_2)).close()
        raise AssertionError("the modern profile speaks TLS 1.2")
    check_equal(lbd.metric("lbd_tls_errors_total", reason="version"), 1, "counted")
    missing = {"certificates": [{"chain": "/nowhere/a.pem", "key": first["key"]}]}
    code, out, err = lbd.reload(https_config(port, [origin], missing))
    check(code == 1 and "/nowhere/a.pem" in out + err, f"reload exits {code}: {out}{err}")
    check_equal(shown(port, "second.test")[0], "second", "after the refused reload")


@test()
def test_sessions_are_resumed_over_a_reload(rig):
    port, authority = free_port(), Authority(rig.folder)
    config = https_config(port, [rig.origin()], {"certificates": [authority.make("shop")]})
    lbd = rig.lbd(config)
    context = client_context()
    with connect(port, context=context) as wire:
        fetch(wire)  # brings the ticket
        session = wire.session
    config["listeners"]["public"]["timeouts"] = {"idle": "30s"}
    check_equal(lbd.reload(config)[0], 0, "reload")
    with connect(port, context=context, session=session) as wire:
        check(wire.session_reused, "not resumed")
        check_equal(fetch(wire)[0], 200, "a request")
    check_equal(lbd.metric("lbd_tls_handshakes_total", resumed="true"), 1, "counted")


@test()
def test_clients_must_show_a_certificate_where_it_is_required(rig):
    port, authority = free_port(), Authority(rig.folder)
    client, stranger = authority.make("client"), authority.make("stranger")
    tls = {
        "certificates": [authority.make("shop")],
        "client_certificates": {"verify": "required", "trust": client["chain"]},
    }
    lbd = rig.lbd(https_config(port, [rig.origin()], tls))

    def answered(files):
        context = client_context()
        if files:
            context.load_cert_chain(files["chain"], files["key"])
        try:
            with connect(port, context=context) as wire:
                return fetch(wire)[0] == 200
        except (ssl.SSLError, OSError, http.client.HTTPException):
            return False

    check_equal([answered(f) for f in (client, None, stranger)], [True, False, False], "let in")
    check_equal(lbd.metric("lbd_tls_errors_total", reason="client_certificate"), 2, "counted")


@test()
def test_silent_and_plain_clients_are_given_up_and_disturb_nobody(rig):
    port, authority = free_port(), Authority(rig.folder)
    tls = {"certificates": [authority.make("shop")], "handshake_timeout": "1s"}
    lbd = rig.lbd(https_config(port, [rig.origin()], tls))
    with contextlib.ExitStack() as silent:
        wires = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for wire in wires:
            silent.enter_context(wire)
        with connect(port) as wire:
            check_equal(fetch(wire)[0], 200, "beside 200 silent clients")
        wires[0].settimeout(10)
        check_equal(wires[0].recv(1), b"", "a silent client is closed")
        wait_until(lambda: lbd.metric("lbd_tls_errors_total", reason="timeout") == 200, 10, "count")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        plain.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while plain.recv(100):
                pass
    wait_until(lambda: lbd.metric("lbd_tls_errors_total", reason="not_tls") == 1, 10, "not counted")


@test()
def test_sigterm_finishes_requests_over_tls_and_waits_for_no_silent_client(rig):
    port, authority = free_port(), Authority(rig.folder)
    tls = {"certificates": [authority.make("shop")], "handshake_timeout": "1s"}
    config = https_config(port, [rig.origin()], tls, group={"health_check": QUICK_CHECK})
    lbd = rig.lbd(config)
    results = []
    with socket.create_connection(("127.0.0.1", port)), connect(port) as wire:
        thread = threading.Thread(target=lambda: results.append(fetch(wire, "/slow?ms=1500")))
        thread.start()
        time.sleep(0.3)
        lbd.process.signal(signal.SIGTERM)
        thread.join()
        check_equal(results[0][0], 200, "the request under way")
        check_equal(wire.recv(1), b"", "then the connection is closed, with a close_notify")
        check_equal(lbd.process.wait(15), 0, "exit code")

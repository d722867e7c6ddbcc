"""curl, nghttp and h2load through lbd, as people use them: over HTTP/1.1, HTTP/2 in the clear and
over TLS; what they say themselves is checked, and what the access log says of them."""
import json
import os
import re
import subprocess
import zlib

from rig import RawOrigin, check, check_equal, free_port, test, wait_until
from test_tls import Authority, https_config

UPLOAD = 5_000_000
TEXT = b"the same line again and again\n" * 2000


def start(rig, targets, **listener):
    """(lbd, {protocol: (URL, curl's options for it)}, the certificate's file)"""
    plain, secure = free_port(), free_port()
    files = Authority(rig.folder).make("shop", "shop.test")
    config = https_config(secure, targets, {"certificates": [files]})
    config["listeners"]["public"].update(listener)
    config["listeners"]["plain"] = {
        "listen": [f"127.0.0.1:{plain}"], "http2": {"cleartext": True},
        "default": {"forward": "app"}, **listener}
    tls = ["--cacert", files["chain"], "--resolve", f"shop.test:{secure}:127.0.0.1"]
    http, https = f"http://127.0.0.1:{plain}", f"https://shop.test:{secure}"
    return rig.lbd(config), {
        "HTTP/1.0": (http, ["--http1.0"]),
        "HTTP/1.1": (http, ["--http1.1"]),
        "HTTP/2.0": (http, ["--http2-prior-knowledge"]),
        "HTTP/1.1 over TLS": (https, [*tls, "--http1.1"]),
        "HTTP/2.0 over TLS": (https, [*tls, "--http2"]),
    }


def run(*command, data=None):
    done = subprocess.run(command, capture_output=True, timeout=60, input=data)
    check_equal(done.returncode, 0, f"{' '.join(command)}: {done.stderr.decode()[-2000:]}")
    return done.stdout


def logged(lbd, uri, protocol):
    """The lines of requests for it, all well."""
    rows = wait_until(lambda: [r for r in lbd.access_log() if r["uri"] == uri], 5, f"no {uri}")
    check({row["protocol"] for row in rows} == {protocol}, f"{uri}: {rows}")
    check(all(row["status"] < 400 and "reason" not in row for row in rows), f"{uri}: {rows}")


@test()
def test_curl_gets_posts_and_uploads_in_every_protocol(rig):
    lbd, protocols = start(rig, [rig.origin()])
    data = os.urandom(UPLOAD)
    (rig.folder / "upload").write_bytes(data)
    expected = {"bytes": UPLOAD, "crc32": zlib.crc32(data)}
    for number, (name, (url, options)) in enumerate(protocols.items()):
        curl, at = ["curl", "-sS", "--fail", *options], f"?{number}"
        protocol = name.partition(" ")[0]
        version = "2" if protocol == "HTTP/2.0" else "1.1"  # its own, to a client of 1.0 as well
        said = run(*curl, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"{url}/id{at}")
        check_equal(said.decode(), f"{version} 200", f"{name}: GET")
        check_equal(run(*curl, "-d", "a=1", f"{url}/echo{at}"), b"a=1", f"{name}: POST")
        head = run(*curl, "-I", f"{url}/size?n=1234").decode().lower()
        check("content-length: 1234" in head, f"{name}: HEAD: {head}")
        for how in (["-T", f"{rig.folder}/upload"],
                    ["-H", "Expect: 100-continue", "--data-binary", f"@{rig.folder}/upload"]):
            got = json.loads(run(*curl, *how, f"{url}/checksum{at}"))
            check_equal(got, expected, f"{name}: {how[0]}")
        if protocol != "HTTP/1.0":  # which has no chunks
            got = json.loads(run(*curl, "-T", "-", f"{url}/checksum{at}", data=data))
            check_equal(got, expected, f"{name}: from a pipe")
        for path in ("/id", "/echo", "/checksum"):
            logged(lbd, path + at, protocol)


@test()
def test_curl_is_told_to_go_on_before_it_sends(rig):
    """With Expect, curl waits: what it says of the 100 shows that lbd or the target gave one."""
    _, protocols = start(rig, [rig.origin()])
    url, options = protocols["HTTP/1.1"]
    command = ["curl", "-sS", "-v", *options, "--expect100-timeout", "30", "-H",
               "Expect: 100-continue", "--data-binary", "x" * 1000, f"{url}/echo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25)
    check_equal((done.returncode, done.stdout), (0, "x" * 1000), f"echo: {done.stderr}")
    check("HTTP/1.1 100" in done.stderr, f"no 100: {done.stderr}")


@test()
def test_curl_reads_what_lbd_compresses(rig):
    def serve(connection, _):
        while origin.head(connection):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(TEXT) + TEXT)

    origin = RawOrigin(rig, serve)
    lbd, protocols = start(rig, [origin], compression={})
    lbd.wait_states({origin.text: "healthy"})
    for name, (url, options) in protocols.items():
        if name == "HTTP/1.0":
            continue
        command = ["curl", "-sS", "--fail", "--compressed", "-w", "\n%{size_download}", *options]
        body, _, size = run(*command, url).rpartition(b"\n")
        check(body == TEXT, f"{name}: another text")
        check(int(size) < len(TEXT) // 10, f"{name}: {size} bytes came")


@test()
def test_nghttp_gets_many_and_uploads(rig):
    lbd, protocols = start(rig, [rig.origin()])
    data = os.urandom(300_000)
    (rig.folder / "upload").write_bytes(data)
    for name in ("HTTP/2.0", "HTTP/2.0 over TLS"):
        url = protocols[name][0].replace("shop.test", "127.0.0.1")
        at = f"?{len(url)}"
        out = run("nghttp", "--no-verify-peer", "-nsy", "-m", "20", f"{url}/id{at}").decode()
        answers = re.findall(r"^ *\d+ .* 200 ", out, re.MULTILINE)
        check_equal(len(answers), 20, f"{name}: {out}")
        command = ["nghttp", "--no-verify-peer", "-y", "-d", f"{rig.folder}/upload"]
        got = json.loads(run(*command, f"{url}/checksum{at}"))
        check_equal(got, {"bytes": len(data), "crc32": zlib.crc32(data)}, f"{name}: upload")
        logged(lbd, f"/id{at}", "HTTP/2.0")
        logged(lbd, f"/checksum{at}", "HTTP/2.0")


@test()
def test_h2load_fails_no_request_whatever_it_speaks(rig):
    _, protocols = start(rig, rig.origins("ab"))
    data = rig.folder / "upload"
    data.write_bytes(b"x" * 20_000)
    for name, more in (("HTTP/1.1", ["--h1"]), ("HTTP/2.0", []), ("HTTP/1.1 over TLS", ["--h1"]),
                       ("HTTP/2.0 over TLS", [])):
        url = protocols[name][0].replace("shop.test", "127.0.0.1")
        for what in ([f"{url}/id"], ["-d", str(data), f"{url}/checksum"]):
            out = run("h2load", "-n", "500", "-c", "5", *more, "-m", "1" if more else "20", *what)
            check(b"500 succeeded, 0 failed, 0 errored" in out, f"{name}: {out.decode()}")

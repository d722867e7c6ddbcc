"""A real browser (Debian's Chromium, headless) through lbd, over HTTP/2 and TLS. Long profile."""
import json
import re
import shutil
import time

from http_text import NO_CHECKS
from rig import RawOrigin, check, check_equal, free_port, test, wait_until
from test_tls import Authority, https_config
from websocket_server import EchoServer

PARTS = 40  # sub-resources that the page asks for at once
UPLOAD = 200_000
EVENTS = 5
PAGE = """<!doctype html><html><head><title>lbd</title><link rel="stylesheet" href="/style.css">
<script src="/script.js"></script></head><body><pre id="out">waiting</pre><script>
const out = {};
const parts = async () => {
  const all = await Promise.all([...Array(%d).keys()].map(
      n => fetch('/part/' + n).then(r => r.text())));
  out.parts = all.filter((text, n) => text === 'part ' + n).length;
};
const post = async () => {
  const reply = await fetch('/upload', {method: 'POST', body: 'x'.repeat(%d)});
  out.upload = Number(await reply.text());
};
const events = () => new Promise(done => {
  out.events = [];
  const source = new EventSource('/events');
  source.onmessage = event => {
    out.events.push(event.data);
    if (out.events.length === %d) { source.close(); done(); }
  };
});
const socket = () => new Promise(done => {
  const wire = new WebSocket('wss://' + location.host + '/socket');
  out.socket = [];
  wire.onopen = () => { wire.send('hello'); wire.send('x'.repeat(100000)); };
  wire.onmessage = event => {
    out.socket.push(event.data.length);
    if (out.socket.length === 2) wire.close(1000, 'done');
  };
  wire.onclose = event => { out.closed = [event.code, event.wasClean]; done(); };
});
Promise.all([parts(), post(), events(), socket()]).catch(e => { out.error = String(e); })
    .then(() => {
  out.script = window.fromScript;
  out.style = getComputedStyle(document.body).color;
  out.protocols = [...new Set(performance.getEntriesByType('resource').map(
      e => e.nextHopProtocol))];
  document.getElementById('out').textContent = JSON.stringify(out);
  fetch('/result', {method: 'POST', body: document.getElementById('out').textContent});
});
</script></body></html>""" % (PARTS, UPLOAD, EVENTS)


def site(rig):
    """A target with the page and all that it asks for."""

    def serve(connection, _):
        while head := origin.head(connection):
            head, _, body = head.partition(b"\r\n\r\n")
            path = head.split()[1].decode()
            length = re.search(rb"(?i)content-length: (\d+)", head)
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            if path == "/result":
                origin.results.append(json.loads(body))
            if path == "/events":
                return stream(connection)
            kind, text = answer(path, body)
            connection.sendall(
                f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(text)}\r\n\r\n"
                f"{text}".encode())

    origin = RawOrigin(rig, serve)
    origin.results = []
    return origin


def answer(path, body):
    return {
        "/": ("text/html", PAGE),
        "/style.css": ("text/css", "body { color: rgb(1, 2, 3) }"),
        "/script.js": ("text/javascript", "window.fromScript = 'ran';"),
        "/upload": ("text/plain", str(len(body))),
    }.get(path, ("text/plain", "part " + path.rpartition("/")[2]))


def stream(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                       b"cache-control: no-store\r\n\r\n")
    for number in range(EVENTS):
        connection.sendall(b"data: event %d\n\n" % number)
        time.sleep(0.1)
    connection.recv(1)  # until the browser has had enough


def browse(rig, url, results):
    """What the page has written into itself and sent home."""
    program = shutil.which("chromium")
    check(program, "there is no chromium; ./dev test --long installs it")
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-dev-shm-usage", "--ignore-certificate-errors", "--no-proxy-server",
               "--disable-background-networking", "--disable-component-update",
               "--host-resolver-rules=MAP shop.test 127.0.0.1, MAP * ~NOTFOUND",
               f"--user-data-dir={rig.folder}/browser", "--remote-debugging-port=0", url]
    browser = rig.process(command, "browser")
    wait_until(lambda: results or not browser.running(), 120,
               lambda: f"the page has no result\n{browser.tail()}")
    check(results, lambda: f"the browser is gone\n{browser.tail()}")
    browser.kill()
    return results[0]


@test("long", 240)
def test_chromium_loads_a_page_with_all_that_pages_do(rig):
    port, server = free_port(), EchoServer()
    rig.closers.append(server.close)
    files = Authority(rig.folder).make("shop", "shop.test")
    origin = site(rig)
    config = https_config(port, [origin], {"certificates": [files]}, group=NO_CHECKS)
    config["target_groups"]["sockets"] = {"protocol": "http", "targets": [server.target()],
                                          **NO_CHECKS}
    config["listeners"]["public"]["rules"] = [
        {"when": {"path": ["/socket"]}, "then": {"forward": "sockets"}}]
    lbd = rig.lbd(config)
    seen = browse(rig, f"https://shop.test:{port}/", origin.results)
    check("error" not in seen, f"the page says {seen}")
    check_equal(seen["parts"], PARTS, "sub-resources")
    check_equal(seen["upload"], UPLOAD, "bytes that the target got")
    check_equal(seen["events"], [f"event {n}" for n in range(EVENTS)], "events")
    check_equal((seen["socket"], seen["closed"]), ([5, 100_000], [1000, True]), "WebSocket")
    check_equal((seen["script"], seen["style"]), ("ran", "rgb(1, 2, 3)"), "script and style")
    check_equal(seen["protocols"], ["h2"], "protocols, as the browser names them")
    wait_until(lambda: [r for r in lbd.access_log() if r["uri"] == "/socket"], 10, "no socket line")
    rows = lbd.access_log()
    pages = [row for row in rows if row["uri"].startswith("/part/")]
    check_equal({(row["protocol"], row["status"]) for row in pages}, {("HTTP/2.0", 200)}, "parts")
    check_equal(len({row["client_port"] for row in pages}), 1, "connections that parts came on")
    bad = [row for row in rows if row["status"] >= 400 and row["uri"] != "/favicon.ico"]
    check_equal(bad, [], "failed requests")
    row = next(row for row in rows if row["uri"] == "/socket")
    check_equal((row["status"], row.get("reason")), (101, None), "the WebSocket's line")

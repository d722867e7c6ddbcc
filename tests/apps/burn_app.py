#!/usr/bin/env python3
"""A small HTTP/1.1 application whose requests cost real CPU, within a share it was given.

It stands for "the app behind the balancer" in the demo and in the end-to-end tests: one process,
one thread. `--share 0.15` gives it 15 % of one CPU: requests that burn wait in line, in order,
whenever the process (all of it, not only the burning) is ahead of that share. /healthz never waits.

  /, /burn?ms=N    burns N ms of CPU (default --work-ms)    /slow?ms=N   waits without burning
  /size?n=N[&chunked=1][&wait_ms=N]  N bytes, a known pattern  /echo          the body back
  /checksum            {"bytes","crc32"} of the body, streamed   /status/CODE   that status
  /id                  {"id","zone","pid","served"}              /headers       the head as it came
  /chain?TIER_ms=N     burns N ms if --tier is TIER, asks --behind for the same if there is one,
                       and answers {"id","zone","tier","caller","behind"}, who took part
  /healthz             200, or what POST /admin/health?code=N[&wait_ms=N] set
  POST /admin/fail?code=N&count=N   the next N burning or /id requests answer that code
"""
import argparse
import asyncio
import collections
import hashlib
import json
import os
import signal
import sys
import time
import urllib.parse
import zlib

HEAD_BYTES_MAX = 128 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024  # of /echo, which holds the body
PIECE = bytes(range(256)) * 256  # 64 KiB; byte i of any /size body is i & 255
BLOCK = b"\x5a" * 4096


def pattern(size: int) -> bytes:
    """The body of /size?n=size."""
    return (PIECE * (size // len(PIECE) + 1))[:size]


class CpuShare:
    """Holds the process to `share` CPUs: a token bucket of CPU seconds fed by the wall clock.

    The burst is a quarter of a second's worth, so over any second usage stays below
    1.25 × share + one piece of work, and at saturation it is the share itself.
    """

    def __init__(self, share: float):
        self.share = share
        self._burst = share * 0.25
        self._budget = self._burst
        self._wall = time.monotonic()
        self._cpu = time.process_time()
        self._samples = collections.deque(maxlen=9)  # (wall, cpu) every 250 ms: two seconds
        self._samples.append((self._wall, self._cpu))

    def wait_seconds(self) -> float:
        """How long until work may run; 0: now."""
        wall, cpu = time.monotonic(), time.process_time()
        self._budget += (wall - self._wall) * self.share - (cpu - self._cpu)
        self._budget = min(self._budget, self._burst)
        self._wall, self._cpu = wall, cpu
        return 0.0 if self._budget > 0 else -self._budget / self.share + 0.0005

    def sample(self) -> None:
        self._samples.append((time.monotonic(), time.process_time()))

    def usage_ratio(self) -> float:
        """CPU used ÷ share over the last two seconds."""
        wall, cpu = self._samples[0]
        elapsed = time.monotonic() - wall
        return (time.process_time() - cpu) / (elapsed * self.share) if elapsed > 0.01 else 0.0


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    digest = hashlib.sha256()
    while time.process_time() < until:
        for _ in range(16):
            digest.update(BLOCK)


class Request:
    def __init__(self, head: bytes):
        lines = head[:-4].split(b"\r\n")
        self.method, self.target, self.version = lines[0].decode("latin-1").split(" ")
        self.fields = []
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            self.fields.append((name, value.strip()))
        self.headers = {name.lower(): value for name, value in self.fields}
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection and self.version == "HTTP/1.1"

    def number(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))

    def has_body(self) -> bool:
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"


class Connection:
    """One client connection: requests one after the other, pipelined ones stay in the buffer."""

    def __init__(self, app, reader, writer):
        self.app, self.reader, self.writer = app, reader, writer
        self.busy = False
        self.body_read = True

    async def serve(self):
        try:
            while not self.app.stopping.is_set():
                self.busy = False
                head = await self.reader.readuntil(b"\r\n\r\n")
                self.busy = True
                request = Request(head)
                self.body_read = not request.has_body()
                await self.app.handle(request, self)
                if not self.body_read:
                    async for _ in self.body(request):
                        pass
                await self.writer.drain()
                if not request.keep_alive:
                    break
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except (ConnectionError, ValueError):
            pass
        finally:
            self.writer.close()

    async def body(self, request):
        self.body_read = True
        if request.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "transfer-encoding" not in request.headers:
            left = int(request.headers.get("content-length", "0"))
            while left:
                piece = await self.reader.read(min(left, 1 << 18))
                if not piece:
                    raise ConnectionResetError
                left -= len(piece)
                yield piece
            return
        while True:
            left = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if not left:
                while await self.reader.readuntil(b"\r\n") != b"\r\n":
                    pass  # trailers
                return
            while left:
                piece = await self.reader.read(min(left, 1 << 18))
                if not piece:
                    raise ConnectionResetError
                left -= len(piece)
                yield piece
            if await self.reader.readexactly(2) != b"\r\n":
                raise ValueError("chunk without its end")

    def reply(self, request, status, body=b"", **headers):
        sent = b"" if request.method == "HEAD" else body
        self.head(request, status, {"content-length": str(len(body)), **headers}, sent)

    def head(self, request, status, headers, body=b""):
        app = self.app
        if app.stopping.is_set():
            request.keep_alive = False
        phrase = "OK" if status == 200 else "Status"
        lines = [f"HTTP/1.1 {status} {phrase}", f"x-instance: {app.id}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if app.orca:
            ratio = app.share.usage_ratio()
            lines.append(f"endpoint-load-metrics: TEXT cpu_utilization={ratio:.4f}")
        if not request.keep_alive:
            lines.append("connection: close")
        # At once: killed in between, it would have answered half.
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


class App:
    def __init__(self, args):
        self.id = args.id or f"app-{os.getpid()}"
        self.zone, self.orca = args.zone, args.orca
        self.address, self.tier, self.behind = args.address, args.tier, args.behind
        self.work_seconds = args.work_ms / 1000
        self.share = CpuShare(args.share)
        self.line = collections.deque()  # (future, CPU seconds) of requests that wait to burn
        self.wakeup = asyncio.Event()
        self.stopping = asyncio.Event()
        self.connections = set()
        self.health = (200, 0.0)  # status, delay
        self.fail = [0, 0]  # status, how many more
        self.served = 0
        self.started = time.monotonic()
        self.boot_seconds = args.boot_seconds

    async def burner(self):
        """Runs the line's head whenever the share allows; work above 5 ms is done in pieces."""
        while True:
            if not self.line:
                self.wakeup.clear()
                await self.wakeup.wait()
            future, seconds = self.line[0]
            while seconds > 0:
                while (wait := self.share.wait_seconds()) > 0:
                    await asyncio.sleep(wait)
                burn(min(seconds, 0.005))
                seconds -= 0.005
                await asyncio.sleep(0)
            self.line.popleft()
            if not future.done():
                future.set_result(None)

    async def work(self, seconds):
        future = asyncio.get_running_loop().create_future()
        self.line.append((future, seconds))
        self.wakeup.set()
        await future

    async def handle(self, request, connection):
        route = getattr(self, "do_" + request.path.strip("/").partition("/")[0], None)
        self.served += 1
        await (route or self.do_burn)(request, connection)

    def failing(self, request, connection) -> bool:
        status, left = self.fail
        if left:
            self.fail[1] -= 1
            connection.reply(request, status, b"told to fail\n")
        return bool(left)

    async def do_burn(self, request, connection):
        if self.failing(request, connection):
            return
        await self.work(request.number("ms", self.work_seconds * 1000) / 1000)
        connection.reply(request, 200, b"burnt by " + self.id.encode() + b"\n")

    async def do_healthz(self, request, connection):
        status, delay = self.health
        if delay:
            await asyncio.sleep(delay)
        if time.monotonic() - self.started < self.boot_seconds or self.stopping.is_set():
            status = 503
        connection.reply(request, status, b"ok\n" if status == 200 else b"not ok\n")

    async def do_slow(self, request, connection):
        await asyncio.sleep(request.number("ms", 1000) / 1000)
        connection.reply(request, 200, b"slow\n")

    async def do_size(self, request, connection):
        left, chunked = int(request.number("n", 0)), "chunked" in request.query
        field = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(left)}
        connection.head(request, 200, field)
        while left and request.method != "HEAD":
            piece = PIECE[: min(left, len(PIECE))]
            left -= len(piece)
            if chunked:
                connection.writer.write(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            else:
                connection.writer.write(piece)
            await connection.writer.drain()
            if "wait_ms" in request.query:
                await asyncio.sleep(request.number("wait_ms", 0) / 1000)
        if chunked and request.method != "HEAD":
            connection.writer.write(b"0\r\nx-trailer: 1\r\n\r\n")

    async def do_echo(self, request, connection):
        pieces, size = [], 0
        async for piece in connection.body(request):
            pieces.append(piece)
            size += len(piece)
            if size > BODY_BYTES_MAX:
                request.keep_alive = False
                connection.reply(request, 413, b"too large for /echo\n")
                raise ConnectionResetError
        connection.reply(request, 200, b"".join(pieces))

    async def do_checksum(self, request, connection):
        size = crc = 0
        async for piece in connection.body(request):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
        connection.reply(request, 200, json.dumps({"bytes": size, "crc32": crc}).encode())

    async def do_status(self, request, connection):
        status = int(request.path.rpartition("/")[2])
        if status in (204, 304):
            connection.head(request, status, {})
        else:
            connection.reply(request, status, b"as asked\n")

    async def do_id(self, request, connection):
        if self.failing(request, connection):
            return
        own = {"id": self.id, "zone": self.zone, "pid": os.getpid(), "served": self.served}
        connection.reply(request, 200, json.dumps(own).encode())

    async def do_chain(self, request, connection):
        if work_ms := request.number(f"{self.tier}_ms", 0):
            await self.work(work_ms / 1000)
        caller = request.headers.get("x-forwarded-for", "")
        own = {"id": self.id, "zone": self.zone, "tier": self.tier, "caller": caller}
        status, body = 200, b"null"
        if self.behind:
            status, body = await self.ask_behind(request.target)
        if status == 200:
            body = json.dumps({**own, "behind": json.loads(body)}).encode()
        connection.reply(request, status, body)

    async def ask_behind(self, target):
        """Status and body of GET `target` there, on a connection from this instance's address."""
        host, _, port = self.behind.rpartition(":")
        own = (self.address, 0)
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=own)
        try:
            fields = f"host: {self.behind}\r\nconnection: close"
            writer.write(f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].partition("\r")[0]
            return int(head.split(" ")[1]), await reader.readexactly(int(length))
        finally:
            writer.close()

    async def do_headers(self, request, connection):
        head = {"method": request.method, "target": request.target, "fields": request.fields}
        connection.reply(request, 200, json.dumps(head).encode())

    async def do_admin(self, request, connection):
        if request.path == "/admin/health":
            self.health = (int(request.number("code", 200)), request.number("wait_ms", 0) / 1000)
        elif request.path == "/admin/fail":
            self.fail = [int(request.number("code", 500)), int(request.number("count", 1))]
        connection.reply(request, 200, b"set\n")

    async def do_metrics(self, request, connection):
        """As node_exporter would show a machine with one CPU of this share."""
        busy = time.process_time() / self.share.share
        idle = max(time.monotonic() - self.started - busy, 0)
        text = "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n"
        text += "# TYPE node_cpu_seconds_total counter\n"
        for mode, seconds in (("idle", idle), ("system", 0), ("user", busy)):
            text += f'node_cpu_seconds_total{{cpu="0",mode="{mode}"}} {seconds:.4f}\n'
        version = "text/plain; version=0.0.4; charset=utf-8"
        connection.reply(request, 200, text.encode(), content_type=version)

    async def accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        task = asyncio.current_task()
        self.connections.add((connection, task))
        try:
            await connection.serve()
        finally:
            self.connections.discard((connection, task))


async def run(args):
    app, loop = App(args), asyncio.get_running_loop()
    servers = [
        await asyncio.start_server(
            app.accept, args.address, port, limit=HEAD_BYTES_MAX, backlog=1024, reuse_address=True
        )
        for port in (args.port, args.node_exporter_port)
        if port
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stopping.set)
    burner = asyncio.create_task(app.burner())
    while not app.stopping.is_set():
        app.share.sample()
        try:
            await asyncio.wait_for(app.stopping.wait(), 0.25)
        except asyncio.TimeoutError:
            pass
    for server in servers:
        server.close()
    for connection, task in list(app.connections):
        if not connection.busy:
            task.cancel()
    while any(connection.busy for connection, _ in app.connections):
        await asyncio.sleep(0.01)
    burner.cancel()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="CPUs this process may use")
    parser.add_argument("--work-ms", type=float, default=5.0, help="CPU of a request to /")
    parser.add_argument("--id", default="")
    parser.add_argument("--zone", default="")
    parser.add_argument("--orca", action="store_true", help="send endpoint-load-metrics")
    parser.add_argument("--node-exporter-port", type=int, default=0)
    parser.add_argument("--tier", default="", help="name of this tier in /chain")
    parser.add_argument("--behind", default="", metavar="HOST:PORT", help="next tier of /chain")
    parser.add_argument("--boot-seconds", type=float, default=0.0, help="/healthz is 503 until")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

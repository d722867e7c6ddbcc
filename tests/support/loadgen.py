#!/usr/bin/env python3
"""Load generator of the end-to-end tests and the demo. Bounded in time and count; retries nothing.

Open loop: requests start when a rate profile says so, whatever became of earlier ones, and latency
counts from that moment (no coordinated omission). Closed loop: `connections` clients, each sends
its next request when the last one ended. A failure is a connection error, a 5xx, a truncated or a
wrong body. Used as a library (`Load`) or: loadgen.py URL --profile 0:20,30:120 --seconds 60
"""
import argparse
import asyncio
import collections
import dataclasses
import json
import random
import sys
import threading
import time
import urllib.parse
import zlib

IDLE_SECONDS_MAX = 15.0  # a kept connection older than this is closed, not used: below any server's


@dataclasses.dataclass
class Outcome:
    at: float  # seconds since the start of the load, when it was due
    seconds: float  # from due to the last byte
    method: str
    path: str
    status: int  # 0: none
    size: int  # body bytes
    error: str  # empty: it is a success
    reason: str  # x-lbd-reason
    instance: str  # x-instance


@dataclasses.dataclass
class Call:
    """One kind of request. `body` of POSTs comes back as it is from /echo: `expect` checks it."""

    path: str = "/"
    method: str = "GET"
    body: bytes = b""
    weight: float = 1.0
    expect: bytes | None = None
    headers: tuple = ()


class Client(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self):
        self.transport = None
        self.waiter = None
        self.used = 0.0
        self.open = False

    def connection_made(self, transport):
        self.transport, self.open = transport, True

    def connection_lost(self, error):
        self.open = False
        if self.waiter and not self.waiter.done():
            if self.state == "until_close":
                self._finish()
            else:
                where = "before the head" if self.state == "head" else "truncated body"
                self.waiter.set_exception(ConnectionError(f"closed: {where} ({error or 'end'})"))

    def send(self, data, head_only):
        self.buffer, self.size, self.crc, self.state = bytearray(), 0, 0, "head"
        self.fields, self.status, self.left, self.head_only = {}, 0, 0, head_only
        self.body = bytearray()
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.waiter

    def data_received(self, data):
        if not self.waiter or self.waiter.done():
            self.transport.abort()  # bytes nobody asked for
            self.open = False
            return
        self.buffer += data
        try:
            while self.buffer and not self.waiter.done() and self._step():
                pass
        except (ValueError, IndexError) as error:
            self.waiter.set_exception(ConnectionError(f"not HTTP: {error}"))

    def _step(self):
        if self.state == "head":
            return self._head()
        if self.state == "size":
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return False
            self.left = int(self.buffer[:end].split(b";")[0], 16)
            del self.buffer[: end + 2]
            self.state = "chunk" if self.left else "trailer"
            self.left += 2 if self.left else 0
            return True
        if self.state == "trailer":
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return False
            del self.buffer[: end + 2]
            if end == 0:
                self._finish()
            return True
        taken = bytes(self.buffer if self.state == "until_close" else self.buffer[: self.left])
        del self.buffer[: len(taken)]
        self.left -= len(taken)
        if self.state == "chunk":  # the chunk's own CRLF is the last two of `left`
            taken = taken[: max(len(taken) - max(2 - self.left, 0), 0)]
        self._take(taken)
        if self.left == 0 and self.state == "chunk":
            self.state = "size"
        elif self.left == 0 and self.state == "body":
            self._finish()
        return True

    def _take(self, piece):
        self.size += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        if len(self.body) < 65536:
            self.body += piece

    def _head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        self.status = int(lines[0].split(" ")[1])
        self.fields = {n.lower(): v.strip() for n, _, v in (f.partition(":") for f in lines[1:])}
        if self.status < 200:
            return True
        if self.head_only or self.status in (204, 304):
            self._finish()
        elif "chunked" in self.fields.get("transfer-encoding", ""):
            self.state = "size"
        elif "content-length" in self.fields:
            self.state, self.left = "body", int(self.fields["content-length"])
            if not self.left:
                self._finish()
        else:
            self.state = "until_close"
        return True

    def _finish(self):
        self.state = "done"
        if self.fields.get("connection", "").lower() == "close" and self.open:
            self.transport.close()
            self.open = False
        self.waiter.set_result(None)


class Load:
    """Runs in a thread of its own. `profile`: [(second, requests per second), …], linear between
    points, the last one holds; may be replaced while it runs. Give `clients` for closed loop."""

    def __init__(self, url, calls=None, *, profile=None, clients=0, seconds=60.0, **more):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.netloc = parts.netloc
        self.calls = calls or [Call(path=parts.path or "/")]
        self.profile = profile or [(0, 10)]
        self.clients, self.seconds = clients, seconds
        self.requests_max = more.get("requests_max", 1_000_000)
        self.connections_max = more.get("connections_max", 256)
        self.timeout = more.get("timeout", 30.0)
        self.rng = random.Random(more.get("seed", 1))
        self.outcomes: list[Outcome] = []
        self.started = 0.0  # time.monotonic()
        self.in_flight = 0
        self._idle = collections.deque()
        self._slots = None  # at most connections_max at once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self):
        self.started = time.monotonic()
        self._thread.start()
        return self

    def now(self):
        return time.monotonic() - self.started

    def set_rate(self, rps):
        """From now on this rate, until set again."""
        self.profile = [(self.now(), rps)]

    def stop(self):
        """No new requests; waits for those in flight. Returns the summary."""
        self._stop.set()
        return self.wait()

    def wait(self):
        self._thread.join(self.seconds + self.timeout + 10)
        if self._thread.is_alive():
            raise RuntimeError("the load generator did not end")
        return self.summary()

    def rate(self, at):
        points = self.profile
        if at <= points[0][0]:
            return points[0][1]
        for (t0, r0), (t1, r1) in zip(points, points[1:]):
            if at < t1:
                return r0 + (r1 - r0) * (at - t0) / (t1 - t0)
        return points[-1][1]

    async def _run(self):
        self._slots = asyncio.Semaphore(self.connections_max)
        tasks = set()
        if self.clients:
            tasks = {asyncio.create_task(self._closed()) for _ in range(self.clients)}
        else:
            await self._open_loop(tasks)
        if tasks:
            await asyncio.wait(tasks)
        for client in self._idle:
            client.transport.abort()

    def _ended(self):
        over = self.now() >= self.seconds or len(self.outcomes) >= self.requests_max
        return over or self._stop.is_set()

    async def _closed(self):
        while not self._ended():
            await self._one(self.now())

    async def _open_loop(self, tasks):
        due = last = sent = 0.0
        while not self._ended() and sent < self.requests_max:
            await asyncio.sleep(0.005)
            now = self.now()
            due += (now - last) * self.rate(now)
            last = now
            while sent < int(due):
                sent += 1
                task = asyncio.create_task(self._one(now))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _one(self, at):
        call = self.rng.choices(self.calls, [c.weight for c in self.calls])[0]
        self.in_flight += 1
        client, error = None, ""
        try:
            client = await asyncio.wait_for(self._exchange(call), self.timeout)
            if client.status >= 500:
                error = f"status {client.status}"
            elif call.expect is not None and bytes(client.body) != call.expect[:65536]:
                error = "wrong body"
        except (asyncio.TimeoutError, TimeoutError):
            error = f"no reply in {self.timeout:g} s"
        except OSError as failure:
            error = str(failure) or type(failure).__name__
        self.in_flight -= 1
        fields = client.fields if client else {}
        self.outcomes.append(
            Outcome(
                at,
                self.now() - at,
                call.method,
                call.path,
                client.status if client else 0,
                client.size if client else 0,
                error,
                fields.get("x-lbd-reason", ""),
                fields.get("x-instance", ""),
            )
        )
        if client and client.open:
            client.used = self.now()
            self._idle.append(client)

    async def _exchange(self, call):
        async with self._slots:
            return await self._send(call, await self._connection())

    async def _send(self, call, client):
        lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {self.netloc}", *call.headers]
        if call.body or call.method == "POST":
            lines.append(f"content-length: {len(call.body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + call.body
        try:
            await client.send(data, call.method == "HEAD")
        except BaseException:
            client.open = False
            client.transport.abort()
            raise
        return client

    async def _connection(self):
        while True:
            while self._idle:
                client = self._idle.pop()
                if client.open and self.now() - client.used < IDLE_SECONDS_MAX:
                    return client
                client.transport.abort()
                client.open = False
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(Client, self.host, self.port)
            return client

    def failures(self, since=0.0, methods=None):
        """Failed requests due at or after `since`, of these methods (None: any)."""
        return [
            o
            for o in list(self.outcomes)
            if o.error and o.at >= since and (methods is None or o.method in methods)
        ]

    def summary(self):
        done = list(self.outcomes)
        times = sorted(o.seconds for o in done if not o.error)
        errors = collections.Counter(o.error + (f" {o.reason}" if o.reason else "") for o in done)
        errors = {text: count for text, count in errors.items() if text.strip()}

        def at(share):
            return times[min(int(len(times) * share), len(times) - 1)] if times else 0.0

        return {
            "requests": len(done),
            "failures": sum(1 for o in done if o.error),
            "errors": errors,
            "seconds": round(max((o.at + o.seconds for o in done), default=0.0), 3),
            "statuses": dict(collections.Counter(str(o.status) for o in done)),
            "p50": at(0.5),
            "p99": at(0.99),
            "p999": at(0.999),
        }

    def series(self, step=1.0):
        """Per step of the load's time: completed requests, failures, p99 of those that ended."""
        buckets = collections.defaultdict(list)
        for outcome in list(self.outcomes):
            buckets[int((outcome.at + outcome.seconds) / step)].append(outcome)
        rows = []
        for index in range(max(buckets, default=-1) + 1):
            ended = buckets.get(index, [])
            times = sorted(o.seconds for o in ended)
            rows.append(
                {
                    "at": index * step,
                    "rps": len(ended) / step,
                    "failures": sum(1 for o in ended if o.error),
                    "p99": times[int(len(times) * 0.99)] if times else 0.0,
                }
            )
        return rows


def parse_profile(text):
    points = (pair.split(":") for pair in text.split(","))
    return [(float(second), float(rate)) for second, rate in points]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--profile", type=parse_profile, default=[(0, 10)], help="0:20,30:120")
    parser.add_argument("--clients", type=int, default=0, help="closed loop with this many")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--post-share", type=float, default=0.0, help="of requests, to /echo")
    parser.add_argument("--series", action="store_true")
    args = parser.parse_args()
    calls = [Call(path=urllib.parse.urlsplit(args.url).path or "/", weight=1 - args.post_share)]
    if args.post_share:
        body = b"a body to be echoed " * 20
        calls.append(Call("/echo", "POST", body, args.post_share, body))
    bounds = {"seconds": args.seconds, "requests_max": args.requests}
    load = Load(args.url, calls, profile=args.profile, clients=args.clients, **bounds).start()
    summary = load.wait()
    if args.series:
        summary["series"] = load.series()
    print(json.dumps(summary, indent=2))
    return 1 if summary["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())

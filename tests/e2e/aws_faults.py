"""A fault proxy in front of moto: what real EC2 does on bad days, by script, one call at a time.

The client signs for the proxy's host:port; the proxy passes Host and all else through unchanged, so
moto checks the very signature the client made. Always on: EC2's ClientToken memory (moto has
none) and the filters moto fails on. Everything else is a `Rule` or a setting of `FaultProxy`.
Thread: an event loop of its own; rules and settings may be changed from the test at any time.
"""
import asyncio
import dataclasses
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from email.utils import formatdate

ANY = "{*}"  # the namespace carries an API version, moto's is another than EC2's
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}
# token buckets of real EC2: burst, refill per second (EC2 developer guide, API throttling)
BUCKETS = {"RunInstances": (5, 2), "TerminateInstances": (100, 5), "Describe": (50, 10)}


@dataclasses.dataclass
class Rule:
    """Applies to calls of `action` (empty: any) that name `subnet` (empty: any), `count` times.

    effect: error | lose_reply (the call happens, the connection dies) | reset (nothing happens) |
    garbage (200, not XML) | truncate (half of the real answer) | delay (then as usual).
    """

    action: str = ""
    effect: str = "error"
    subnet: str = ""
    count: float = float("inf")
    status: int = 500
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    seconds: float = 0.0
    probability: float = 1.0
    used: int = 0


def capacity_error(subnet="", zone="the requested zone", **more):
    text = (
        f"We currently do not have sufficient t3.micro capacity in {zone}. Our system will be "
        "working on provisioning additional capacity."
    )
    code = "InsufficientInstanceCapacity"
    return Rule("RunInstances", "error", subnet, status=500, code=code, message=text, **more)


def throttle_error(action="", **more):
    code, text = "RequestLimitExceeded", "Request limit exceeded."
    return Rule(action, "error", status=503, code=code, message=text, **more)


def expired_error(action="", **more):
    code, text = "RequestExpired", "Request has expired."
    return Rule(action, "error", status=400, code=code, message=text, **more)


@dataclasses.dataclass
class Call:
    """One line of the log. `answer` is the status the client got (0: none) and `code` its error."""

    at: float
    action: str
    params: dict
    answer: int = 0
    code: str = ""
    effect: str = ""
    instances: tuple = ()  # ids a RunInstances made, even when its reply was lost
    key: str = ""  # access key id


class Bucket:
    def __init__(self, burst, refill):
        self.burst, self.refill, self.level, self.at = burst, refill, burst, time.monotonic()

    def take(self):
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self.at) * self.refill)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Message:
    """An HTTP/1.1 request or answer as bytes and parsed head."""

    def __init__(self, line, fields, body):
        self.line, self.fields, self.body = line, fields, body

    def get(self, name):
        return next((v for k, v in self.fields if k.lower() == name), "")

    @property
    def status(self):
        return int(self.line.split(" ")[1])

    def encode(self, connection="keep-alive"):
        drop = ("content-length", "connection", "transfer-encoding", "keep-alive")
        fields = [(k, v) for k, v in self.fields if k.lower() not in drop]
        fields += [("Content-Length", str(len(self.body))), ("Connection", connection)]
        head = "\r\n".join([self.line, *(f"{k}: {v}" for k, v in fields)])
        return head.encode("latin-1") + b"\r\n\r\n" + self.body


async def read_message(reader, answer=False):
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    fields = [(k, v.strip()) for k, _, v in (line.partition(":") for line in head[1:])]
    message = Message(head[0], fields, b"")
    if message.get("transfer-encoding"):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            message.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    elif message.get("content-length"):
        message.body = await reader.readexactly(int(message.get("content-length")))
    elif answer:
        message.body = await reader.read()
    return message


def error_answer(rule):
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{rule.code}</Code><Message>{rule.message}</Message></Error></Errors>"
        "<RequestID>00000000-fa17-4fa1-8fa1-000000000000</RequestID></Response>"
    )
    line = f"HTTP/1.1 {rule.status} Fault"
    return Message(line, [("Content-Type", "text/xml;charset=UTF-8")], body.encode())


def signed_at(message):
    """Unix time of X-Amz-Date, 0 when there is none."""
    text = message.get("x-amz-date")
    if not re.fullmatch(r"\d{8}T\d{6}Z", text):
        return 0
    return time.mktime(time.strptime(text, "%Y%m%dT%H%M%SZ")) - time.timezone


class FaultProxy:
    """`url` is what the client gets as its endpoint. Settings may change while it runs:

    hide_seconds   new instances are absent from DescribeInstances for so long
    boot_seconds   new instances are reported pending for so long
    skew_seconds   the cloud's clock minus ours: signatures 5 min off it are refused, Date says it
    expired_keys   access key ids whose session has expired
    throttling     real token buckets
    detailed_monitoring  as a launch template may ask; moto does not look there
    doomed         (seconds, stateReason code): launches go pending → terminated; None: none
    """

    def __init__(self, moto_port, ec2, seed=1):
        self.moto_port, self.ec2 = moto_port, ec2  # ec2: a boto3 client straight to moto
        self.rng = random.Random(seed)
        self.rules, self.log = [], []
        self.hide_seconds = self.boot_seconds = self.skew_seconds = 0.0
        self.expired_keys, self.throttling, self.doomed = set(), False, None
        self.detailed_monitoring = False
        self._buckets = {name: Bucket(*size) for name, size in BUCKETS.items()}
        self._tokens = {}  # (token, subnet) → (params, answer)
        self._locks = {}
        self._launched = {}  # id → time
        self._dooms = {}  # id → (time, reason)
        self._fields = {}  # id → client token
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}"

    async def _run(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)

    def add(self, rule):
        self.rules.append(rule)
        return rule

    def clear(self):
        """Back to a good day; what was launched, hidden or doomed keeps its course."""
        self.rules = []
        self.hide_seconds = self.boot_seconds = self.skew_seconds = 0.0
        self.expired_keys, self.throttling, self.doomed = set(), False, None

    def calls(self, action, since=0.0):
        return [c for c in list(self.log) if c.action == action and c.at >= since]

    async def _serve(self, reader, writer):
        try:
            while True:
                request = await read_message(reader)
                answer = await self._answer(request)
                if answer is None:
                    break
                writer.write(answer.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled: the proxy closes
        finally:
            self._reset(writer)

    def _reset(self, writer):
        """RST, not FIN: the client learns nothing."""
        peer = writer.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _answer(self, request):
        form = dict(urllib.parse.parse_qsl(request.body.decode("latin-1")))
        key = re.search(r"Credential=([^/,]+)", request.get("authorization"))
        call = Call(time.monotonic(), form.get("Action", request.line), form)
        call.key = key[1] if key else ""
        self.log.append(call)
        rule = self._refusal(call, request) or self._rule(call)
        call.effect = rule.effect if rule else ""
        if rule and rule.effect == "delay":
            await asyncio.sleep(rule.seconds)
        if rule and rule.effect == "reset":
            return None
        if rule and rule.effect == "error":
            call.code, call.answer = rule.code, rule.status
            return self._dated(error_answer(rule))
        answer = await self._perform(call, request)
        if rule and rule.effect == "lose_reply":
            return None
        if rule and rule.effect == "garbage":
            answer.body, answer.line = b"<html><<&&\x00 not what you hoped", "HTTP/1.1 200 OK"
        if rule and rule.effect == "truncate":
            answer.body = answer.body[: len(answer.body) // 2]
        call.answer = answer.status
        found = re.search(rb"<Code>([^<]+)</Code>", answer.body) if answer.status >= 400 else None
        call.code = found[1].decode() if found else ""
        return self._dated(answer)

    def _dated(self, answer):
        answer.fields = [(k, v) for k, v in answer.fields if k.lower() != "date"]
        answer.fields.append(("Date", formatdate(time.time() + self.skew_seconds, usegmt=True)))
        return answer

    def _rule(self, call):
        subnets = [v for k, v in call.params.items() if "SubnetId" in k]
        for rule in self.rules:
            if rule.action not in ("", call.action) or rule.used >= rule.count:
                continue
            if rule.subnet and rule.subnet not in subnets:
                continue
            if self.rng.random() < rule.probability:
                rule.used += 1
                return rule
        return None

    def _refusal(self, call, request):
        if call.key in self.expired_keys:
            return expired_error()
        stamp = signed_at(request)
        if stamp and abs(time.time() + self.skew_seconds - stamp) > 300:
            text = "Signature expired: the request time and the current time are too far apart"
            return Rule(status=403, code="SignatureDoesNotMatch", message=text)
        kind = "Describe" if call.action.startswith("Describe") else call.action
        if self.throttling and kind in self._buckets and not self._buckets[kind].take():
            return throttle_error()
        return self._hidden(call)

    def _hidden(self, call):
        """Ids that are not visible yet are unknown to every call that names them."""
        for name, value in call.params.items():
            if name.startswith("InstanceId.") and self._is_hidden(value):
                text = f"The instance ID '{value}' does not exist"
                return Rule(status=400, code="InvalidInstanceID.NotFound", message=text)
        return None

    def _is_hidden(self, instance):
        launched = self._launched.get(instance)
        return launched is not None and time.monotonic() - launched[0] < launched[1]

    async def _perform(self, call, request):
        if call.action == "RunInstances":
            return await self._launch(call, request)
        if call.action == "DescribeInstances":
            answer = await self._describe(call, request)
            if self.detailed_monitoring:
                basic = rb"(<monitoring>\s*<state>)disabled"
                answer.body = re.sub(basic, rb"\1enabled", answer.body)
            return answer
        return await self._forward(request)

    async def _forward(self, request):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.moto_port, limit=1 << 24)
        try:
            writer.write(request.encode("close"))
            return await read_message(reader, answer=True)
        finally:
            writer.close()

    async def _launch(self, call, request):
        subnet = next((v for k, v in call.params.items() if "SubnetId" in k), "")
        token = call.params.get("ClientToken", "")
        lock = self._locks.setdefault((token, subnet), asyncio.Lock())
        async with lock:
            known = self._tokens.get((token, subnet)) if token else None
            if known and known[0] != call.params:
                text = "The client token was used with other parameters"
                return error_answer(
                    Rule(status=400, code="IdempotentParameterMismatch", message=text)
                )
            if known:
                call.effect = (call.effect + " token known").strip()
                return Message(known[1].line, list(known[1].fields), known[1].body)
            answer = await self._forward(request)
            if answer.status == 200:
                self._remember(call, answer)
                self._tokens[(token, subnet)] = (call.params, answer)
            return Message(answer.line, list(answer.fields), answer.body)

    def _remember(self, call, answer):
        ids = re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer.body)
        call.instances = tuple(id.decode() for id in ids)
        now = time.monotonic()
        for instance in call.instances:
            self._launched[instance] = (now, self.hide_seconds, self.boot_seconds)
            self._fields[instance] = call.params.get("ClientToken", "")
            if self.doomed:
                self._dooms[instance] = (now + self.doomed[0], self.doomed[1])
                self._loop.call_later(self.doomed[0], self._doom, instance)

    def _doom(self, instance):
        self._loop.run_in_executor(
            None, lambda: self.ec2.terminate_instances(InstanceIds=[instance])
        )

    async def _describe(self, call, request):
        wanted = self._filters(call.params)
        answer = await self._forward(request)
        if answer.status != 200:
            if not wanted:
                return answer
            answer = await self._unfiltered(call.params, answer)
        tree = ElementTree.fromstring(answer.body)
        ElementTree.register_namespace("", tree.tag[1:].partition("}")[0])
        reservations = tree.find(f"{ANY}reservationSet")
        for reservation in list(reservations):
            instances = reservation.find(f"{ANY}instancesSet")
            for item in list(instances):
                if not self._show(item, wanted):
                    instances.remove(item)
            if not len(instances):
                reservations.remove(reservation)
        answer.body = ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True)
        return answer

    def _filters(self, params):
        """The filters moto fails on, as {name: values}: client-token."""
        wanted = {}
        for key, name in params.items():
            if key.endswith(".Name") and name == "client-token":
                prefix = key.removesuffix("Name") + "Value."
                wanted[name] = {v for k, v in params.items() if k.startswith(prefix)}
        return wanted

    async def _unfiltered(self, params, failed):
        """moto answers 500 to client-token filters, after it has accepted the signature: ask it
        ourselves without that filter, as raw XML."""
        if failed.status != 500:
            return failed
        held = {}

        def keep(http_response, **_):
            held["body"] = http_response.content

        self.ec2.meta.events.register("after-call.ec2.DescribeInstances", keep)
        await asyncio.get_running_loop().run_in_executor(None, self.ec2.describe_instances)
        fields = [("Content-Type", "text/xml")]
        return Message("HTTP/1.1 200 OK", fields, held["body"])

    def _show(self, item, wanted):
        """Rewrites one instance as this day's cloud would show it; False: not at all."""
        instance = item.findtext(f"{ANY}instanceId")
        if self._is_hidden(instance):
            return False
        token = self._fields.get(instance, "")
        if "client-token" in wanted and token not in wanted["client-token"]:
            return False
        state = item.findtext(f"{ANY}instanceState/{ANY}name")
        launched = self._launched.get(instance, (0.0, 0.0, 0.0))
        due, reason = self._dooms.get(instance, (0.0, ""))
        booting = time.monotonic() - launched[0] < launched[2]
        if state == "running" and (booting or due > time.monotonic()):
            self._set_state(item, "pending")
        if reason and due <= time.monotonic():
            self._set_state(item, "terminated")
            old = item.find(f"{ANY}stateReason")
            if old is not None:
                item.remove(old)
            own = item.tag.removesuffix("item")  # "{namespace}"
            node = ElementTree.SubElement(item, f"{own}stateReason")
            ElementTree.SubElement(node, f"{own}code").text = reason
            text = f"{reason}: the launch did not succeed"
            ElementTree.SubElement(node, f"{own}message").text = text
        return True

    def _set_state(self, item, state):
        item.find(f"{ANY}instanceState/{ANY}name").text = state
        item.find(f"{ANY}instanceState/{ANY}code").text = str(STATES[state])

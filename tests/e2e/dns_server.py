"""A DNS server for tests: UDP, and TCP for answers that do not fit, as RFC 1035 has it."""
import contextlib
import socket
import struct
import threading
import time

A, CNAME, AAAA, SRV = 1, 5, 28, 33
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
UDP_MAX = 512


def encoded(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


class DnsServer:
    """`records`: {(name, type): (ttl, [data, …])} with data as people write it.

    `failing`: {name: code}, "drop" or "garbage" in place of an answer; `delay`: seconds.
    `asked`: [(name, type, "udp" or "tcp")].
    """

    def __init__(self, rig, address="127.0.0.1"):
        self.address, self.records, self.failing = address, {}, {}
        self.delay, self.asked, self.closed = 0, [], False
        while True:  # one port for both
            self.tcp = socket.create_server((address, 0), backlog=32)
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with contextlib.suppress(OSError):
                self.udp.bind((address, self.port))
                break
            self.tcp.close()
        self.text = f"{address}:{self.port}"
        rig.closers.append(self.close)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def close(self):
        self.closed = True
        self.udp.close()
        self.tcp.close()

    def set(self, name, kind, data, ttl=1):
        self.records[name, kind] = (ttl, list(data))

    def count(self, name, kind, over=None):
        asked = [each for each in list(self.asked) if each[:2] == (name, kind)]
        return len([each for each in asked if over in (None, each[2])])

    def _serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                question, peer = self.udp.recvfrom(4096)
                threading.Thread(target=self._reply_udp, args=(question, peer), daemon=True).start()

    def _reply_udp(self, question, peer):
        answer = self.answer(question, "udp")
        if answer is None:
            return
        if len(answer) > UDP_MAX:
            flags = struct.unpack("!H", answer[2:4])[0] | 0x0200
            head = answer[:2] + struct.pack("!H", flags) + b"\0\1\0\0\0\0\0\0"
            answer = head + question[12 : self.question_end(question)]
        with contextlib.suppress(OSError):
            self.udp.sendto(answer, peer)

    def _serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                threading.Thread(target=self._reply_tcp, args=(connection,), daemon=True).start()

    def _reply_tcp(self, connection):
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError, struct.error):
            while True:
                size = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
                answer = self.answer(connection.recv(size, socket.MSG_WAITALL), "tcp")
                if answer is None:
                    return
                connection.sendall(struct.pack("!H", len(answer)) + answer)

    @staticmethod
    def question_end(question):
        at = 12
        while question[at]:
            at += question[at] + 1
        return at + 5

    def answer(self, question, over):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
            at += question[at] + 1
        name, kind = ".".join(labels), struct.unpack("!H", question[at + 1 : at + 3])[0]
        self.asked.append((name, kind, over))
        if self.delay:
            time.sleep(self.delay)
        failing = self.failing.get(name)
        if failing == "drop":
            return None
        records, code = [], failing or NOERROR
        if failing == "garbage":
            code = NOERROR
        elif not failing:
            records = self.chain(name, kind)
            if not records and not any(known == name for known, _ in self.records):
                code = NXDOMAIN
        body = b"".join(records)
        flags = 0x8580 | (0 if failing == "garbage" else code)  # a server of its own zone
        asked = question[12 : at + 5]
        count = 3 if failing == "garbage" else len(records)
        header = question[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0)
        return header + asked + (b"\xc0\xff\xff" if failing == "garbage" else body)

    def chain(self, name, kind):
        found = []
        while kind != CNAME and (name, CNAME) in self.records:
            ttl, (target,) = self.records[name, CNAME]
            found.append(self.record(name, CNAME, ttl, encoded(target)))
            name = target
        ttl, data = self.records.get((name, kind), (0, []))
        return found + [self.record(name, kind, ttl, self.packed(kind, each)) for each in data]

    @staticmethod
    def record(name, kind, ttl, data):
        return encoded(name) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data

    @staticmethod
    def packed(kind, data):
        if kind == A:
            return socket.inet_aton(data)
        if kind == AAAA:
            return socket.inet_pton(socket.AF_INET6, data)
        priority, weight, port, target = data
        return struct.pack("!HHH", priority, weight, port) + encoded(target)

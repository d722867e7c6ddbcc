"""An HTTP/2 client for tests: python-h2 where it is to behave, and bare frames where it is not."""

import contextlib
import socket
import ssl
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11


def dial(port, tls=False, receive_buffer=None, hello=b""):
    """`tls`: False, True, or the context to use. `hello`: sent first, before TLS too."""
    wire = socket.socket()
    if receive_buffer:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    wire.settimeout(10)
    wire.connect(("127.0.0.1", port))
    wire.sendall(hello)
    if not tls:
        return wire
    context = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context.wrap_socket(wire, server_hostname="shop.test")


def request_fields(path, method="GET", *more):
    fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", path),
    ]
    return fields + list(more)


class Answer:
    def __init__(self):
        self.head, self.interim, self.body, self.trailers = None, [], b"", None
        self.ended, self.reset = False, None

    @property
    def status(self):
        return int(dict(self.head)[":status"]) if self.head else 0

    @property
    def fields(self):
        return dict(self.head)


class H2Client:
    """One connection. `answers` by stream id."""

    def __init__(self, port, tls=False, auto_window=True, hello=b""):
        self.wire, self.auto_window = dial(port, tls, hello=hello), auto_window
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        config.validate_outbound_headers = config.normalize_outbound_headers = False
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.answers, self.goaway, self.closed, self.raw = {}, None, False, b""
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def flush(self):
        self.wire.sendall(self.h2.data_to_send())

    def start(self, path, method="GET", fields=(), body=None, end=True):
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        ends = body is None and end
        self.h2.send_headers(stream, request_fields(path, method, *fields), end_stream=ends)
        self.flush()
        if body is not None:
            self.send(stream, body, end)
        return stream

    def send(self, stream, body, end=True):
        """In pieces that the windows allow."""
        rest = memoryview(body)
        while rest:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.receive()
                continue
            piece, rest = rest[:room], rest[room:]
            self.h2.send_data(stream, bytes(piece), end_stream=end and not rest)
            self.flush()
        if end and not body:
            self.h2.end_stream(stream)
            self.flush()

    def receive(self, timeout=10):
        """What the server says next; False at the end of the connection."""
        self.wire.settimeout(timeout)
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self.wire.recv(65536)
        if not data:
            self.closed = True
            return False
        self.raw += data
        while frame := self.next_frame():
            for event in self.h2.receive_data(frame):
                self.take(event)
        self.flush()
        return True

    def next_frame(self):
        """A whole frame of those that came but GOAWAY, after which python-h2 takes no more."""
        while len(self.raw) >= 9 and len(self.raw) >= (
            size := 9 + int.from_bytes(self.raw[:3], "big")
        ):
            frame, self.raw = self.raw[:size], self.raw[size:]
            if frame[3] != GOAWAY:
                return frame
            self.goaway = struct.unpack("!I", frame[13:17])[0]
        return b""

    def take(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(event.headers)
        elif isinstance(event, h2.events.ResponseReceived):
            answer.head = event.headers
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.auto_window:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code

    def wait(self, *streams, deadline=15):
        """Until each has its whole answer or is reset. Returns the answers."""
        end = time.monotonic() + deadline
        over = lambda: all(
            self.answers[s].ended or self.answers[s].reset is not None for s in streams
        )
        while not over() and not self.closed:
            if time.monotonic() > end:
                raise AssertionError(f"no answer on {streams}")
            self.receive()
        return [self.answers[s] for s in streams]

    def fetch(self, path, method="GET", fields=(), body=None):
        return self.wait(self.start(path, method, fields, body))[0]


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


class Attacker:
    """Sends what it likes and notes what comes back."""

    def __init__(self, port, tls=False, receive_buffer=None):
        self.wire = dial(port, tls, receive_buffer)
        self.encoder, self.data = hpack.Encoder(), b""
        self.wire.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def block(self, path="/id", method="GET", *more):
        return self.encoder.encode(request_fields(path, method, *more))

    def request(self, stream, path="/id", method="GET", *more, end=True):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.block(path, method, *more))

    def send(self, data):
        """False: the server has hung up."""
        try:
            self.wire.sendall(data)
            return True
        except OSError:
            return False

    def frames(self, seconds=5.0):
        """(kind, flags, stream, payload) until the end of the connection or of the time."""
        end = time.monotonic() + seconds
        while True:
            while len(self.data) >= 9 and len(self.data) >= 9 + (
                size := int.from_bytes(self.data[:3], "big")
            ):
                kind, flags, stream = struct.unpack("!BBI", self.data[3:9])
                payload, self.data = self.data[9 : 9 + size], self.data[9 + size :]
                yield kind, flags, stream & 0x7FFFFFFF, payload
            if (left := end - time.monotonic()) <= 0:
                return
            self.wire.settimeout(left)
            try:
                piece = self.wire.recv(65536)
            except OSError:
                return
            if not piece:
                return
            self.data += piece

    def goaway(self, seconds=5.0):
        """The error code of the connection's end; None: it goes on, -1: closed without a word."""
        code = None
        for kind, _, _, payload in self.frames(seconds):
            if kind == GOAWAY:
                code = struct.unpack("!I", payload[4:8])[0]
                if code != NO_ERROR:
                    return code
        with contextlib.suppress(OSError):
            self.wire.settimeout(0.2)
            if self.wire.recv(1) == b"":
                return -1 if code is None else code
        return code

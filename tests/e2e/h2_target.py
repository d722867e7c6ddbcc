"""An HTTP/2 target for tests: python-h2 behind a script."""
import contextlib
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from rig import RawOrigin


class Asked:
    """One request, as the target has it."""

    def __init__(self, stream, fields):
        self.stream, self.fields, self.body, self.trailers = stream, fields, b"", None
        self.whole = False

    def __getitem__(self, name):
        return dict(self.fields).get(name)

    @property
    def path(self):
        return self[":path"]


class Conversation:
    """A connection; `script(conversation, asked)` answers each request when it is whole."""

    def __init__(self, wire, number, target):
        self.wire, self.number, self.target = wire, number, target
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        config.validate_outbound_headers = config.normalize_outbound_headers = False
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: target.streams_max,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: target.window,
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: int(target.websocket),
            },
        )
        self.asked = {}

    def flush(self):
        data = self.h2.data_to_send()
        if data:  # with nothing to say, the other side may have gone already
            self.wire.sendall(data)

    def respond(self, asked, body=b"", fields=(), trailers=None, status="200"):
        self.h2.send_headers(asked.stream, [(":status", status), *fields],
                             end_stream=not body and not trailers)
        if body:
            self.send(asked, body, end=not trailers)
        if trailers:
            self.h2.send_headers(asked.stream, trailers, end_stream=True)
        self.flush()

    def send(self, asked, body, end=True):
        """As the windows allow."""
        rest = memoryview(body)
        while rest:
            room = min(self.h2.local_flow_control_window(asked.stream),
                       self.h2.max_outbound_frame_size)
            if room == 0:
                self.flush()
                if not self.receive():
                    return
                continue
            piece, rest = rest[:room], rest[room:]
            self.h2.send_data(asked.stream, bytes(piece), end_stream=end and not rest)
        self.flush()

    def receive(self):
        data = self.wire.recv(65536)
        if not data:
            return False
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()
        return True

    def take(self, event):
        asked = self.asked.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            self.asked[event.stream_id] = asked = Asked(event.stream_id, event.headers)
            self.target.requests.append(asked)
            if self.target.early:
                self.target.early(self, asked)
        elif isinstance(event, h2.events.DataReceived):
            asked.body += event.data
            if self.target.reads:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            asked.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            asked.whole = True
            self.target.answer(self, asked)
        elif isinstance(event, h2.events.StreamReset):
            self.target.resets.append((asked.path, int(event.error_code)))
        elif isinstance(event, h2.events.PingReceived):
            self.target.pings += 1


def echo(conversation, asked):
    """What it was asked, and which connection it is."""
    text = "".join(f"{name}: {value}\n" for name, value in asked.fields).encode()
    conversation.respond(asked, text + asked.body,
                         [("x-connection", str(conversation.number))])


class H2Target(RawOrigin):
    def __init__(self, rig, script=echo, *, streams_max=100, window=65535, context=None,
                 websocket=False, early=None, reads=True, before=None):
        """`early`: called with a request's head; `before`: with a new connection, first of all."""
        self.answer, self.streams_max, self.window = script, streams_max, window
        self.context, self.websocket, self.early, self.reads = context, websocket, early, reads
        self.before = before
        self.requests, self.resets, self.pings = [], [], 0
        super().__init__(rig, self._converse)

    def _serve(self, connection, number):
        connection.settimeout(30)
        with connection, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            self._converse(connection, number)

    def _converse(self, connection, number):
        if self.before:
            self.before(connection, number)
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True)
        conversation = Conversation(connection, number, self)
        conversation.h2.initiate_connection()
        conversation.flush()
        while conversation.receive():
            pass
        with contextlib.suppress(OSError, ssl.SSLError):
            connection.shutdown(socket.SHUT_RDWR)

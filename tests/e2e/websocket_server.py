"""A WebSocket server for tests: it echoes messages in the order of the bytes, however they come."""
import contextlib
import socket
import threading

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Request,
                            TextMessage)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

QUIET = 20  # seconds without a byte: a test's client has gone wrong


class EchoServer:
    """On 127.0.0.1, a thread a connection, until `close`. wsproto judges frames one by one as their
    bytes are read, so what it says does not hang on how TCP cuts them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def target(self):
        return {"address": f"127.0.0.1:{self.port}", "zone": "a"}

    def _accept(self):
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(QUIET)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire):
        connection, pieces = WSConnection(ConnectionType.SERVER), []
        with wire, contextlib.suppress(OSError):
            while data := wire.recv(65536):
                if not answer(connection, data, pieces, wire):
                    break
            # The client sees all of the last frame: our end first, then wait for its.
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(65536):
                pass


def answer(connection, data, pieces, wire):
    """False: the connection is over. `pieces`: of the message under way."""
    try:
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, Request):
                accepted = AcceptConnection(extensions=[PerMessageDeflate()])
                wire.sendall(connection.send(accepted))
            elif isinstance(event, Message):
                pieces.append(event.data)
                if event.message_finished:
                    wire.sendall(connection.send(echo_of(pieces)))
                    pieces.clear()
            elif isinstance(event, Ping):
                wire.sendall(connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                # What it makes of a bad frame says at which byte of which read: left out.
                said = connection.state is ConnectionState.REMOTE_CLOSING
                reply = event.response() if said else CloseConnection(event.code)
                wire.sendall(connection.send(reply))
                return False
    except RemoteProtocolError as error:
        if error.event_hint:
            wire.sendall(connection.send(error.event_hint))
        return False
    return True


def echo_of(pieces):
    if isinstance(pieces[0], str):
        return TextMessage("".join(pieces))
    return BytesMessage(b"".join(bytes(piece) for piece in pieces))

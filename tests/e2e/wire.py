"""HTTP clients for tests: one request, or a raw connection."""
import http.client
import json
import socket

from expect import Failed, check_equal, slowness


class Reply:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body
        self.headers = {name.lower(): value for name, value in fields}

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name]

    def json(self):
        return json.loads(self.body)


def request(port, path="/", method="GET", *, address="127.0.0.1", **more):
    """One request on a connection of its own. more: body, headers, timeout."""
    timeout = more.get("timeout", 10) * slowness()
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request(method, path, more.get("body"), more.get("headers", {}))
        response = connection.getresponse()
        return Reply(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


class Wire:
    """A raw client connection, for what http.client would not send or hide."""

    def __init__(self, port, address="127.0.0.1", timeout=10):
        self.socket = socket.create_connection((address, port), timeout * slowness())
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def head(self):
        """Status and fields of the next head, interim ones included; None at the end."""
        try:
            line = self.stream.readline(65536)
        except ConnectionResetError:
            return None
        except TimeoutError:
            raise Failed(f"no response within {self.socket.gettimeout():g} s") from None
        if not line:
            return None
        fields = []
        while (field := self.stream.readline(65536)) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
        return Reply(int(line.split()[1]), fields, b"")

    def reply(self, method="GET"):
        """The next final response with its body; None at the end of the connection."""
        reply = self.head()
        while reply and reply.status < 200:
            reply = self.head()
        if not reply or method == "HEAD" or reply.status in (204, 304):
            return reply
        if reply.headers.get("transfer-encoding") == "chunked":
            reply.body = b"".join(self.chunks())
        elif "content-length" in reply.headers:
            reply.body = self.stream.read(int(reply.headers["content-length"]))
        else:
            reply.body = self.stream.read()
        return reply

    def chunks(self):
        while size := int(self.stream.readline().split(b";")[0], 16):
            yield self.stream.read(size)
            check_equal(self.stream.read(2), b"\r\n", "end of a chunk")
        while self.stream.readline() not in (b"\r\n", b""):
            pass

    def at_end(self, deadline=5):
        """True when the peer closes within the deadline without another byte."""
        self.socket.settimeout(deadline * slowness())
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

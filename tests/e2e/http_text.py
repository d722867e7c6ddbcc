"""Request and response texts of the data plane tests."""

NO_CHECKS = {"health_check": "off"}


def get(path="/id", *fields):
    """A GET as bytes on the wire would be, with a host and these extra lines."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: shop.example", *fields]) + "\r\n\r\n"


def answer(connection, body=b"ok", *fields):
    """Sends a 200 with this body from a RawOrigin's script."""
    head = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *fields]
    connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)

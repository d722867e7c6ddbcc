"""Targets that speak TLS: Python's ssl before an origin that does not, or before a script."""
import contextlib
import select
import socket
import ssl

from rig import RawOrigin


def server_context(files, wants=None, version=None):
    """`wants`: the files of whom clients must be, by their certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["chain"], files["key"])
    if wants:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(wants["chain"])
    if version:
        context.maximum_version = version
    return context


class TlsOrigin(RawOrigin):
    """`behind` is a plain origin that gets all bytes, or a function of the TLS socket."""

    def __init__(self, rig, context, behind):
        self.context, self.behind = context, behind
        self.asked, self.resumed, self.clients, self.failures = [], 0, [], []
        context.sni_callback = lambda _, name, __: self.asked.append(name)
        super().__init__(rig, self._shake_hands)

    def _shake_hands(self, connection, _):
        try:
            wire = self.context.wrap_socket(connection, server_side=True)
        except OSError as failure:
            self.failures.append(str(failure))
            return
        with wire:
            self.resumed += wire.session_reused
            self.clients.append(dict(pair[0] for pair in wire.getpeercert()["subject"])
                                if wire.getpeercert() else None)
            if callable(self.behind):
                self.behind(wire)
            else:
                self._relay(wire)

    def _relay(self, wire):
        with socket.create_connection((self.behind.address, self.behind.port), 20) as plain:
            plain.settimeout(20)
            with contextlib.suppress(OSError, ValueError):
                self._pump(wire, plain)
            with contextlib.suppress(OSError, ValueError):
                wire.unwrap()  # says goodbye, as TLS wants it

    @staticmethod
    def _pump(wire, plain):
        """On one thread: OpenSSL's connections are not for two."""
        while True:
            ready = [wire] if wire.pending() else select.select([wire, plain], [], [], 20)[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (plain if source is wire else wire).sendall(data)

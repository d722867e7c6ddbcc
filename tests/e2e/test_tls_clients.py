"""What targets learn of the certificates that clients show, and that nobody else can say it."""
import datetime
import http.client
import json
import socket
import ssl
import subprocess
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from h2_client import H2Client
from rig import RawOrigin, check, check_equal, free_port, test
from test_tls import Authority, client_context, connect, https_config

NAMES = ("Serial-Number", "Issuer", "Subject", "Validity", "Leaf")
FORGED = [(f"X-Amzn-Mtls-Clientcert{name and '-' + name}", "forged") for name in ("", *NAMES)]
FORGED += [(name.lower(), "forged") for name, _ in FORGED[2:4]]
LOOKALIKES = [("X_Amzn_Mtls_Clientcert_Subject", "forged"),
              ("X-Amzn-Mtls-Clientcert_Leaf", "forged")]
SERIAL = 0x03A5B1
BEGINS = datetime.datetime(2020, 1, 31, 23, 59, 1, tzinfo=datetime.timezone.utc)
ENDS = datetime.datetime(2126, 12, 1, 4, 5, 6, tzinfo=datetime.timezone.utc)


def name_of(*parts):
    kinds = {"C": NameOID.COUNTRY_NAME, "L": NameOID.LOCALITY_NAME, "CN": NameOID.COMMON_NAME,
             "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}
    return x509.Name([x509.NameAttribute(kinds[kind], text) for kind, text in parts])


class Office:
    """An authority and a client that it vouches for."""

    def __init__(self, folder):
        self.folder = folder
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = name_of(("C", "US"), ("L", "Seattle"), ("O", "mTLS"), ("CN", "root ca"))
        subject = name_of(("C", "DE"), ("L", "M\u00fcnchen"), ("O", 'Shop, "Ltd" + <Co>; #1'),
                          ("OU", " both ends "), ("CN", "client=1.test"))
        self.trust = self.write("root.pem", self.sign(root, root, root_key, root_key, ca=True))
        made = self.sign(subject, root, key, root_key)
        self.chain = self.write("client.pem", made)
        self.pem = made.decode()
        self.key = self.write("client.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))

    def write(self, name, data):
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    @staticmethod
    def sign(subject, issuer, key, by, ca=False):
        made = x509.CertificateBuilder(
            issuer, subject, key.public_key(), 7 if ca else SERIAL, BEGINS, ENDS)
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def says(self, what):
        """OpenSSL's word for it."""
        command = ["openssl", "x509", "-in", self.chain, "-noout", f"-{what}",
                   "-nameopt", "RFC2253"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip("\n").partition("=")[2]

    def expected(self):
        return {
            "Serial-Number": "03A5B1",
            "Issuer": "CN=root ca,O=mTLS,L=Seattle,C=US",
            "Subject": self.says("subject"),
            "Validity": "NotBefore=2020-01-31T23:59:01Z;NotAfter=2126-12-01T04:05:06Z",
            "Leaf": urllib.parse.quote(self.pem, safe="+=/"),
        }

    def context(self, version=None):
        context = client_context(version)
        context.load_cert_chain(self.chain, self.key)
        return context


def mtls_config(rig, port, office, targets, **clients):
    server = Authority(rig.folder).make("shop")
    tls = {"certificates": [server], "client_certificates": {
        "verify": "required", "trust": office.trust, "headers": True, **clients}}
    return https_config(port, targets, tls)


def told(body):
    """What the target got under the certificate's names or any that looks like one."""
    fields = [(name, value) for name, value in json.loads(body)["fields"]
              if "mtlsclientcert" in "".join(filter(str.isalnum, name.lower()))]
    names = [name.lower() for name, _ in fields]
    check_equal(sorted(set(names)), sorted(names), "fields that come once")
    return {name.lower(): value for name, value in fields}


def as_fields(expected):
    return {f"x-amzn-mtls-clientcert-{name.lower()}": text for name, text in expected.items()}


def read_body(wire):
    reply = http.client.HTTPResponse(wire)
    reply.begin()
    return reply.read()


def ask(wire, *fields):
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    wire.sendall(f"GET /headers HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())


@test()
def test_targets_are_told_whose_certificate_a_client_showed(rig):
    port, office = free_port(), Office(rig.folder)
    rig.lbd(mtls_config(rig, port, office, [rig.origin()]))
    expected = office.expected()
    check_equal(expected["Issuer"], office.says("issuer"), "the issuer, by openssl")
    check_equal(office.says("serial"), expected["Serial-Number"], "the serial number, by openssl")
    check(r"\C3\BC" in expected["Subject"] and r"\," in expected["Subject"], "nothing to escape")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context, session = office.context(version), None
        for resumed in (False, True):
            with connect(port, context=context, session=session) as wire:
                check_equal(wire.session_reused, resumed, f"resumed, {version.name}")
                for forged in ((), FORGED, [("Connection", ", ".join(n for n, _ in FORGED))]):
                    ask(wire, *forged)
                    seen = told(read_body(wire))
                    check_equal(seen, as_fields(expected), f"{version.name}, {forged}")
                session = wire.session
        leaf = urllib.parse.unquote(seen["x-amzn-mtls-clientcert-leaf"])
        check_equal(ssl.PEM_cert_to_DER_cert(leaf), ssl.PEM_cert_to_DER_cert(office.pem), "leaf")
        parsed = x509.load_pem_x509_certificate(leaf.encode())
        check_equal(f"{parsed.serial_number:06X}", "03A5B1", "serial number of the leaf")


@test()
def test_targets_are_told_over_http_2_too(rig):
    port, office = free_port(), Office(rig.folder)
    rig.lbd(mtls_config(rig, port, office, [rig.origin()]))
    with H2Client(port, tls=office.context()) as client:
        check_equal(client.wire.selected_alpn_protocol(), "h2", "protocol")
        for forged in ((), FORGED, FORGED):
            fields = [(name.lower(), value) for name, value in forged]
            answer = client.fetch("/headers", fields=fields)
            check_equal(told(answer.body), as_fields(office.expected()), f"{forged}")


@test()
def test_what_clients_say_of_certificates_is_removed_on_every_listener(rig):
    office = Office(rig.folder)
    origin = rig.origin()
    config = mtls_config(rig, free_port(), office, [origin], verify="optional")
    server = config["listeners"]["public"]["tls"]["certificates"]
    default = config["listeners"]["public"]["default"]
    trusting = {"forwarded_headers": {"trusted_proxies": ["127.0.0.0/8"]}}
    more = {
        "plain": {"http2": {"cleartext": True}, **trusting},
        "secure": {"protocol": "https", "tls": {"certificates": server}, **trusting},
        "silent": {"protocol": "https", "tls": {"certificates": server, "client_certificates": {
            "verify": "required", "trust": office.trust}}},
    }
    for name, listener in more.items():
        config["listeners"][name] = {"listen": f"127.0.0.1:{free_port()}", "default": default,
                                     **listener}
    rig.lbd(config)
    for name, listener in config["listeners"].items():
        port = int(str(listener["listen"]).strip("[]'").rpartition(":")[2])
        tls = listener.get("protocol") == "https"
        context = office.context() if name == "silent" else client_context()
        dialled = (connect(port, context=context) if tls else
                   socket.create_connection(("127.0.0.1", port), timeout=10))
        with dialled as wire:
            for fields in (FORGED, LOOKALIKES):
                ask(wire, *fields)
                check_equal(told(read_body(wire)), {}, f"{name}: {fields}")
        with H2Client(port, tls=context if tls else False) as client:
            for fields in (FORGED, LOOKALIKES):
                lower = [(field.lower(), value) for field, value in fields]
                check_equal(told(client.fetch("/headers", fields=lower).body), {}, f"{name}, h2")


@test()
def test_no_trailer_says_whose_certificate_it_was(rig):
    office, port = Office(rig.folder), free_port()
    heads = []

    def serve(connection, _):
        while data := origin.head(connection):
            while not data.endswith((b"x-sum: 1\r\n\r\n", b"X-Sum: 1\r\n\r\n")):
                data += connection.recv(65536)
            heads.append(data)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = RawOrigin(rig, serve)
    config = mtls_config(rig, port, office, [origin])
    config["target_groups"]["app"]["health_check"] = "off"
    rig.lbd(config)
    trailers = [*FORGED, *LOOKALIKES, ("X-Sum", "1")]
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    with connect(port, context=office.context()) as wire:
        wire.sendall("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                     f"1\r\nx\r\n0\r\n{lines}\r\n".encode())
        check_equal(read_body(wire), b"ok", "answer")
    with H2Client(port, tls=office.context()) as client:
        stream = client.start("/", "POST", end=False)
        client.send(stream, b"x", end=False)
        lower = [(name.lower(), value) for name, value in trailers]
        client.h2.send_headers(stream, lower, end_stream=True)
        client.flush()
        check_equal(client.wait(stream)[0].status, 200, "status over HTTP/2")
    check_equal(len(heads), 2, "requests")
    for head in heads:
        check(b"forged" not in head, f"the target got {head}")
        check(office.expected()["Subject"].encode() in head, "nothing of the certificate")


@test()
def test_rules_see_what_lbd_says_of_a_certificate_and_not_what_clients_say(rig):
    office, port = Office(rig.folder), free_port()
    config = mtls_config(rig, port, office, [rig.origin()], verify="optional")
    config["listeners"]["public"]["rules"] = [{
        "when": {"header": {"X-Amzn-Mtls-Clientcert-Subject": "CN=client=1.test,*"}},
        "then": {"respond": {"status": 200, "body": "known"}}}]
    config["listeners"]["public"]["default"] = {"respond": {"status": 403, "body": "unknown"}}
    rig.lbd(config)
    for context, expected in ((client_context(), b"unknown"), (office.context(), b"known")):
        with connect(port, context=context) as wire:
            ask(wire, ("X-Amzn-Mtls-Clientcert-Subject", "CN=client=1.test,O=x"))
            check_equal(read_body(wire), expected, "which rule")
        with H2Client(port, tls=context) as client:
            forged = ("x-amzn-mtls-clientcert-subject", "CN=client=1.test,O=x")
            check_equal(client.fetch("/", fields=[forged]).body, expected, "which rule, HTTP/2")


@test()
def test_headers_are_turned_on_and_off_for_new_connections(rig):
    office, port = Office(rig.folder), free_port()
    config = mtls_config(rig, port, office, [rig.origin()], headers=False)
    lbd = rig.lbd(config)
    clients = config["listeners"]["public"]["tls"]["client_certificates"]
    with connect(port, context=office.context()) as old:
        for headers in (False, True, False):
            clients["headers"] = headers
            check_equal(lbd.reload(config)[0], 0, "reload")
            for wire, expected in ((old, 0), (connect(port, context=office.context()),
                                              5 if headers else 0)):
                ask(wire)
                check_equal(len(told(read_body(wire))), expected, f"headers {headers}")
                if wire is not old:
                    wire.close()

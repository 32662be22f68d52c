"""Somebody on the machine who makes keys and speaks to the mesh's ports without a sidecar."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gossamer.pb.linkerd import identity_pb2
from tests.mesh.harness import Mesh

CERTIFY = "/io.linkerd.proxy.identity.Identity/Certify"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Agent:
    """A conversation over the registration socket, as a launcher has it."""

    def __init__(self, mesh: Mesh) -> None:
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(str(mesh.folder / "r" / "gossamer" / mesh.name / "agent.sock"))
        self.reader = self.stream.makefile("r")

    def ask(self, line: str) -> str:
        self.stream.sendall(line.encode() + b"\n")
        return self.reader.readline().strip()

    def register(self, service: str) -> dict[str, Any]:
        answer = self.ask(
            "register "
            + json.dumps({"namespace": "default", "service": service, "service_account": service, "ports": []})
        )
        assert answer.startswith("ok "), answer
        return dict(json.loads(answer[3:]))

    def close(self) -> None:
        self.reader.close()
        self.stream.close()


def request(key: Key, names: list[str], **extra: x509.ExtensionType) -> bytes:
    """A signing request (DER) for DNS names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    for extension in extra.values():
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def certify(
    mesh: Mesh, place: dict[str, Any], identity: str, token: str, csr: bytes, name: str | None = None
) -> identity_pb2.CertifyResponse:
    """Asks through the front for a certificate, over TLS without one. Raises `grpc.RpcError`."""
    anchors = Path(place["trust_anchors_file"]).read_bytes()
    name = name or str(place["control_name"])
    options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
    with grpc.secure_channel(str(place["control_address"]), grpc.ssl_channel_credentials(anchors), options) as channel:
        call = channel.unary_unary(
            CERTIFY,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=identity_pb2.CertifyResponse.FromString,
        )
        message = identity_pb2.CertifyRequest(identity=identity, token=token.encode(), certificate_signing_request=csr)
        return call(message, timeout=10)  # type: ignore[no-any-return]


@dataclass
class Proof:
    """A key and a chain, as PEM in one file."""

    path: str


@contextlib.contextmanager
def proof(key: Key, *certificates: x509.Certificate) -> Iterator[Proof]:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        for certificate in certificates:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        yield Proof(file.name)


def self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )


def header(port: int, name: str = "", session: int = 0) -> bytes:
    """The transport header with which sidecars open a direct connection. `session`: 1 HTTP/1, 2 HTTP/2."""
    message = b"\x08" + varint(port) if port else b""
    message += b"\x12" + varint(len(name)) + name.encode() if name else b""
    message += bytes([0x1A, 2, session << 3 | 2, 0]) if session else b""
    return b"transport.l5d.io/v1\r\n\r\n" + struct.pack(">I", len(message)) + message


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def speak(
    address: str,
    port: int,
    sent: bytes,
    sni: str | None = None,
    alpn: list[str] | None = None,
    shown: Proof | None = None,
    tls: bool = True,
    seconds: float = 2.0,
) -> bytes:
    """What comes back, to the end or until the time is over; `b""` when refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    if shown:
        context.load_cert_chain(shown.path)
    got = b""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stream: socket.socket = stack.enter_context(socket.create_connection((address, port), 3))
        if tls:
            stream = stack.enter_context(context.wrap_socket(stream, server_hostname=sni))
        stream.settimeout(seconds)
        stream.sendall(sent)
        while data := stream.recv(65536):
            got += data
    return got

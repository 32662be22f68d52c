from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.kit import tls

NAME = "control.mesh.example"
NOW = datetime.now(UTC)


def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return builder.sign(key, hashes.SHA256()), key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        NOW - timedelta(hours=1),
        NOW + timedelta(hours=1),
    )


ANCHOR, ANCHOR_KEY = authority("anchor")
TRUSTED = [ANCHOR.public_bytes(serialization.Encoding.DER)]


@contextmanager
def serving(folder: Path, *names: str) -> Iterator[tuple[str, int]]:
    """A server whose certificate has these names, for one connection."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(x509.Name([]), ANCHOR.subject, key)
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternative, critical=True)
    certificate = builder.sign(ANCHOR_KEY, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2"])

    def serve(listener: socket.socket) -> None:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.recv(1)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(5)


def test_exactly_the_name_that_is_meant_is_spoken_to(tmp_path: Path) -> None:
    with serving(tmp_path, NAME) as address, tls.connect(address, 5.0, NAME, TRUSTED) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"


@pytest.mark.parametrize(
    "names",
    [("other.mesh.example",), (NAME, "other.mesh.example"), ("*.mesh.example",), (f"{NAME}.org",), ()],
    ids=["another", "two names", "a wildcard", "a longer one", "none"],
)
def test_every_other_name_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with serving(tmp_path, *names) as address, pytest.raises(tls.Untrusted, match=f"not {NAME}"):
        tls.connect(address, 5.0, NAME, TRUSTED)


def test_the_right_name_under_another_anchor_is_refused(tmp_path: Path) -> None:
    stranger = authority("anchor")[0].public_bytes(serialization.Encoding.DER)
    with serving(tmp_path, NAME) as address, pytest.raises(tls.Untrusted, match="not to be trusted"):
        tls.connect(address, 5.0, NAME, [stranger])


def test_without_anchors_anybody_is_spoken_to(tmp_path: Path) -> None:
    with serving(tmp_path, "other.mesh.example") as address, tls.connect(address, 5.0, NAME) as connection:
        assert tls.names(connection.getpeercert(binary_form=True) or b"") == ["other.mesh.example"]

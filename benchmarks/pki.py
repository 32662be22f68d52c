"""One P-256 authority and two leaves for the peers; Gossamer brings its own."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = datetime.timedelta(days=2)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make(folder: Path) -> None:
    """Writes anchors.pem, client.pem/.key, server.pem/.key, and NAME.both.pem (chain and key, as HAProxy wants)."""
    now = datetime.datetime.now(datetime.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    anchor = sign(name("anchor"), authority.public_key(), name("anchor"), authority, now, ca=True)
    (folder / "anchors.pem").write_bytes(anchor.public_bytes(serialization.Encoding.PEM))
    for who in ("client", "server"):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = sign(name(who), key.public_key(), name("anchor"), authority, now, ca=False)
        chain = leaf.public_bytes(serialization.Encoding.PEM)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{who}.pem").write_bytes(chain)
        (folder / f"{who}.key").write_bytes(text)
        (folder / f"{who}.both.pem").write_bytes(chain + text)


def sign(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    ca: bool,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        dns = x509.DNSName(f"{common!s}.bench")
        builder = builder.add_extension(x509.SubjectAlternativeName([dns]), critical=False)
    return builder.sign(key, hashes.SHA256())

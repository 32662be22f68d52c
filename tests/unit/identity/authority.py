"""Builders: an authority, signing requests good and hostile, and tokens that are always or never right."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from gossamer.identity import material
from gossamer.identity.authority import Authority
from gossamer.ports import Denied, Holder

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
WEB = "web.default.serviceaccount.identity.gossamer.cluster.local"
EVIL = "admin.kube-system.serviceaccount.identity.gossamer.cluster.local"
KEY = ec.generate_private_key(ec.SECP256R1())


def random(size: int) -> bytes:
    return bytes(range(0x80, 0x80 + size))


ANCHOR = material.new_anchor("root.gossamer.cluster.local", NOW, random)
ISSUER = material.new_issuer("identity.gossamer.cluster.local", ANCHOR, NOW, random)
TRUSTED = material.anchors(ANCHOR.certificate, NOW)


def authority(lifetime: timedelta = timedelta(hours=24)) -> Authority:
    return Authority((material.issuer(ISSUER.certificate, ISSUER.key, TRUSTED, NOW),), lifetime)


def csr(
    *names: x509.GeneralName,
    key: CertificateIssuerPrivateKeyTypes = KEY,
    common: tuple[str, ...] = (),
    extensions: tuple[x509.ExtensionType, ...] = (),
    hash_: hashes.HashAlgorithm | None = None,
    pem: bool = False,
) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names longer than X.520 allows are what identities are
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one, _validate=False) for one in common])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    request = builder.sign(key, hash_ if hash_ is not None else hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM if pem else serialization.Encoding.DER)


def dns(name: str) -> x509.DNSName:
    return x509.DNSName(name)


class Everybody:
    """A token verifier that takes what it is told to take, once."""

    def __init__(self, *good: tuple[bytes, str]) -> None:
        self.good = set(good)
        self.redeemed: list[bytes] = []

    def check(self, token: bytes, identity: str, now: float) -> Holder:
        if (token, identity) not in self.good:
            raise Denied("the join token is unknown, used up or expired")
        return Holder("default/web-0", "session")

    def redeem(self, token: bytes, identity: str, now: float) -> Holder:
        holder = self.check(token, identity, now)
        self.good.discard((token, identity))
        self.redeemed.append(token)
        return holder

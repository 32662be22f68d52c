"""From PEM to what the control plane serves with: an authority that signs, and the bundle that sidecars trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from gossamer.identity import material
from gossamer.identity.authority import LIFETIME, SKEW, Authority
from gossamer.model.mesh import Bundle
from gossamer.ports import KeyStore


@dataclass(frozen=True, slots=True)
class Described:
    """What people are shown of a certificate. Times are seconds since the epoch."""

    subject: str
    sha256: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Trust:
    authority: Authority
    anchors: tuple[x509.Certificate, ...]

    def bundle(self, trust_domain: str, generation: int) -> Bundle:
        der = tuple(one.public_bytes(serialization.Encoding.DER) for one in self.anchors)
        return Bundle({trust_domain: der}, generation)

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.anchors)

    @property
    def described_anchors(self) -> tuple[Described, ...]:
        return tuple(describe(one) for one in self.anchors)

    @property
    def described_issuers(self) -> tuple[Described, ...]:
        return tuple(describe(one.certificate) for one in self.authority.issuers)


def load(keys: KeyStore, now: datetime, lifetime: timedelta = LIFETIME, skew: timedelta = SKEW) -> Trust:
    """Checks everything before anything is signed with it. Raises `material.Unusable` in one line."""
    trusted = material.anchors(keys.anchors(), now)
    certificate, key = keys.issuer()
    return Trust(Authority((material.issuer(certificate, key, trusted, now),), lifetime, skew), trusted)


def digest(anchors: Sequence[x509.Certificate]) -> str:
    """Of a set of anchors, whatever their order: another digest is another generation of the bundle."""
    return ",".join(sorted(one.fingerprint(hashes.SHA256()).hex() for one in anchors))


def describe(certificate: x509.Certificate) -> Described:
    return Described(
        certificate.subject.rfc4514_string(),
        certificate.fingerprint(hashes.SHA256()).hex(),
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )

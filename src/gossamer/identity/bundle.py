"""Whom we trust, as a value (seams §2): anchors by trust domain, and a generation that every user of it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization


@dataclass(frozen=True, slots=True)
class Anchor:
    """A certificate trusted for itself. `sha256` is the lower-case hex digest of `der`."""

    der: bytes
    subject: str
    sha256: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """`generation` grows with every change, so that a rotation can wait until all have acknowledged it."""

    domains: Mapping[str, tuple[Anchor, ...]]
    generation: int

    def anchors(self, trust_domain: str) -> tuple[Anchor, ...]:
        return self.domains.get(trust_domain, ())

    def replaced(self, trust_domain: str, anchors: tuple[Anchor, ...]) -> Bundle:
        """With these anchors for a domain; itself when they are the ones it has."""
        if self.domains.get(trust_domain) == anchors:
            return self
        return Bundle({**self.domains, trust_domain: anchors}, self.generation + 1)

    def pem(self, trust_domain: str) -> bytes:
        """For a trust anchors file."""
        return b"".join(
            x509.load_der_x509_certificate(anchor.der).public_bytes(serialization.Encoding.PEM)
            for anchor in self.anchors(trust_domain)
        )


def anchor(certificate: x509.Certificate) -> Anchor:
    """The value of a certificate already found fit to be one (`material.anchors`)."""
    return Anchor(
        certificate.public_bytes(serialization.Encoding.DER),
        certificate.subject.rfc4514_string(),
        certificate.fingerprint(hashes.SHA256()).hex(),
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )

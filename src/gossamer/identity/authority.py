"""Signs leaves: request → template → certificate, which `inspect` then checks with code that did not build it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gossamer.identity import inspect
from gossamer.identity.request import Request
from gossamer.ports import Unavailable

Random = Callable[[int], bytes]
"""N unpredictable bytes."""

LIFETIME = timedelta(hours=24)
SKEW = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate authority that signs leaves. `chain` leads from above it to below an anchor, nearest first."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()
    anchor: x509.Certificate | None = None

    @property
    def not_after(self) -> datetime:
        """When the first certificate on the way to the anchor, the anchor included, expires."""
        above = (*self.chain, self.anchor) if self.anchor is not None else self.chain
        return min(one.not_valid_after_utc for one in (self.certificate, *above))

    @property
    def not_before(self) -> datetime:
        return max(one.not_valid_before_utc for one in (self.certificate, *self.chain))

    @property
    def intermediates(self) -> tuple[bytes, ...]:
        """What goes to the workload beside its leaf, DER: the issuer first."""
        return tuple(one.public_bytes(serialization.Encoding.DER) for one in (self.certificate, *self.chain))


@dataclass(frozen=True, slots=True)
class Template:
    """Everything a leaf says, before anybody signs it."""

    identity: str
    public_key: ec.EllipticCurvePublicKey
    serial: int
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Leaf:
    """A signed leaf and what the issuance log keeps of it. `certificate` and `intermediates` are DER."""

    identity: str
    certificate: bytes
    intermediates: tuple[bytes, ...]
    serial: int
    not_before: datetime
    not_after: datetime
    key_sha256: str


def template(
    request: Request, issuer: Issuer, now: datetime, lifetime: timedelta, skew: timedelta, random: Random
) -> Template:
    """notBefore = now − skew; notAfter = min(now + lifetime + skew, the chain's first expiry); 127 random bits."""
    start = (now - skew).replace(microsecond=0)
    end = min((now + lifetime + skew).replace(microsecond=0), issuer.not_after)
    return Template(request.identity, request.public_key, serial(random), start, end)


def serial(random: Random) -> int:
    """127 random bits: the same twice in 2⁶³ certificates."""
    return int.from_bytes(random(16), "big") >> 1 or 1


@dataclass(frozen=True, slots=True)
class Authority:
    """Issuers, the one to use first. A rotation adds before it takes away, so there is never a moment without one."""

    issuers: Sequence[Issuer]
    lifetime: timedelta = LIFETIME
    skew: timedelta = SKEW

    def issue(self, request: Request, now: datetime, random: Random) -> Leaf:
        """Raises `Unavailable` when no issuer is valid now."""
        issuer = self.current(now)
        wanted = template(request, issuer, now, self.lifetime, self.skew, random)
        der = sign(wanted, issuer)
        inspect.leaf(der, wanted.identity, wanted, issuer.certificate)
        spki = request.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Leaf(
            wanted.identity,
            der,
            issuer.intermediates,
            wanted.serial,
            wanted.not_before,
            wanted.not_after,
            hashlib.sha256(spki).hexdigest(),
        )

    def current(self, now: datetime) -> Issuer:
        """The first issuer whose whole chain is valid now."""
        for issuer in self.issuers:
            if issuer.not_before <= now < issuer.not_after:
                return issuer
        if not self.issuers:
            raise Unavailable("there is no issuer")
        raise Unavailable(f"the issuer expired at {self.issuers[0].not_after:%Y-%m-%dT%H:%M:%SZ} or is not valid yet")


def sign(wanted: Template, issuer: Issuer) -> bytes:
    """DER. The name is the one critical alternative name; the subject is empty, for names are longer than it takes."""
    name: x509.GeneralName
    if "://" in wanted.identity:
        name = x509.UniformResourceIdentifier(wanted.identity)
    else:
        name = x509.DNSName(wanted.identity)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(wanted.public_key)
        .serial_number(wanted.serial)
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(_EXTENDED, critical=False)
        .add_extension(_NOT_AN_AUTHORITY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(wanted.public_key), critical=False)
        .add_extension(key_identifier(issuer.certificate), critical=False)
    )
    algorithm = hashes.SHA384() if issuer.key.curve.name == "secp384r1" else hashes.SHA256()
    return builder.sign(issuer.key, algorithm).public_bytes(serialization.Encoding.DER)


def key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the issuer names its own key; many verifiers match the two byte by byte."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def from_timestamp(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_EXTENDED = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_NOT_AN_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)

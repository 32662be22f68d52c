"""Anchors and issuers: made on first start, or brought by a person and checked before anything is signed with them.

Lifetimes: the anchor 10 years, the issuer 365 days under it (Linkerd: 365 days for both, so that a mesh nobody touches
dies of its anchor in a year). The anchor's key is only ever an argument here; the serving process never reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from gossamer.identity.authority import Issuer, Random, key_identifier

ANCHOR_LIFETIME = timedelta(days=3650)
ISSUER_LIFETIME = timedelta(days=365)
SKEW = timedelta(minutes=5)
# A chain longer than this is a mistake.
LONGEST_CHAIN = 4
_WEAK = (hashes.MD5, hashes.SHA1)


class Unusable(Exception):
    """Key material that cannot be used; one line that names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def new_anchor(name: str, now: datetime, random: Random, lifetime: timedelta = ANCHOR_LIFETIME) -> Pair:
    """A self-signed authority called `name` (`root.gossamer.cluster.local`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _authority(subject, key, now, now + lifetime, random, path_length=1)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.issuer_name(subject).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def new_issuer(name: str, anchor: Pair, now: datetime, random: Random, lifetime: timedelta = ISSUER_LIFETIME) -> Pair:
    """An authority for leaves only, signed by the anchor, which it does not outlive. Raises `Unusable`."""
    parent = certificates(anchor.certificate, "the trust anchor")[0]
    parent_key = _key(anchor.key, "the trust anchor's key")
    if not _same_key(parent, parent_key):
        raise Unusable("the trust anchor's key does not belong to its certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = min(now + lifetime, parent.not_valid_after_utc)
    builder = _authority(subject, key, now, end, random, path_length=0)
    builder = builder.issuer_name(parent.subject).add_extension(key_identifier(parent), critical=False)
    return _pair(builder.sign(parent_key, hashes.SHA256()), key)


def anchors(pem: bytes, now: datetime) -> tuple[x509.Certificate, ...]:
    """The trust anchors of a file. Raises `Unusable` for the first that cannot be one."""
    found = certificates(pem, "the trust anchors")
    for one in found:
        _check_authority(one, "the trust anchor", now)
    return tuple(dict.fromkeys(found))


def issuer(certificate: bytes, key: bytes, trusted: Sequence[x509.Certificate], now: datetime) -> Issuer:
    """An issuer ready to sign: its certificate, then any intermediates, all PEM. Raises `Unusable`."""
    own, *above = certificates(certificate, "the issuer's certificate")
    private = _key(key, "the issuer's key")
    if not _same_key(own, private):
        raise Unusable("the issuer's key does not belong to its certificate: give the key that was made with it")
    _check_authority(own, "the issuer's certificate", now)
    for one in above:
        _check_authority(one, "an intermediate certificate", now)
    chain, anchor = _chain(own, above, trusted)
    return Issuer(own, private, chain, anchor)


def _chain(
    own: x509.Certificate, above: list[x509.Certificate], trusted: Sequence[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    chain: list[x509.Certificate] = []
    last = own
    while len(chain) < LONGEST_CHAIN:
        anchor = next((one for one in trusted if _signed(last, one, below=len(chain) + 1)), None)
        if anchor is not None:
            return tuple(chain), anchor
        parent = next((one for one in above if one not in chain and _signed(last, one, below=len(chain) + 1)), None)
        if parent is None:
            break
        chain.append(parent)
        last = parent
    raise Unusable(
        f"the issuer's certificate ({_name(own)}) was not signed by any of the {len(trusted)} trust anchor(s): "
        "give the anchor that signed it, or add the intermediates to its file"
    )


def _signed(child: x509.Certificate, parent: x509.Certificate, below: int) -> bool:
    """`below`: authorities between the parent and a leaf."""
    limit = _constraints(parent).path_length
    if child == parent or (limit is not None and limit < below):
        return False
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_authority(one: x509.Certificate, what: str, now: datetime) -> None:
    if not _constraints(one).ca:
        raise Unusable(f"{what} ({_name(one)}) is not a CA: it lacks basicConstraints CA:TRUE")
    try:
        usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.key_cert_sign:
        raise Unusable(f"{what} ({_name(one)}) may not sign certificates: its keyUsage lacks keyCertSign")
    if now >= one.not_valid_after_utc:
        raise Unusable(f"{what} ({_name(one)}) expired at {one.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}: renew it")
    if now < one.not_valid_before_utc:
        start = one.not_valid_before_utc
        raise Unusable(f"{what} ({_name(one)}) is not valid before {start:%Y-%m-%dT%H:%M:%SZ}: check the clock")
    _check_strength(one, what)


def _check_strength(one: x509.Certificate, what: str) -> None:
    key = one.public_key()
    strong = (
        (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in {"secp256r1", "secp384r1"})
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048)
        or isinstance(key, ed25519.Ed25519PublicKey)
    )
    if not strong:
        raise Unusable(f"{what} ({_name(one)}) has a weak key: use ECDSA on P-256")
    if isinstance(one.signature_hash_algorithm, _WEAK):
        raise Unusable(f"{what} ({_name(one)}) is signed with a weak hash: use SHA-256")


def _constraints(one: x509.Certificate) -> x509.BasicConstraints:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return x509.BasicConstraints(ca=False, path_length=None)


def certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Those of a file, unchecked. Raises `Unusable`."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Unusable(f"{what}: not a PEM file with certificates") from error
    if not found:
        raise Unusable(f"{what}: no certificate in the file")
    return found


def _key(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise Unusable(f"{what}: encrypted with a password; give it unencrypted, mode 0600") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(f"{what}: not a PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in {"secp256r1", "secp384r1"}:
        raise Unusable(f"{what}: not an ECDSA key on P-256 or P-384, which sidecars verify")
    return key


def _same_key(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def _name(one: x509.Certificate) -> str:
    return one.subject.rfc4514_string() or "no subject"


def _authority(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    end: datetime,
    random: Random,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    """Everything but the issuer's name and key identifier."""
    serial = int.from_bytes(random(16), "big") >> 1
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(serial or 1)
        .not_valid_before((now - SKEW).replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)

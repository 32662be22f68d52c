"""A certificate signing request becomes a value, or an error that says what is wrong with it (security A-57)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.ports import Denied

LARGEST = 16 * 1024
LONGEST_DNS = 253
LONGEST_URI = 2048

_DNS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class InvalidRequest(Exception):
    """The request is malformed or asks for what is never given. The text is safe to send back."""


@dataclass(frozen=True, slots=True)
class Request:
    """A proven wish: whoever sent it holds the private key of `public_key` and wants to be called `identity`."""

    identity: str
    public_key: ec.EllipticCurvePublicKey


def parse(csr: bytes, identity: str) -> Request:
    """From DER or PEM. Raises `InvalidRequest` for what is malformed and `Denied` for another name than `identity`.

    Only the public key is taken over: no extension and no subject ever reaches the certificate.
    """
    if not valid_identity(identity):
        raise InvalidRequest("the identity is neither a DNS-like name nor a spiffe:// URI")
    if len(csr) > LARGEST:
        raise InvalidRequest(f"the signing request has {len(csr)} bytes; at most {LARGEST} are taken")
    try:
        request = x509.load_pem_x509_csr(csr) if csr.startswith(b"-----") else x509.load_der_x509_csr(csr)
        signed = request.is_signature_valid
        key = request.public_key()
        names = _names(request)
        common = _common_names(request)
        algorithm = request.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise InvalidRequest("the signing request cannot be parsed") from error
    except x509.UnsupportedGeneralNameType as error:
        raise InvalidRequest("the signing request holds a name of an unknown type") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise InvalidRequest("the key is not an ECDSA key on P-256")
    if not isinstance(algorithm, _HASHES) or not signed:
        raise InvalidRequest("the signing request's signature is not valid")
    if len(names) != 1:
        raise InvalidRequest(f"the signing request holds {len(names)} subject alternative names instead of one")
    if names[0] != identity or any(name != identity for name in common):
        raise Denied("the signing request is for another name than the identity")
    return Request(identity, key)


def valid_identity(identity: str) -> bool:
    """A lower-case DNS-like name of at least two labels, or a `spiffe://` URI."""
    if identity.startswith("spiffe://"):
        return len(identity) <= LONGEST_URI and identity.isascii() and identity.isprintable() and " " not in identity
    labels = identity.split(".")
    return (
        len(identity) <= LONGEST_DNS
        and len(labels) > 1
        and _DNS.issuperset(identity)
        and all(0 < len(label) < 64 and label[0] != "-" and label[-1] != "-" for label in labels)
    )


def _names(request: x509.CertificateSigningRequest) -> list[str | None]:
    """Every subject alternative name; None for one that is neither DNS nor URI."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.value if isinstance(name, x509.DNSName | x509.UniformResourceIdentifier) else None for name in names]


def _common_names(request: x509.CertificateSigningRequest) -> list[str]:
    """Common names that are not empty. Identities are often longer than the 64 characters X.520 allows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        attributes = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [text for text in (str(attribute.value) for attribute in attributes) if text]

"""Checks a finished leaf against what was wanted, with code that did not build it: an own reader of its DER.

A mistake in a builder, an option or a library must not become a certificate somebody can use. The reader knows just
enough of X.509 (RFC 5280 §4.1) and refuses whatever it does not expect.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from gossamer.identity.authority import Template

INTEGER, BIT_STRING, OCTET_STRING, OID, UTC_TIME, GENERALIZED_TIME, SEQUENCE = 2, 3, 4, 6, 23, 24, 0x30

_ECDSA = {
    bytes.fromhex("2a8648ce3d040302"): hashes.SHA256,
    bytes.fromhex("2a8648ce3d040303"): hashes.SHA384,
}
_SAN = bytes.fromhex("551d11")
_KEY_USAGE = bytes.fromhex("551d0f")
_EXTENDED = bytes.fromhex("551d25")
_BASIC = bytes.fromhex("551d13")
_SUBJECT_KEY = bytes.fromhex("551d0e")
_ISSUER_KEY = bytes.fromhex("551d23")

# digitalSignature and keyEncipherment, as a BIT STRING with five unused bits.
_WANTED_USAGE = bytes.fromhex("030205a0")
# serverAuth and clientAuth.
_WANTED_EXTENDED = bytes.fromhex("301406082b0601050507030106082b06010505070302")
_WANTED_BASIC = bytes.fromhex("3000")


class Mistake(Exception):
    """We built a certificate that is not the one we wanted: our bug, and the leaf must not leave the process."""


def leaf(der: bytes, identity: str, wanted: Template, issuer: x509.Certificate) -> None:
    """Raises `Mistake` unless `der` is exactly the wanted leaf, signed by `issuer`."""
    outer = Reader(der)
    certificate = outer.take(SEQUENCE)
    outer.end()
    parts = Reader(certificate)
    tbs = parts.take_whole(SEQUENCE)
    algorithm = Reader(parts.take(SEQUENCE)).take(OID)
    signature = parts.take(BIT_STRING)
    parts.end()
    _signature(tbs, algorithm, signature, issuer)
    _body(Reader(Reader(tbs).take(SEQUENCE)), identity, wanted, issuer, algorithm)


def _signature(tbs: bytes, algorithm: bytes, signature: bytes, issuer: x509.Certificate) -> None:
    key = issuer.public_key()
    hash_type = _ECDSA.get(algorithm)
    if hash_type is None or not isinstance(key, ec.EllipticCurvePublicKey) or signature[:1] != b"\0":
        raise Mistake("the signature algorithm is not ECDSA with SHA-256 or SHA-384")
    try:
        key.verify(signature[1:], tbs, ec.ECDSA(hash_type()))
    except InvalidSignature as error:
        raise Mistake("the issuer's key did not make the signature") from error


def _body(tbs: Reader, identity: str, wanted: Template, issuer: x509.Certificate, algorithm: bytes) -> None:
    _equal("version", tbs.take(0xA0), bytes.fromhex("020102"))
    _equal("serial number", int.from_bytes(tbs.take(INTEGER), "big", signed=True), wanted.serial)
    if wanted.serial.bit_length() > 127 or wanted.serial <= 0:
        raise Mistake("the serial number is out of range")
    _equal("inner algorithm", Reader(tbs.take(SEQUENCE)).take(OID), algorithm)
    _equal("issuer's name", tbs.take_whole(SEQUENCE), issuer.subject.public_bytes())
    validity = Reader(tbs.take(SEQUENCE))
    _equal("notBefore", _time(validity), wanted.not_before)
    _equal("notAfter", _time(validity), wanted.not_after)
    if wanted.not_after > issuer.not_valid_after_utc:
        raise Mistake("the leaf outlives its issuer")
    _equal("subject", tbs.take(SEQUENCE), b"")
    spki = wanted.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    _equal("public key", tbs.take_whole(SEQUENCE), spki)
    found = _extensions(Reader(Reader(tbs.take(0xA3)).take(SEQUENCE)))
    tbs.end()
    tag = 0x86 if "://" in identity else 0x82
    _equal("names", found.pop(_SAN, None), (True, _tlv(SEQUENCE, _tlv(tag, identity.encode()))))
    _equal("key usage", found.pop(_KEY_USAGE, None), (True, _WANTED_USAGE))
    _equal("extended key usage", found.pop(_EXTENDED, None), (False, _WANTED_EXTENDED))
    _equal("basic constraints", found.pop(_BASIC, None), (True, _WANTED_BASIC))
    for oid in (_SUBJECT_KEY, _ISSUER_KEY):
        if found.pop(oid, (True,))[0]:
            raise Mistake("a key identifier is missing or critical")
    if found:
        raise Mistake("an extension nobody asked for")


def _extensions(reader: Reader) -> dict[bytes, tuple[bool, bytes]]:
    found: dict[bytes, tuple[bool, bytes]] = {}
    while reader:
        one = Reader(reader.take(SEQUENCE))
        oid = one.take(OID)
        critical = one.take(1) == b"\xff" if one.next == 1 else False
        if oid in found:
            raise Mistake("an extension is there twice")
        found[oid] = (critical, one.take(OCTET_STRING))
        one.end()
    return found


def _time(reader: Reader) -> datetime:
    text = reader.take(UTC_TIME if reader.next == UTC_TIME else GENERALIZED_TIME).decode("latin-1")
    form = "%y%m%d%H%M%SZ" if len(text) == 13 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Mistake(f"the {what} is not what was wanted")


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 128:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


class Reader:
    """Reads definite-length DER values one after another."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    @property
    def next(self) -> int:
        return self._data[self._at] if self else -1

    def take(self, tag: int) -> bytes:
        """The contents of the next value, which must have this tag."""
        start, stop = self._bounds(tag)
        self._at = stop
        return self._data[start:stop]

    def take_whole(self, tag: int) -> bytes:
        """The next value with its tag and length."""
        begin = self._at
        _, stop = self._bounds(tag)
        self._at = stop
        return self._data[begin:stop]

    def end(self) -> None:
        if self:
            raise Mistake("bytes after the end")

    def _bounds(self, tag: int) -> tuple[int, int]:
        data, at = self._data, self._at
        if at + 2 > len(data) or data[at] != tag:
            raise Mistake(f"expected the tag {tag:#x}")
        size = data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
            if not 0 < count < 4 or size < 128:
                raise Mistake("a length that is not DER")
        if at + size > len(data):
            raise Mistake("a value longer than what holds it")
        return at, at + size

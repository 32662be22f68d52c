from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gossamer.identity import material
from gossamer.identity.material import Pair, Unusable
from tests.unit.identity.authority import ANCHOR, ISSUER, NOW, TRUSTED, random

CA = x509.BasicConstraints(ca=True, path_length=None)


def made(
    name: str,
    parent: Pair | None,
    *,
    constraints: x509.BasicConstraints | None = CA,
    usage: bool | None = None,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    before: timedelta = timedelta(0),
    after: timedelta = timedelta(days=30),
) -> Pair:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key
    issuer = subject
    if parent is not None:
        issuer = x509.load_pem_x509_certificate(parent.certificate).subject
        signer = serialization.load_pem_private_key(parent.key, None)  # type: ignore[assignment]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + before)
        .not_valid_after(NOW + after)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if usage is not None:
        bits = dict.fromkeys(
            [
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ],
            False,
        )
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=usage, **bits), critical=True)
    certificate = builder.sign(signer, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def test_what_is_made_can_be_used() -> None:
    issuer = material.issuer(ISSUER.certificate, ISSUER.key, TRUSTED, NOW)
    assert issuer.anchor == TRUSTED[0]
    assert issuer.chain == ()
    assert issuer.not_after == NOW + timedelta(days=365)
    assert TRUSTED[0].not_valid_after_utc == NOW + timedelta(days=3650)


def test_an_issuer_does_not_outlive_its_anchor() -> None:
    short = material.new_anchor("root", NOW, random, timedelta(days=10))
    issuer = material.new_issuer("identity", short, NOW, random)
    assert x509.load_pem_x509_certificate(issuer.certificate).not_valid_after_utc == NOW + timedelta(days=10)


def test_an_issuer_signs_leaves_and_no_other_issuer() -> None:
    below = made("below", ISSUER)
    with pytest.raises(Unusable, match="not signed by any"):
        material.issuer(below.certificate + ISSUER.certificate, below.key, TRUSTED, NOW)


def test_brought_intermediates_lead_to_the_anchor_in_any_order() -> None:
    root = made("root", None)
    middle = made("middle", root)
    lower = made("lower", middle)
    own = made("own", lower)
    trusted = material.anchors(root.certificate, NOW)
    for above in (lower.certificate + middle.certificate, middle.certificate + lower.certificate):
        issuer = material.issuer(own.certificate + above, own.key, trusted, NOW)
        assert [one.subject.rfc4514_string() for one in issuer.chain] == ["CN=lower", "CN=middle"]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (made("leaf", ANCHOR, constraints=None), "not a CA"),
        (made("leaf", ANCHOR, constraints=x509.BasicConstraints(ca=False, path_length=None)), "not a CA"),
        (made("no-sign", ANCHOR, usage=False), "keyCertSign"),
        (made("old", ANCHOR, before=timedelta(days=-9), after=timedelta(days=-1)), "expired at 2026-11-22"),
        (made("early", ANCHOR, before=timedelta(days=1)), "check the clock"),
        (made("stranger", None), "not signed by any of the 1 trust anchor"),
        (Pair(made("other", ANCHOR).certificate, ISSUER.key), "does not belong"),
        (made("rsa", ANCHOR, key=rsa.generate_private_key(65537, 2048)), "not an ECDSA key"),
        (made("p521", ANCHOR, key=ec.generate_private_key(ec.SECP521R1())), "not an ECDSA key"),
        (Pair(b"nothing", ISSUER.key), "not a PEM file"),
        (Pair(ISSUER.certificate, b"nothing"), "not a PEM private key"),
        (Pair(ISSUER.key, ISSUER.key), "not a PEM file"),
    ],
)
def test_an_issuer_that_cannot_be_used_is_refused_in_one_line(pair: Pair, message: str) -> None:
    with pytest.raises(Unusable, match=message) as error:
        material.issuer(pair.certificate, pair.key, TRUSTED, NOW)
    assert "\n" not in str(error.value)


def test_an_encrypted_key_is_refused_in_one_line() -> None:
    key = serialization.load_pem_private_key(ISSUER.key, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(Unusable, match="password"):
        material.issuer(ISSUER.certificate, locked, TRUSTED, NOW)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "not a PEM file"),
        (made("leaf", None, constraints=None).certificate, "not a CA"),
        (made("old", None, before=timedelta(days=-9), after=timedelta(days=-1)).certificate, "expired"),
        (made("weak", None, key=rsa.generate_private_key(65537, 1024)).certificate, "weak key"),
    ],
)
def test_an_anchor_that_cannot_be_used_is_refused(pem: bytes, message: str) -> None:
    with pytest.raises(Unusable, match=message):
        material.anchors(pem, NOW)


def test_the_same_anchor_twice_is_one() -> None:
    assert material.anchors(ANCHOR.certificate * 2, NOW) == TRUSTED


def test_an_anchors_key_must_be_its_own() -> None:
    with pytest.raises(Unusable, match="does not belong"):
        material.new_issuer("identity", Pair(ANCHOR.certificate, ISSUER.key), NOW, random)

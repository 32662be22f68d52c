from __future__ import annotations

import os
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.identity import inspect, trust
from gossamer.identity.authority import Authority, Leaf, sign, template
from gossamer.identity.certify import Busy, Renewals, Shown, admitted, certify
from gossamer.identity.request import InvalidRequest, parse, valid_identity
from gossamer.kit.budget import Rate
from gossamer.ports import Denied, Unavailable
from tests.unit.identity.authority import (
    EVIL,
    KEY,
    NOW,
    TRUSTED,
    WEB,
    Everybody,
    authority,
    csr,
    dns,
    random,
)


def certified(
    request: bytes,
    identity: str = WEB,
    token: bytes = b"token",
    peer: str | None = None,
    tokens: Everybody | None = None,
    signer: Authority | None = None,
    renewals: Renewals | None = None,
    now: float = NOW.timestamp(),
) -> Leaf:
    shown = Shown(identity, token, request, peer)
    verifier = tokens or Everybody((b"token", identity))
    admitted(shown, verifier, renewals or Renewals(), identity, now)
    leaf, _ = certify(shown, authority=signer or authority(), tokens=verifier, now=now, random=random)
    return leaf


def test_a_leaf_says_what_the_contract_asks_for_and_nothing_else() -> None:
    leaf = x509.load_der_x509_certificate(certified(csr(dns(WEB))).certificate)
    assert leaf.subject == x509.Name([])
    assert leaf.public_key() == KEY.public_key()
    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=20)
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=24, seconds=20)
    assert 0 < leaf.serial_number < 2**127
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical
    assert list(san.value) == [dns(WEB)]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert len(list(leaf.extensions)) == 6


def test_the_library_verifies_the_whole_chain() -> None:
    issued = certified(csr(dns(WEB)))
    leaf = x509.load_der_x509_certificate(issued.certificate)
    above = [x509.load_der_x509_certificate(one) for one in issued.intermediates]
    store = x509.verification.Store(list(TRUSTED))
    verifier = x509.verification.PolicyBuilder().store(store).time(NOW).build_server_verifier(dns(WEB))
    assert verifier.verify(leaf, above) == [leaf, *above, *TRUSTED]


@pytest.mark.parametrize(
    "request_bytes",
    [
        csr(dns(WEB), pem=True),
        csr(dns(WEB), common=(WEB,)),
        csr(dns(WEB), common=("",)),
        csr(dns(WEB), hash_=hashes.SHA384()),
        csr(dns(WEB), extensions=(x509.BasicConstraints(ca=True, path_length=None),)),
        csr(dns(WEB), extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)),
        csr(dns(WEB), extensions=(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"),)),
    ],
)
def test_every_form_of_a_right_request_gives_the_same_kind_of_leaf(request_bytes: bytes) -> None:
    leaf = x509.load_der_x509_certificate(certified(request_bytes).certificate)
    assert len(list(leaf.extensions)) == 6
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_uri_identity_becomes_the_one_uri_name() -> None:
    spiffe = "spiffe://cluster.local/ns/default/sa/web"
    issued = certified(csr(x509.UniformResourceIdentifier(spiffe)), identity=spiffe)
    san = x509.load_der_x509_certificate(issued.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert list(san.value) == [x509.UniformResourceIdentifier(spiffe)]


@pytest.mark.parametrize(
    "names",
    [
        (),
        (dns(WEB), dns(EVIL)),
        (dns(WEB), dns(WEB)),
        (dns(WEB), x509.RFC822Name("a@b.c")),
        (dns(WEB), x509.UniformResourceIdentifier("spiffe://cluster.local/x")),
    ],
)
def test_more_or_less_than_one_name_is_invalid(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(InvalidRequest, match="instead of one"):
        certified(csr(*names))


@pytest.mark.parametrize(
    "request_bytes",
    [
        csr(dns(EVIL)),
        csr(dns(WEB.upper())),
        csr(dns(WEB + ".")),
        csr(dns("*.default.serviceaccount.identity.gossamer.cluster.local")),
        csr(x509.UniformResourceIdentifier(WEB + "/x")),
        csr(x509.RFC822Name("web@" + "default")),
        csr(dns(WEB), common=(EVIL,)),
        csr(dns(WEB), common=(WEB, EVIL)),
    ],
)
def test_a_request_for_another_name_is_denied(request_bytes: bytes) -> None:
    tokens = Everybody((b"token", WEB))
    with pytest.raises(Denied):
        certified(request_bytes, tokens=tokens)
    assert not tokens.redeemed, "a wrong request must not use the token up"


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_other_keys_than_p256_are_invalid(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(InvalidRequest, match="P-256"):
        certified(csr(dns(WEB), key=key))


def test_an_ed25519_key_is_invalid() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([dns(WEB)]), critical=False)
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    with pytest.raises(InvalidRequest, match="P-256"):
        certified(request.public_bytes(encoding=serialization.Encoding.DER))


def test_without_the_private_key_there_is_no_certificate() -> None:
    good = bytearray(csr(dns(WEB)))
    good[-1] ^= 1
    with pytest.raises(InvalidRequest):
        certified(bytes(good))
    # Somebody else's request with the name changed.
    stolen = csr(dns(EVIL)).replace(EVIL.encode()[:5], WEB.encode()[:5])
    with pytest.raises((InvalidRequest, Denied)):
        certified(stolen)


def test_a_request_of_a_megabyte_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidRequest, match="at most 16384"):
        certified(b"\x30" * (1 << 20))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.integers(1, 255), st.binary(max_size=3))
def test_no_damaged_request_ever_gets_a_certificate_for_another_key_or_name(at: int, flip: int, extra: bytes) -> None:
    request = bytearray(csr(dns(WEB)))
    request[at % len(request)] ^= flip
    request += extra
    try:
        leaf = x509.load_der_x509_certificate(certified(bytes(request)).certificate)
    except (InvalidRequest, Denied):
        return
    assert leaf.public_key() == KEY.public_key()


@given(st.binary(max_size=200))
def test_noise_is_an_invalid_request(noise: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(noise, WEB)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "one",
        "a..b",
        "A.b",
        "a.b ",
        "a.b\0",
        "*.b.c",
        "-a.b",
        "a-.b",
        "x" * 64 + ".b",
        "a." * 127 + "bb",
        "spiffe://a b",
        "a/b.c",
        "http://a.b",
    ],
)
def test_what_is_no_identity_is_invalid(name: str) -> None:
    assert not valid_identity(name)
    with pytest.raises(InvalidRequest):
        certified(csr(dns(WEB)), identity=name, tokens=Everybody((b"token", name)))


def test_neither_token_nor_certificate_is_denied() -> None:
    for token, peer in [(b"", None), (b"wrong", None), (b"", EVIL), (b"wrong", EVIL)]:
        with pytest.raises(Denied):
            certified(csr(dns(WEB)), token=token, peer=peer)


def test_a_token_of_another_identity_is_denied() -> None:
    with pytest.raises(Denied):
        certified(csr(dns(EVIL)), identity=EVIL, tokens=Everybody((b"token", WEB)))


def test_a_token_works_once() -> None:
    tokens = Everybody((b"token", WEB))
    certified(csr(dns(WEB)), tokens=tokens)
    with pytest.raises(Denied):
        certified(csr(dns(WEB)), tokens=tokens)


def test_the_current_certificate_renews_itself_without_a_token() -> None:
    tokens = Everybody()
    assert certified(csr(dns(WEB)), token=b"", peer=WEB, tokens=tokens).identity == WEB
    # linkerd2-proxy sends its old token again: it is not looked at.
    assert certified(csr(dns(WEB)), token=b"stale", peer=WEB, tokens=tokens).identity == WEB


def test_a_loop_of_renewals_is_stopped_and_others_are_not() -> None:
    renewals = Renewals(Rate(3, 1))
    for _ in range(3):
        certified(csr(dns(WEB)), token=b"", peer=WEB, renewals=renewals)
    with pytest.raises(Busy):
        certified(csr(dns(WEB)), token=b"", peer=WEB, renewals=renewals)
    certified(csr(dns(EVIL)), identity=EVIL, token=b"", peer=EVIL, renewals=renewals)
    certified(csr(dns(WEB)), token=b"", peer=WEB, renewals=renewals, now=NOW.timestamp() + 2)


def test_an_expired_issuer_is_unavailable_and_keeps_the_token() -> None:
    tokens = Everybody((b"token", WEB))
    late = NOW + timedelta(days=366)
    with pytest.raises(Unavailable, match="expired"):
        certified(csr(dns(WEB)), tokens=tokens, now=late.timestamp())
    assert not tokens.redeemed


def test_a_leaf_never_outlives_its_chain() -> None:
    late = NOW + timedelta(days=364, hours=20)
    issued = certified(csr(dns(WEB)), now=late.timestamp())
    assert issued.not_after == authority().issuers[0].not_after


def test_serials_do_not_repeat() -> None:
    signer = authority()
    request = parse(csr(dns(WEB)), WEB)
    issuer = signer.issuers[0]
    made = {template(request, issuer, NOW, signer.lifetime, signer.skew, os.urandom).serial for _ in range(100_000)}
    assert len(made) == 100_000
    assert all(0 < serial < 2**127 for serial in made)


def test_a_leaf_that_is_not_the_wanted_one_is_a_mistake() -> None:
    signer = authority()
    issuer = signer.issuers[0]
    request = parse(csr(dns(WEB)), WEB)
    wanted = template(request, issuer, NOW, signer.lifetime, signer.skew, random)
    good = sign(wanted, issuer)
    inspect.leaf(good, WEB, wanted, issuer.certificate)
    others = [
        template(parse(csr(dns(EVIL)), EVIL), issuer, NOW, signer.lifetime, signer.skew, random),
        template(request, issuer, NOW, timedelta(hours=25), signer.skew, random),
        template(request, issuer, NOW, signer.lifetime, timedelta(hours=1), random),
        template(request, issuer, NOW, signer.lifetime, signer.skew, os.urandom),
        template(
            parse(csr(dns(WEB), key=ec.generate_private_key(ec.SECP256R1())), WEB),
            issuer,
            NOW,
            signer.lifetime,
            signer.skew,
            random,
        ),
    ]
    for other in others:
        with pytest.raises(inspect.Mistake):
            inspect.leaf(sign(other, issuer), WEB, wanted, issuer.certificate)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 255))
def test_any_changed_byte_of_a_leaf_is_a_mistake(at: int, flip: int) -> None:
    signer = authority()
    issuer = signer.issuers[0]
    wanted = template(parse(csr(dns(WEB)), WEB), issuer, NOW, signer.lifetime, signer.skew, random)
    leaf = bytearray(sign(wanted, issuer))
    leaf[at % len(leaf)] ^= flip
    with pytest.raises(inspect.Mistake):
        inspect.leaf(bytes(leaf), WEB, wanted, issuer.certificate)


def test_the_bundle_holds_the_anchors_as_der() -> None:
    trusted = trust.Trust(authority(), TRUSTED)
    bundle = trusted.bundle("cluster.local", 3)
    assert bundle.generation == 3
    assert bundle.anchors["cluster.local"] == (TRUSTED[0].public_bytes(serialization.Encoding.DER),)
    assert trusted.described_anchors[0].subject == "CN=root.gossamer.cluster.local"

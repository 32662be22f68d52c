"""100,000 hostile requests, none answered with anybody else's certificate; a million serials, no two alike.

Shortened where `GOSSAMER_LONG` is not set: a tenth, with the same seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gossamer.identity.authority import serial
from gossamer.identity.certify import Busy, Renewals, Shown, admitted, certify
from gossamer.identity.request import InvalidRequest
from gossamer.kit.budget import Rate
from gossamer.ports import Denied
from gossamer.standalone.tokens import Tokens
from gossamer.testing.store import MemoryStore
from tests.unit.identity.authority import EVIL, KEY, NOW, WEB, authority, csr, dns

LONG = bool(os.environ.get("GOSSAMER_LONG"))
REQUESTS = 100_000 if LONG else 10_000
SEED = int(os.environ.get("SEED", "4"))

RSA = rsa.generate_private_key(65537, 2048)
P521 = ec.generate_private_key(ec.SECP521R1())
GOOD = csr(dns(WEB))
REQUESTED = [
    GOOD,
    csr(dns(EVIL)),
    csr(dns(WEB), dns(EVIL)),
    csr(),
    csr(dns(WEB.upper())),
    csr(dns("*.default.serviceaccount.identity.gossamer.cluster.local")),
    csr(x509.UniformResourceIdentifier("spiffe://cluster.local/web")),
    csr(x509.RFC822Name("web@default")),
    csr(dns(WEB), common=(EVIL,)),
    csr(dns(WEB), key=RSA),
    csr(dns(WEB), key=P521, hash_=hashes.SHA512()),
    csr(dns(WEB), extensions=(x509.BasicConstraints(True, None),)),
    csr(dns(WEB), extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)),
    csr(dns(EVIL), extensions=(x509.BasicConstraints(True, 3),)),
    b"",
    b"\x30\x84\xff\xff\xff\xff",
    b"-----BEGIN CERTIFICATE REQUEST-----\n",
]


class Hostile:
    """Tries whatever comes to its mind, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.tokens = Tokens(MemoryStore(), self.chance.randbytes)
        self.now = NOW.timestamp()
        self.known: list[tuple[str, str]] = []
        self.renewals = Renewals(Rate(1_000_000, 1))

    def request(self) -> bytes:
        text = bytearray(self.chance.choice(REQUESTED))
        for _ in range(self.chance.choice((0, 0, 0, 1, 3))):
            if text:
                text[self.chance.randrange(len(text))] = self.chance.randrange(256)
        if self.chance.random() < 0.05:
            del text[self.chance.randrange(len(text) + 1) :]
        return bytes(text)

    def token(self) -> bytes:
        kinds: list[Callable[[], bytes]] = [
            lambda: b"",
            lambda: self.chance.randbytes(32),
            self._fresh,
            self._old,
            lambda: self._fresh()[:-1],
            lambda: b"x" * self.chance.choice((4096, 5000)),
        ]
        return self.chance.choice(kinds)()

    def _fresh(self) -> bytes:
        token = self.tokens.issue(WEB, self.now)
        self.known.append((token, WEB))
        return token.encode()

    def _old(self) -> bytes:
        return self.chance.choice(self.known)[0].encode() if self.known else b"none"

    def ask(self) -> tuple[str, bytes, bytes, str | None]:
        name = self.chance.choice((WEB, EVIL, WEB.upper(), "", "a" * 300, "spiffe://cluster.local/x"))
        peer = self.chance.choice((None, None, None, WEB, "", EVIL + "."))
        self.now += self.chance.choice((0.0, 0.01, 30.0))
        return name, self.token(), self.request(), peer


def test_no_hostile_request_gets_a_certificate_that_is_not_the_callers_own() -> None:
    hostile = Hostile(SEED)
    signer = authority()
    spent: set[bytes] = set()
    given = 0
    for _ in range(REQUESTS):
        identity, token, request, peer = hostile.ask()
        shown = Shown(identity, token, request, peer)
        try:
            admitted(shown, hostile.tokens, hostile.renewals, identity, hostile.now)
            leaf, _ = certify(
                shown,
                authority=signer,
                tokens=hostile.tokens,
                now=hostile.now % 1000 + NOW.timestamp(),
                random=os.urandom,
            )
        except (InvalidRequest, Denied, Busy):
            continue
        given += 1
        assert identity == WEB, "only this one was ever entitled"
        assert peer == WEB or token not in spent, "a token is good once"
        if peer != WEB:
            spent.add(token)
        made = x509.load_der_x509_certificate(leaf.certificate)
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [dns(WEB)]
        assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert made.public_key() == KEY.public_key()
        assert len(list(made.extensions)) == 6
    assert given > REQUESTS / 1000, "honest ones among them were served"


@pytest.mark.parametrize("count", [1_000_000])
def test_no_two_of_a_million_serials_are_alike(count: int) -> None:
    assert len({serial(os.urandom) for _ in range(count)}) == count

"""gossamer.v1.Lifecycle over a real trustee and log: everything people may ask, and each refusal's code."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message

from gossamer.api import lifecycle as api
from gossamer.identity.material import Pair, new_anchor, new_issuer
from gossamer.identity.request import InvalidRequest
from gossamer.kit.grpc.calls import Context, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.edge import IdentityState
from gossamer.model.mesh import Mesh
from gossamer.pb.v1 import lifecycle_pb2 as pb
from gossamer.ports import Denied, Holder
from gossamer.standalone.issuance import IssuanceLog
from gossamer.standalone.keys import KeyFiles
from gossamer.standalone.lifecycle import Lifecycle
from gossamer.standalone.registration import Asked, Registration
from gossamer.standalone.signer import Signer
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.trustee import Terms, Trustee
from gossamer.testing.store import MemoryStore
from tests.unit.identity.authority import WEB, csr, dns

NOW = 1_800_000_000.0
MESH = Mesh()


class World:
    """A mesh with two replicas of one identity, `web-a` and `web-b`, at an hour that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.folder = folder
        self.store = MemoryStore()
        self.heard: dict[str, Any] = {}
        keys = KeyFiles(folder / "ca")
        if not keys.exist:
            self._made(keys)
        terms = Terms(leaf=3600.0, skew=20.0, issuer=86_400.0, anchor=864_000.0)
        self.trustee = Trustee(self.store, keys, None, MESH, folder / "anchors.pem", terms, lambda: self.now)
        self.tokens = Tokens(self.store, os.urandom)
        self.log = IssuanceLog(folder / "issuance.log", NOW)
        self.signer = Signer(self.trustee, self.tokens, self.log, lambda: self.now, os.urandom)
        self.registrations = [self.registration(name) for name in ("web-a", "web-b")]
        self.trustee.registered = lambda: {one.session for one in self.registrations}
        self.lifecycle = Lifecycle(
            self.trustee,
            self.signer,
            self.log,
            MESH,
            lambda: self.registrations,
            lambda namespace, name: self.heard.get(f"{namespace}/{name}"),
            lambda: self.now,
        )
        self.methods = api.methods(self.lifecycle)

    def _made(self, keys: KeyFiles) -> None:
        from datetime import UTC, datetime

        moment = datetime.fromtimestamp(NOW - 60, UTC)
        anchor = new_anchor("root", moment, os.urandom)
        issuer = new_issuer("issuer", anchor, moment, os.urandom)
        keys.bring(anchor.certificate, issuer.certificate, issuer.key)
        self.anchor: Pair = anchor

    def registration(self, name: str) -> Registration:
        asked = Asked("default", "web", "web")
        return Registration(asked, name, "127.64.0.1", f"session of {name}", 1, NOW - 10)

    def first(self, registration: Registration) -> str:
        """A first certificate by token; its serial."""
        token = self.tokens.issue(WEB, self.now, holder=registration.holder)
        return self.signed(token.encode(), None, "")

    def renewed(self, serial: str) -> str:
        return self.signed(b"", WEB, serial)

    def signed(self, token: bytes, peer: str | None, serial: str) -> str:
        async def ask() -> Any:
            return await self.signer.certify(WEB, token, csr(dns(WEB)), peer, serial)

        return f"{asyncio.run(ask()).serial:x}"

    def says(self, registration: Registration, serial: str) -> None:
        identity = IdentityState(WEB, 1, NOW, NOW + 3600, serial=bytes.fromhex(serial.zfill(32)).lstrip(b"\0"))
        self.heard[str(registration.key)] = SimpleNamespace(identity=identity, when=self.now)

    def ask(self, method: str, request: Message, answer: type[Any]) -> Any:
        handler = self.methods[f"/gossamer.v1.Lifecycle/{method}"]
        assert isinstance(handler, Unary)

        async def call() -> bytes:
            found = handler.handle(request.SerializeToString(), Context(None, {}, None, None))
            return found if isinstance(found, bytes) else await found

        return answer.FromString(asyncio.run(call()))

    def refused(self, method: str, request: Message) -> tuple[Code, str]:
        with pytest.raises(Status) as caught:
            self.ask(method, request, pb.RotateResponse)
        return caught.value.code, caught.value.message


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def revoke(world: World, subject: str, undo: bool = False) -> pb.RevokeResponse:
    found: pb.RevokeResponse = world.ask("Revoke", pb.RevokeRequest(subject=subject, undo=undo), pb.RevokeResponse)
    return found


def test_everything_is_shown(world: World) -> None:
    serial = world.first(world.registrations[0])
    world.says(world.registrations[0], serial)
    shown = world.ask("Show", pb.ShowRequest(), pb.ShowResponse)
    assert (shown.phase, shown.generation, [one.role for one in shown.anchors]) == ("steady", 1, ["active"])
    assert [one.role for one in shown.issuers] == ["in use"]
    leaves = {one.name: (one.state, one.serial) for one in shown.leaves}
    assert leaves == {
        "gossamer/front": ("unknown", ""),
        "default/web-a": ("valid", serial),
        "default/web-b": ("unknown", ""),
    }
    assert [one.what for one in shown.events] == [
        "the first leaf ends, of default/web-a, unless renewed before",
        "the issuer ends: no certificate can be signed from then on",
        "trust anchor CN=root ends",
    ]
    assert list(shown.warnings) == []


def test_a_workload_is_revoked_with_every_certificate_that_came_of_its_first(world: World) -> None:
    a, b = world.registrations
    first, other = world.first(a), world.first(b)
    second = world.renewed(first)
    done = revoke(world, "web-a")
    assert (done.subject, done.serials) == ("default/web-a", 2)
    (told,) = world.trustee.bundle.revoked
    assert {int.from_bytes(one, "big") for one in told.serials} == {int(first, 16), int(second, 16)}
    assert world.trustee.bundle.generation == 2

    with pytest.raises(Denied, match="revoked"):
        world.renewed(second)
    with pytest.raises(Denied, match="revoked"):
        world.first(a)
    assert world.renewed(other), "its replica is unharmed"
    assert world.first(b)

    again = Trustee(
        world.store,
        KeyFiles(world.folder / "ca"),
        None,
        MESH,
        world.folder / "x.pem",
        world.trustee.terms,
        lambda: world.now,
    )
    assert again.bundle == world.trustee.bundle, "a restart forgets nothing"

    assert revoke(world, "default/web-a", undo=True).subject == "default/web-a"
    assert world.trustee.bundle.revoked == ()
    assert world.renewed(second)


def test_a_token_handed_out_before_is_worth_nothing_after(world: World) -> None:
    token = world.tokens.issue(WEB, world.now, holder=world.registrations[0].holder)
    revoke(world, "web-a")
    with pytest.raises(Denied, match="revoked"):
        world.signed(token.encode(), None, "")


def test_an_identity_is_revoked_up_to_now(world: World) -> None:
    serials = [world.first(one) for one in world.registrations]
    done = revoke(world, WEB)
    assert (done.identity, done.serials) == (WEB, 0)
    for serial in serials:
        with pytest.raises(Denied, match="revoked"):
            world.renewed(serial)
    world.now += 5
    world.registrations = [world.registration("web-c")]
    fresh = world.first(world.registrations[0])
    assert world.renewed(fresh), "who starts again has other keys"


def test_a_revocation_is_forgotten_when_nothing_of_it_can_be_valid_and_the_bar_stays(world: World) -> None:
    world.first(world.registrations[0])
    world.first(world.registrations[1])
    revoke(world, "web-a")
    world.now += 2 * 3600
    world.trustee.step()
    assert world.trustee.bundle.revoked == ()
    with pytest.raises(Denied, match="revoked"):
        world.first(world.registrations[0])
    del world.registrations[0]
    world.trustee.step()
    assert world.trustee.kept.revoked == ()


def test_certificates_whose_origin_the_log_does_not_know_are_told_apart_by_what_sidecars_say(world: World) -> None:
    """A front that says no serials: renewals are of nobody in particular."""
    a, b = world.registrations
    for one in (a, b):
        world.first(one)
        world.says(one, world.renewed(""))
    revoke(world, "web-a")
    serials = {int.from_bytes(one, "big") for one in world.trustee.bundle.revoked[0].serials}
    held = {name: int.from_bytes(told.identity.serial, "big") for name, told in world.heard.items()}
    assert held["default/web-a"] in serials
    assert held["default/web-b"] not in serials


def test_nobody_is_revoked_by_a_name_that_is_nobodys(world: World) -> None:
    code, said = world.refused("Revoke", pb.RevokeRequest(subject="nobody"))
    assert (code, said.count("\n")) == (Code.NOT_FOUND, 0)
    assert world.refused("Revoke", pb.RevokeRequest(subject="web-a", undo=True))[0] is Code.NOT_FOUND


def test_an_issuer_is_signed_where_the_anchor_is_and_installed_here(world: World) -> None:
    request = x509.load_pem_x509_csr(
        world.ask("RequestIssuer", pb.RequestIssuerRequest(), pb.RequestIssuerResponse).csr
    )
    again = x509.load_pem_x509_csr(world.ask("RequestIssuer", pb.RequestIssuerRequest(), pb.RequestIssuerResponse).csr)
    assert request.public_key() == again.public_key(), "asked twice, one key waits"
    signed = offline(world.anchor, request)
    before = world.trustee.authority
    installed = world.ask("Install", pb.InstallRequest(certificate=signed), pb.RotateResponse).issuer
    assert installed.role == "in use"
    assert world.trustee.authority != before
    assert not (world.folder / "ca/request.key").exists()
    assert world.refused("Install", pb.InstallRequest(certificate=signed))[0] is Code.FAILED_PRECONDITION


def test_an_issuer_of_a_stranger_is_not_installed(world: World) -> None:
    (world.folder / "other").mkdir()
    other = World(world.folder / "other")
    request = x509.load_pem_x509_csr(world.lifecycle.request())
    code, said = world.refused("Install", pb.InstallRequest(certificate=offline(other.anchor, request)))
    assert code is Code.FAILED_PRECONDITION and "was not signed by any" in said
    assert world.ask("Show", pb.ShowRequest(), pb.ShowResponse).phase == "steady"


def test_an_anchor_of_ones_own_comes_by_a_rotation(world: World) -> None:
    (world.folder / "other").mkdir()
    other = World(world.folder / "other")
    request = x509.load_pem_x509_csr(world.lifecycle.request())
    both = pb.InstallRequest(certificate=offline(other.anchor, request), anchors=other.anchor.certificate)
    assert world.ask("Install", both, pb.RotateResponse).issuer.role in ("waiting", "in use")
    world.trustee.step()
    world.trustee.step()
    shown = world.ask("Show", pb.ShowRequest(), pb.ShowResponse)
    assert (shown.phase, len(shown.anchors)) == ("steady", 1), "nobody is live, so nobody is waited for"
    assert world.first(world.registrations[0])


def test_without_the_anchors_key_nothing_is_rotated_and_the_remedy_is_named(world: World) -> None:
    code, said = world.refused("RotateIssuer", pb.RotateIssuerRequest())
    assert code is Code.FAILED_PRECONDITION and "gossamer identity csr" in said
    assert world.refused("RotateAnchor", pb.RotateAnchorRequest(abort=True))[0] is Code.FAILED_PRECONDITION


def test_the_log_is_a_chain_through_restarts_and_full_files(world: World, tmp_path: Path) -> None:
    path = tmp_path / "small.log"
    lines = 0
    for _ in range(3):
        log = IssuanceLog(path, NOW, most_bytes=3_000)
        signer = Signer(world.trustee, world.tokens, log, lambda: NOW, os.urandom)

        async def ask(signer: Signer = signer) -> None:
            await signer.certify(WEB, b"", csr(dns(WEB)), WEB, "")

        for _ in range(5):
            asyncio.run(ask())
            lines += 1
        log.close()
        with path.open("ab") as file:
            file.write(b'{"time":"cut off by a cra')
    assert path.with_name("small.log.1").exists()
    whole = [text for text in IssuanceLog(path, NOW).lines() if text.startswith(b'{"time"') and text.endswith(b"}\n")]
    from gossamer.identity.issuance import broken

    assert (len(whole), broken(whole)) == (lines, None)
    assert broken([*whole[:4], *whole[5:]]) == 5
    assert broken([*whole[:4], whole[4].replace(b"web", b"bew"), *whole[5:]]) == 6


def test_a_hostile_request_is_counted_and_leaves_no_line(world: World) -> None:
    token = world.tokens.issue(WEB, world.now, holder=Holder())
    with pytest.raises(InvalidRequest):
        asyncio.run(_garbage(world, token))
    assert (world.signer.issued, world.signer.refused, list(world.log.lines())) == (0, 1, [])
    assert "gossamer_identity_refused_total 1\n" in world.lifecycle.metrics()


async def _garbage(world: World, token: str) -> None:
    await world.signer.certify(WEB, token.encode(), b"\x30\x82", None, "")


def offline(anchor: Pair, request: x509.CertificateSigningRequest) -> bytes:
    """As somebody signs it with the anchor's key in a safe."""
    from datetime import UTC, datetime, timedelta

    parent = x509.load_pem_x509_certificate(anchor.certificate)
    key = serialization.load_pem_private_key(anchor.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    moment = datetime.fromtimestamp(NOW - 60, UTC)
    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(parent.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment)
        .not_valid_after(moment + timedelta(days=30))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )

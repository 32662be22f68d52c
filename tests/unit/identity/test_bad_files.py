"""Twelve and more files that must not hurt (F-24): each is refused with one line, and what was used before goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gossamer.identity.material import Pair, Unusable, new_anchor, new_issuer
from gossamer.identity.rotation import Live, Phase, name_of
from gossamer.model.mesh import Mesh
from gossamer.standalone.issuer_files import IssuerFiles
from gossamer.standalone.keys import KeyFiles
from gossamer.standalone.trustee import Terms, Trustee
from gossamer.testing.store import MemoryStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ANCHOR = new_anchor("root", NOW - DAY, os.urandom, 100 * DAY)
OTHER = new_anchor("other", NOW - DAY, os.urandom, 100 * DAY)
ISSUER = new_issuer("issuer", ANCHOR, NOW - DAY, os.urandom, 50 * DAY)
TERMS = Terms(leaf=60.0, skew=6.0, issuer=86_400.0, anchor=864_000.0)


class Brought:
    """A folder as cert-manager mounts it: files behind the link `..data`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir()

    def put(self, anchors: bytes, certificate: bytes, key: bytes, mode: int = 0o600) -> None:
        self.count += 1
        data = self.folder / f"..{self.count}"
        data.mkdir()
        for name, content in (("ca.crt", anchors), ("tls.crt", certificate), ("tls.key", key)):
            (data / name).write_bytes(content)
            (data / name).chmod(mode if name == "tls.key" else 0o644)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        new = self.folder / "..data.new"
        new.symlink_to(data.name)
        new.replace(self.folder / "..data")


class Scene:
    def __init__(self, folder: Path) -> None:
        self.now = NOW.timestamp()
        self.folder = folder
        self.brought = Brought(folder / "brought")
        self.brought.put(ANCHOR.certificate, ISSUER.certificate, ISSUER.key)
        self.store = MemoryStore()
        self.trustee = self.start()
        self.live: list[Live] = []
        self.trustee.live = lambda: self.live

    def start(self) -> Trustee:
        files = IssuerFiles.folder(self.brought.folder)
        keys = KeyFiles(self.folder / "ca")
        return Trustee(self.store, keys, files, Mesh(), self.folder / "anchors.pem", TERMS, lambda: self.now)

    def look(self) -> None:
        """Two looks: what is half written is looked at once more before it is refused."""
        self.trustee.look()
        self.trustee.look()
        self.trustee.step()

    @property
    def serial(self) -> int:
        return self.trustee.authority.current(datetime.fromtimestamp(self.now, UTC)).certificate.serial_number

    @property
    def refused(self) -> list[str]:
        return list(self.trustee.refusals.now.values())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def serial_of(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


def signed(
    anchor: Pair = ANCHOR,
    *,
    authority: bool = True,
    begins: timedelta = -DAY,
    ends: timedelta = 10 * DAY,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
) -> Pair:
    """An issuer as somebody careless makes it."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    parent = x509.load_pem_x509_certificate(anchor.certificate)
    parent_key = serialization.load_pem_private_key(anchor.key, None)
    assert isinstance(parent_key, ec.EllipticCurvePrivateKey)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "careless")]))
        .issuer_name(parent.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .sign(parent_key, hashes.SHA256())
    )
    return Pair(
        built.public_bytes(serialization.Encoding.PEM),
        own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


WEAK_RSA = signed(key=rsa.generate_private_key(65537, 1024))
WRONG = signed()
STRANGER = new_issuer("issuer", OTHER, NOW - DAY, os.urandom, 50 * DAY)

Bad = Callable[[Scene], None]


def put(anchors: bytes, certificate: bytes, key: bytes, mode: int = 0o600) -> Bad:
    return lambda scene: scene.brought.put(anchors, certificate, key, mode)


def dangling(scene: Scene) -> None:
    """The link was swapped to a folder that is not there yet."""
    new = scene.brought.folder / "..data.new"
    new.symlink_to("..nowhere")
    new.replace(scene.brought.folder / "..data")


def half(scene: Scene) -> None:
    """A new certificate, and still the key of the one before."""
    scene.brought.put(ANCHOR.certificate, WRONG.certificate, ISSUER.key)


BAD: dict[str, tuple[Bad, str]] = {
    "another's key": (put(ANCHOR.certificate, ISSUER.certificate, WRONG.key), "does not belong to its certificate"),
    "half swapped": (half, "does not belong to its certificate"),
    "not a CA": (lambda s: _put(s, signed(authority=False)), "is not a CA"),
    "not under an anchor": (put(ANCHOR.certificate, STRANGER.certificate, STRANGER.key), "was not signed by any"),
    "anchor dropped too early": (put(OTHER.certificate, ISSUER.certificate, ISSUER.key), "was not signed by any"),
    "expired": (lambda s: _put(s, signed(begins=-9 * DAY, ends=-DAY)), "expired at"),
    "not yet valid": (lambda s: _put(s, signed(begins=DAY)), "not valid before"),
    "RSA-1024": (lambda s: _put(s, WEAK_RSA), "not an ECDSA key"),
    "garbage": (put(ANCHOR.certificate, b"\x00\xff garbage", ISSUER.key), "not a PEM file"),
    "garbage for a key": (put(ANCHOR.certificate, ISSUER.certificate, b"garbage"), "not a PEM private key"),
    "truncated": (put(ANCHOR.certificate, WRONG.certificate[:200], WRONG.key), "not a PEM file"),
    "empty": (put(ANCHOR.certificate, b"", WRONG.key), "empty"),
    "no anchors": (put(b"\n", WRONG.certificate, WRONG.key), "empty"),
    "everybody may read the key": (put(ANCHOR.certificate, WRONG.certificate, WRONG.key, 0o644), "everybody may read"),
    "a link into nothing": (dangling, "No such file"),
    "too large": (put(ANCHOR.certificate, b"#" * 300_000, WRONG.key), "larger than"),
    "an anchor for an issuer": (put(ANCHOR.certificate, ANCHOR.certificate, ANCHOR.key), "was not signed by any"),
}


def _put(scene: Scene, pair: Pair) -> None:
    scene.brought.put(ANCHOR.certificate, pair.certificate, pair.key)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_in_one_line_and_nothing_else_happens(scene: Scene, what: str) -> None:
    bad, why = BAD[what]
    before, bundle = scene.serial, scene.trustee.bundle
    bad(scene)
    scene.look()
    (line,) = scene.refused
    assert why in line and "\n" not in line
    assert (scene.serial, scene.trustee.bundle) == (before, bundle)
    assert scene.trustee.refusals.count == 1

    scene.look()
    assert scene.trustee.refusals.count == 1, "it is said once"
    good = signed()
    _put(scene, good)
    scene.look()
    assert (scene.refused, scene.serial) == ([], serial_of(good))


@pytest.mark.parametrize("what", BAD)
def test_a_restart_beside_a_bad_file_goes_on_with_what_was_used_last(scene: Scene, what: str) -> None:
    second = signed()
    _put(scene, second)
    scene.look()
    BAD[what][0](scene)
    scene.trustee = scene.start()
    assert scene.serial == serial_of(second)
    assert len(scene.refused) == 1


@pytest.mark.parametrize("what", ["garbage", "not a CA", "another's key"])
def test_a_first_start_with_a_bad_file_does_not_begin(tmp_path: Path, what: str) -> None:
    scene = Scene(tmp_path)
    BAD[what][0](scene)
    scene.store, scene.folder = MemoryStore(), tmp_path / "fresh"
    scene.folder.mkdir()
    with pytest.raises(Unusable):
        scene.start()


def test_a_certificate_that_becomes_valid_is_taken_then(scene: Scene) -> None:
    early = signed(begins=timedelta(hours=1))
    _put(scene, early)
    scene.look()
    assert "not valid before" in scene.refused[0]
    scene.now += 3700
    scene.look()
    assert (scene.refused, scene.serial) == ([], serial_of(early))


def test_files_swapped_a_hundred_times_are_all_taken(scene: Scene) -> None:
    for _ in range(100):
        pair = signed()
        _put(scene, pair)
        scene.trustee.look()
        assert scene.serial == serial_of(pair)
    assert scene.trustee.refusals.count == 0
    assert scene.trustee.bundle.generation == 1, "sidecars hear nothing of it"


def test_brought_anchors_move_no_faster_than_sidecars(scene: Scene) -> None:
    old, new = (
        x509.load_pem_x509_certificate(one.certificate).public_bytes(serialization.Encoding.DER)
        for one in (ANCHOR, OTHER)
    )
    first = scene.serial
    scene.live = [Live("default/web-0", 1, name_of(old), scene.now)]
    scene.brought.put(OTHER.certificate, STRANGER.certificate, STRANGER.key)
    scene.look()
    assert scene.trustee.trusted.phase is Phase.PREPARE
    assert scene.trustee.bundle.anchors["cluster.local"] == (old, new)
    assert scene.serial == first, "the new issuer waits until everybody trusts it"

    again = scene.start()
    assert again.trusted == scene.trustee.trusted, "an interruption changes nothing"
    scene.live = [Live("default/web-0", 2, name_of(old), scene.now)]
    scene.trustee.step()
    assert scene.serial == serial_of(STRANGER)
    scene.trustee.step()
    assert scene.trustee.trusted.phase is Phase.ACTIVATE
    scene.live = [Live("default/web-0", 3, name_of(new), scene.now)]
    scene.trustee.step()
    assert scene.trustee.bundle.anchors["cluster.local"] == (new,)
    assert scene.start().trusted == scene.trustee.trusted
    assert (scene.folder / "anchors.pem").read_bytes() == b"# generation: 4\n" + OTHER.certificate

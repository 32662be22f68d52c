"""Trust as it lives: killed at any write and started again, replaced by age, taken over from an older store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gossamer.identity.rotation import Live, Phase, name_of
from gossamer.model.mesh import Mesh
from gossamer.ports import Unavailable, Write
from gossamer.standalone import first_keys, keys, new_keys, trustee
from gossamer.standalone.issuance import IssuanceLog
from gossamer.standalone.keys import KeyFiles
from gossamer.standalone.lifecycle import Lifecycle
from gossamer.standalone.signer import Signer
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.trustee import Terms, Trustee
from gossamer.testing.store import MemoryStore

TERMS = Terms(leaf=60.0, skew=6.0, issuer=86_400.0, anchor=864_000.0)
DAYS = timedelta(days=100)


# How far the test's clock is ahead.
PASSED = [timedelta(0)]


class Killed(BaseException):
    """kill -9, at this write."""


class Doomed:
    """Lets so many writes happen, to files or to the store, and none after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1_000_000
        for module in (keys, trustee):
            for name in ("write_private", "write_anchors"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, self.guarded(getattr(module, name)))
        for name in ("rename", "replace"):
            monkeypatch.setattr(Path, name, self.guarded(getattr(Path, name)))
        monkeypatch.setattr(MemoryStore, "commit", self.guarded(MemoryStore.commit))

    def guarded(self, write: Any) -> Any:
        def one(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return write(*arguments, **named)

        return one


class Machine:
    """One sidecar, and a control plane that may be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        first_keys.make(folder / "ca", "gossamer", "cluster.local", datetime.now(UTC), 10 * DAYS, DAYS)
        self.trustee = self.start()
        self.old = self.trustee.trusted.active
        self.knows, self.leaf = 1, self.old
        self.trusts = set(map(name_of, self.trustee.trusted.anchors))

    def start(self) -> Trustee:
        made = Trustee(
            self.store, KeyFiles(self.folder / "ca"), None, Mesh(), self.folder / "anchors.pem", TERMS, time.time
        )
        made.live = lambda: [Live("default/web-0", self.knows, self.leaf, time.time())]
        self.trustee = made
        return made

    def turn(self) -> None:
        """The sidecar takes what it is told, the control plane what it hears."""
        self.trustee.look()
        self.trustee.step()
        told = self.trustee.bundle
        self.knows, self.trusts = told.generation, set(map(name_of, told.anchors["cluster.local"]))
        issuer = self.trustee.authority.current(datetime.now(UTC))
        assert issuer.anchor is not None
        from cryptography.hazmat.primitives import hashes

        self.leaf = issuer.anchor.fingerprint(hashes.SHA256())
        assert self.leaf in self.trusts, "what is signed is trusted"

    def settle(self) -> None:
        for _ in range(10):
            self.turn()
            if not self.trustee.trusted.moving:
                return
        raise AssertionError(f"it does not end: {self.trustee.trusted}")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made in this process: what is tested is not who makes them."""

    async def new_anchor(self: KeyFiles, namespace: str, domain: str, seconds: float, issuer: float) -> None:
        moment = datetime.now(UTC) + PASSED[0]
        new_keys.anchor(self._folder, namespace, domain, timedelta(seconds=seconds), timedelta(seconds=issuer), moment)

    async def new_issuer(self: KeyFiles, name: str, seconds: float) -> bytes:
        return new_keys.issuer(self._folder, name, timedelta(seconds=seconds), datetime.now(UTC) + PASSED[0])

    PASSED[:] = [timedelta(0)]
    monkeypatch.setattr(KeyFiles, "new_anchor", new_anchor)
    monkeypatch.setattr(KeyFiles, "new_issuer", new_issuer)


def moments() -> Iterator[int]:
    return iter(range(60))


@pytest.mark.parametrize("what", ["anchor", "issuer"])
def test_a_rotation_killed_at_any_write_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    doomed = Doomed(monkeypatch)
    whole = 0
    for writes in moments():
        (tmp_path / str(writes)).mkdir()
        doomed.left = 1_000_000
        machine = Machine(tmp_path / str(writes))
        doomed.left = writes
        try:
            if what == "anchor":
                asyncio.run(machine.trustee.rotate_anchor(by_hand=False))
                machine.settle()
            else:
                asyncio.run(machine.trustee.rotate_issuer())
            whole += 1
        except Killed:
            pass
        doomed.left = 1_000_000
        machine.start()
        machine.settle()
        assert machine.start().refusals.now == {}, f"after {writes} writes"
        begun = machine.trustee.trusted.active != machine.old
        assert len(machine.trustee.trusted.anchors) == 1
        assert not (machine.folder / "ca/next").exists(), f"after {writes} writes"
        # Whatever was interrupted, both can be done once more.
        asyncio.run(machine.trustee.rotate_issuer())
        asyncio.run(machine.trustee.rotate_anchor(by_hand=False))
        machine.settle()
        assert machine.trustee.trusted.active not in (machine.old,) or begun
        if whole > 1:
            break
    assert whole > 1, "some were not interrupted at all"


def test_a_mesh_from_before_keeps_counting_its_generations(tmp_path: Path) -> None:
    first_keys.make(tmp_path / "ca", "gossamer", "cluster.local", datetime.now(UTC))
    store = MemoryStore()
    store.commit([Write("mesh/bundle", b"abcd 7")])
    made = Trustee(store, KeyFiles(tmp_path / "ca"), None, Mesh(), tmp_path / "anchors.pem", TERMS, time.time)
    assert made.bundle.generation == 7


def test_keys_that_are_others_than_the_stores_are_used_at_once(tmp_path: Path) -> None:
    """Restored from elsewhere, or made anew after a loss: sidecars must at least get certificates again."""
    machine = Machine(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    first_keys.make(other / "ca", "gossamer", "cluster.local", datetime.now(UTC))
    machine.folder = other
    found = machine.start()
    assert found.trusted.phase is Phase.STEADY
    assert found.authority.issuers[0] is found.issuers[0]
    assert found.bundle.generation == 2
    assert machine.old in map(name_of, found.trusted.anchors), "certificates of before are still believed"


def test_a_control_plane_from_a_backup_goes_on_from_what_sidecars_know(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.knows = 41
    machine.trustee.step()
    assert machine.trustee.bundle.generation == 42
    assert (tmp_path / "anchors.pem").read_bytes().startswith(b"# generation: 42\n")
    machine.knows = 60
    machine.trustee.step()
    assert machine.trustee.bundle.generation == 42, "not at every word of theirs"
    other = machine.start()
    machine.knows = 2**63
    other.step()
    assert other.bundle.generation == 42, "nor at any"


def test_what_another_version_wrote_is_not_guessed_at(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.store.commit([Write("trust/state", b'{"generation": 9, "new": "words"}')])
    with pytest.raises(Unavailable, match="newer version"):
        machine.start()


class Aging:
    """An anchor and an issuer that live for minutes."""

    def __init__(self, folder: Path, automatic: bool) -> None:
        self.now = time.time()
        first_keys.make(
            folder / "ca",
            "gossamer",
            "cluster.local",
            datetime.now(UTC),
            timedelta(seconds=900),
            timedelta(seconds=300),
        )
        terms = Terms(leaf=30.0, skew=3.0, issuer=300.0, anchor=900.0, automatic=automatic, margin=400.0)
        store = MemoryStore()
        keys_ = KeyFiles(folder / "ca")
        self.trustee = Trustee(store, keys_, None, Mesh(), folder / "anchors.pem", terms, lambda: self.now)
        log = IssuanceLog(folder / "log", self.now)
        signer = Signer(self.trustee, Tokens(store, os.urandom), log, lambda: self.now, os.urandom)
        self.lifecycle = Lifecycle(self.trustee, signer, log, Mesh(), tuple, lambda *_: None, lambda: self.now)
        self.first = self.serials()

    def serials(self) -> SimpleNamespace:
        shown = self.lifecycle.show()
        return SimpleNamespace(anchors=[one.serial for one in shown.anchors], issuer=shown.issuers[0].serial)

    def after(self, seconds: float) -> SimpleNamespace:
        self.now += seconds
        PASSED[0] += timedelta(seconds=seconds)
        asyncio.run(self.lifecycle.by_age())
        for _ in range(5):
            self.trustee.step()
        return self.serials()


def test_an_issuer_and_then_an_anchor_are_replaced_by_age(tmp_path: Path) -> None:
    aging = Aging(tmp_path, automatic=True)
    assert aging.after(10) == aging.first
    # Two thirds of a life that began five minutes ago.
    later = aging.after(110)
    assert (later.anchors, later.issuer != aging.first.issuer) == (aging.first.anchors, True)
    assert aging.after(10) == later, "once"
    last = aging.after(500)
    assert len(last.anchors) == 1 and last.anchors != aging.first.anchors


def test_a_switch_turns_that_off(tmp_path: Path) -> None:
    aging = Aging(tmp_path, automatic=False)
    assert aging.after(200) == aging.first
    assert not aging.lifecycle.show().automatic


@pytest.mark.parametrize("hours", [1, -1, 26, -26])
def test_a_clock_that_is_set_breaks_nothing(tmp_path: Path, hours: int) -> None:
    aging = Aging(tmp_path, automatic=True)
    before = aging.trustee.bundle
    aging.now += hours * 3600
    asyncio.run(aging.lifecycle.by_age())
    aging.trustee.look()
    aging.trustee.step()
    assert "error" in [one.level for one in aging.lifecycle.show().warnings], "nothing is valid now, and it is said"
    aging.now -= hours * 3600
    aging.trustee.look()
    assert aging.trustee.bundle == before
    assert aging.trustee.authority.current(datetime.fromtimestamp(aging.now, UTC))

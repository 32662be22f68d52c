"""What replicas share, as values: sealed keys, places of stores, archives, what sidecars said, registrations."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.model.edge import IdentityState
from gossamer.model.mesh import SERVICE_NETWORK, WORKLOAD_NETWORK, Mesh
from gossamer.model.names import local
from gossamer.ports import Unavailable, Write
from gossamer.settings import ControllerSettings, Paths
from gossamer.standalone import archive, opening, sealed
from gossamer.standalone.addresses import Addresses
from gossamer.standalone.etcd.place import parse, place
from gossamer.standalone.leftovers import GONE, ORPHAN, Leftovers
from gossamer.standalone.registration import Asked, Refused
from gossamer.standalone.registry import AWAY, LEASE, ORPHANED, PREFIX, Registry
from gossamer.standalone.replicas import Replicas
from gossamer.standalone.told import PREFIX as TOLD
from gossamer.standalone.told import SharedTold, Told
from gossamer.standalone.virtual import Virtual
from gossamer.testing.store import MemoryStore

FILES = {name: name.encode() for name in sealed.CURRENT}


# --- keys


def test_what_is_sealed_is_unsealed_by_the_same_secret_only(tmp_path: Path) -> None:
    value = sealed.seal(FILES, b"s" * 44, os.urandom(12))
    assert sealed.unseal(value, b"s" * 44, tmp_path) == FILES
    with pytest.raises(Unavailable, match="not the secret"):
        sealed.unseal(value, b"t" * 44, tmp_path)
    with pytest.raises(Unavailable, match="cannot be read"):
        sealed.unseal(b"{}", b"s" * 44, tmp_path)
    assert b"issuer" not in value


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(mode=0o700)
    for name, data in files.items():
        (path / name).write_bytes(data)
        (path / name).chmod(0o600)
    return path


def test_keys_that_one_replica_changes_the_others_have(tmp_path: Path) -> None:
    store, secret = MemoryStore(), tmp_path / "secret"
    first = sealed.SharedKeys(store, folder(tmp_path / "a", FILES), secret)
    assert first.share()
    second = sealed.SharedKeys(store, tmp_path / "b", secret)
    assert {name: (tmp_path / "b" / name).read_bytes() for name in FILES} == FILES
    (tmp_path / "b" / "issuer.pem").write_bytes(b"another")
    assert second.share() and not second.share()
    assert first.take() and not first.take() and not first.share()
    assert (tmp_path / "a" / "issuer.pem").read_bytes() == b"another"
    assert secret.stat().st_mode & 0o777 == 0o600


def test_of_two_that_begin_at_once_the_first_ones_keys_are_everybodys(tmp_path: Path) -> None:
    store, secret = MemoryStore(), tmp_path / "secret"
    first = sealed.SharedKeys(store, folder(tmp_path / "a", FILES), secret)
    second = sealed.SharedKeys(store, folder(tmp_path / "b", {**FILES, "issuer.key": b"other"}), secret)
    assert first.share()
    assert not second.share()
    assert (tmp_path / "b" / "issuer.key").read_bytes() == FILES["issuer.key"]


# --- places


@pytest.mark.parametrize(
    ("text", "members", "prefix", "tls"),
    [
        ("etcd://a", (("a", 2379),), "gossamer/m", False),
        ("etcd://a:1,b:2/x/y", (("a", 1), ("b", 2)), "x/y", False),
        ("etcds://10.0.0.1:2379/", (("10.0.0.1", 2379),), "gossamer/m", True),
        ("etcd://[::1]:2379", (("::1", 2379),), "gossamer/m", False),
    ],
)
def test_a_place_is_read(text: str, members: tuple[tuple[str, int], ...], prefix: str, tls: bool) -> None:
    found = parse(text, "m")
    assert (found.members, found.prefix, found.tls) == (members, prefix, tls)


@pytest.mark.parametrize(
    "text", ["", "etcd://", "etcd://a:b", "etcd://a:0", "http://a", "etcd://u:p@a", "etcd://a/x y"]
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, "m")


def test_a_password_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.write_text("u:p")
    login.chmod(0o600)
    with pytest.raises(Unavailable, match="in the clear"):
        place(parse("etcd://10.0.0.1", "m"), None, None, None, login)
    assert place(parse("etcd://127.0.0.1", "m"), None, None, None, login).password == "p"


def test_a_mesh_does_not_begin_anew_beside_itself(tmp_path: Path) -> None:
    files = Paths("m", tmp_path, tmp_path)
    asked = ControllerSettings(store="etcd://a")
    choice = opening.chosen(asked, files)
    opening.remember(choice, files)
    assert opening.chosen(ControllerSettings(), files) == choice == opening.Choice("etcd://a")
    with pytest.raises(Unavailable, match="gossamer restore"):
        opening.chosen(ControllerSettings(store="sqlite"), files)
    opening.remember(opening.Choice(), files)
    files.store.touch()
    with pytest.raises(Unavailable, match="gossamer restore"):
        opening.chosen(asked, files)


# --- archives


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=40)), st.booleans())
def test_what_is_packed_is_unpacked(entries: dict[str, bytes], encrypted: bool) -> None:
    contents = archive.Contents(archive.About("m", "d", 7), entries, {"k": b"v"})
    secret = b"passphrase" if encrypted else None
    data = archive.pack(contents, secret, os.urandom)
    assert archive.needs_passphrase(data) is encrypted
    assert archive.unpack(data, secret) == contents


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_byte_of_an_archive_can_be_changed(data: st.DataObject) -> None:
    whole = bytearray(archive.pack(archive.Contents(archive.About("m", "d", 7), {"a": b"1"}, {}), None, os.urandom))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(archive.Unreadable):
        archive.unpack(bytes(whole), None)


# --- what sidecars said


@dataclass
class Here:
    said: dict[str, Told]

    def __call__(self, namespace: str, name: str) -> Told | None:
        return self.said.get(f"{namespace}/{name}")


def shared(store: MemoryStore, replica: str, said: dict[str, Told]) -> SharedTold:
    return SharedTold(store, replica, Here(said), Mesh().front, lambda: ("a", "b"))


def test_what_a_sidecar_said_to_another_replica_is_known() -> None:
    store = MemoryStore()
    state = IdentityState("web", 3, anchor_sha256=b"\1\2")
    shared(store, "a", {"default/web": Told(state, 5.0)}).share([local("default", "web")])
    b = shared(store, "b", {"default/web": Told(replace(state, bundle_generation=2), 4.0)})
    assert b.heard("default", "web") == Told(state, 5.0)
    assert b.heard("default", "api") is None


def test_only_news_is_stored() -> None:
    store, said = MemoryStore(), {"default/web": Told(IdentityState("web", 1), 1.0)}
    a = shared(store, "a", said)
    a.share([local("default", "web")])
    before = store.scan(TOLD)
    said["default/web"] = Told(IdentityState("web", 1), 9.0)
    a.share([local("default", "web")])
    assert store.scan(TOLD) == before
    a.share([])
    assert store.scan(TOLD) == []


def test_of_the_fronts_the_one_that_is_behind_counts() -> None:
    store, front = MemoryStore(), str(Mesh().front)
    shared(store, "a", {front: Told(IdentityState("f", 1), 9.0)}).share([])
    name = (Mesh().front.namespace, Mesh().front.name)
    b = shared(store, "b", {front: Told(IdentityState("f", 2), 10.0)})
    found = b.heard(*name)
    assert found is not None and found.identity.bundle_generation == 1
    assert shared(store, "b", {}).heard(*name) is None, "one of them has said nothing"


# --- fronts


def test_a_sidecar_is_told_the_fronts_that_it_can_reach() -> None:
    store = MemoryStore()
    for name, said in {
        "1": {"front": "127.64.0.1:8443", "node": ""},
        "2": {"front": "127.64.0.2:8443", "node": ""},
        "3": {"front": "127.64.0.3:8443", "node": "elsewhere"},
        "4": {"front": "127.64.0.4:8443", "node": "elsewhere", "advertised": "10.0.0.4:8443"},
    }.items():
        store.commit([Write(f"replicas/{name}", json.dumps(said).encode())])
    opened = opening.Opened(store, Leads(store), opening.Choice("etcd://a"), "2")
    assert Replicas(opened, None).fronts("127.64.0.2:8443") == "127.64.0.2:8443,tls:127.64.0.1:8443,tls:10.0.0.4:8443"
    for number in range(20):
        store.commit([Write(f"replicas/{number}", json.dumps({"front": f"127.64.1.{number}:1", "node": ""}).encode())])
    assert Replicas(opened, None).fronts("127.64.0.2:8443").count("tls:") == 15


# --- leftovers


def test_what_nobody_looks_after_is_swept_by_the_leader_and_not_too_soon() -> None:
    store = MemoryStore()
    addresses = Addresses(store, WORKLOAD_NETWORK, os.urandom)
    kept, lost = addresses.allocate("workload/default/kept"), addresses.allocate("workload/default/lost")
    vip = addresses.allocate("service/default/web")
    store.commit([Write("replicas/a", b"{}"), Write("replicas/b", b"{}"), Write("told/b/3", b"{}")])
    swept = Leftovers(store, Leads(store), lambda: {"workload/default/kept"}, lambda: ("a",))
    assert swept.sweep(0.0) == swept.sweep(ORPHAN - 1) == []
    assert swept.sweep(ORPHAN) == ["owners/workload/default/lost"]
    assert swept.sweep(GONE - 1) == []
    assert swept.sweep(GONE) == ["replicas/b"]
    assert {entry.key for entry in store.scan("")} == {
        *(f"addresses/{one}" for one in (kept, vip)),
        "owners/workload/default/kept",
        "owners/service/default/web",
        "replicas/a",
    }
    assert lost != kept


def test_who_does_not_lead_sweeps_nothing() -> None:
    store = MemoryStore()
    Addresses(store, WORKLOAD_NETWORK, os.urandom).allocate("workload/default/lost")
    follower = Leads(store)
    follower.leading = False
    swept = Leftovers(store, follower, set, tuple)
    assert swept.sweep(0.0) == swept.sweep(1e9) == []
    follower.leading = True
    assert swept.sweep(2e9) == [], "its own patience begins when it leads"


# --- registrations


class Leads:
    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.leading = True

    def held(self) -> bool:
        return self.leading


def registry(store: MemoryStore, replica: str, clock: list[float], alive: list[str], **more: Any) -> Registry:
    addresses = Addresses(store, WORKLOAD_NETWORK, os.urandom)
    virtual = Virtual(Addresses(store, SERVICE_NETWORK, os.urandom))
    return Registry(
        store,
        addresses,
        virtual,
        Mesh(),
        "node",
        lambda: clock[0],
        os.urandom,
        replica=replica,
        alive=lambda: alive,
        **more,
    )


def tell(store: MemoryStore, other: Registry) -> None:
    for entry in store.scan(PREFIX):
        other.heard(entry.key, entry.value, entry.version)


ASKED = Asked("default", "web", "web")


def test_a_registration_is_resumed_at_another_replica() -> None:
    store, clock = MemoryStore(), [100.0]
    a, b = (registry(store, name, clock, ["a", "b"]) for name in "ab")
    held, session = a.register(ASKED, 1)
    tell(store, b)
    assert b.resume(session, 2).registration.replica == "b"
    tell(store, a)
    with pytest.raises(Refused, match="another connection"):
        a.listening(held, (80,))
    a.lost(held)
    clock[0] += LEASE + 1
    a.expire()
    assert [one.pid for one in b.registrations()] == [2]


def test_what_a_dead_replica_left_stays_for_long_and_ends_once() -> None:
    store, clock, alive = MemoryStore(), [100.0], ["a", "b"]
    a = registry(store, "a", clock, alive)
    leader = registry(store, "b", clock, alive, leadership=Leads(store))
    held, _ = a.register(ASKED, 1)
    a.listening(held, (80,))
    tell(store, leader)
    alive.remove("a")
    for seconds in (0, AWAY + 1, LEASE + 1, ORPHANED - LEASE - 10):
        clock[0] += seconds
        leader.expire()
        assert [one.ready for one in leader.registrations()] == [True]
    clock[0] += 20
    leader.expire()
    assert leader.registrations() == ()
    assert store.scan(PREFIX) == []


def test_a_replica_that_was_taken_for_dead_keeps_what_it_holds() -> None:
    store, clock, alive = MemoryStore(), [100.0], ["b"]
    a = registry(store, "a", clock, alive)
    leader = registry(store, "b", clock, alive, leadership=Leads(store))
    held, _ = a.register(ASKED, 1)
    tell(store, leader)
    leader.expire()
    clock[0] += AWAY + 1
    leader.expire()
    alive.append("a")
    tell(store, a)
    a.listening(held, (80,))
    tell(store, leader)
    clock[0] += ORPHANED + 1
    leader.expire()
    assert [one.ready for one in leader.registrations()] == [True]

"""The `Store` port: one suite, run against memory, SQLite and a real etcd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gossamer.ports import Conflict, Entry, Store, Unavailable, Write
from gossamer.standalone.etcd.store import EtcdStore
from gossamer.standalone.store import SqliteStore
from gossamer.testing.store import MemoryStore
from tests.contract.conftest import etcd_store
from tests.etcd import Cluster


def plain(entries: Sequence[Entry]) -> list[tuple[str, bytes]]:
    """Without versions, which begin and skip as each store likes."""
    return [(entry.key, entry.value) for entry in entries]


def version(store: Store, key: str) -> int:
    entry = store.read(key)
    assert entry is not None
    return entry.version


def test_what_is_written_is_read(store: Store) -> None:
    store.commit([Write("a", b"\0binary")])
    found = store.read("a")
    assert found is not None
    assert found == Entry("a", b"\0binary", found.version)
    assert found.version >= 1
    assert store.read("b") is None


def test_versions_grow_with_every_commit_of_anything(store: Store) -> None:
    seen = [0]
    for n in range(3):
        for key in "ab":
            store.commit([Write(key, b"%d" % n)])
            seen.append(version(store, key))
    assert seen == sorted(set(seen))
    assert [entry.version for entry in store.scan("")] == seen[-2:]


def test_all_writes_of_a_commit_have_one_version(store: Store) -> None:
    store.commit([Write("a", b"1"), Write("b", b"2")])
    assert version(store, "a") == version(store, "b")


def test_a_write_that_expects_another_version_is_a_conflict(store: Store) -> None:
    store.commit([Write("a", b"1", expected=0)])
    first = version(store, "a")
    for expected in (0, first + 1, first + 99):
        with pytest.raises(Conflict) as conflict:
            store.commit([Write("a", b"2", expected=expected)])
        assert conflict.value.key == "a"
    store.commit([Write("a", b"2", expected=first)])
    assert plain(store.scan("")) == [("a", b"2")]
    assert version(store, "a") > first


def test_a_key_written_again_after_its_deletion_has_a_new_version(store: Store) -> None:
    store.commit([Write("a", b"1")])
    first = version(store, "a")
    store.commit([Write("a", None, expected=first)])
    store.commit([Write("a", b"1", expected=0)])
    with pytest.raises(Conflict):
        store.commit([Write("a", b"2", expected=first)])


def test_a_conflict_undoes_the_whole_commit(store: Store) -> None:
    store.commit([Write("a", b"1")])
    before = store.scan("")
    with pytest.raises(Conflict):
        store.commit([Write("new", b"x"), Write("a", None), Write("b", b"y", expected=7)])
    assert store.scan("") == before


def test_deleting_what_is_not_there_is_nothing_or_a_conflict(store: Store) -> None:
    store.commit([Write("a", None)])
    store.commit([Write("a", None, expected=0)])
    with pytest.raises(Conflict):
        store.commit([Write("a", None, expected=1)])


def test_a_key_written_twice_in_one_commit_has_its_last_value(store: Store) -> None:
    store.commit([Write("a", b"1", expected=0), Write("a", b"2"), Write("b", b"1"), Write("b", None)])
    store.commit([Write("c", None), Write("c", b"3", expected=0)])
    assert plain(store.scan("")) == [("a", b"2"), ("c", b"3")]
    with pytest.raises(Conflict):
        store.commit([Write("a", b"4"), Write("a", b"5", expected=0)])
    assert plain(store.scan("a")) == [("a", b"2")]


def test_an_empty_commit_is_nothing(store: Store) -> None:
    store.commit([])
    assert store.scan("") == []


def test_a_value_that_is_too_large_is_refused_in_one_line(store: Store) -> None:
    if isinstance(store, MemoryStore):
        return
    with pytest.raises(Unavailable, match=r"\d+ (bytes )?at once|larger than") as refused:
        store.commit([Write("a", bytes(8 * 1024 * 1024))])
    assert "\n" not in str(refused.value)
    assert store.read("a") is None


def test_a_scan_is_by_prefix_and_in_order(store: Store) -> None:
    for key in ("a/2", "a/1", "a", "b/1", "a/é", "a/%", "A/1"):
        store.commit([Write(key, b"")])
    assert [entry.key for entry in store.scan("a/")] == ["a/%", "a/1", "a/2", "a/é"]
    assert store.scan("none") == []


KEYS = st.sampled_from(["a", "a/b", "b", "c/d"])


class Stores(RuleBasedStateMachine):
    """Whatever is done, a real store and memory say the same."""

    real: Store

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryStore()
        self.open()

    def open(self) -> None:
        raise NotImplementedError

    def swap(self, store: Store, key: str, value: bytes | None, expects: str) -> Write:
        """`expects`: nothing, what is there, absence, or what nobody ever saw."""
        held = store.read(key)
        there = held.version if held is not None else 0
        return Write(key, value, {"": None, "there": there, "absent": 0, "wrong": there + 1000}[expects])

    @rule(
        writes=st.lists(
            st.tuples(
                KEYS, st.one_of(st.none(), st.binary(max_size=4)), st.sampled_from(["", "there", "absent", "wrong"])
            ),
            max_size=4,
        )
    )
    def commit(self, writes: list[tuple[str, bytes | None, str]]) -> None:
        said = []
        for store in (self.memory, self.real):
            try:
                store.commit([self.swap(store, *write) for write in writes])
                said.append("done")
            except Conflict:
                # Of several that are wrong, each store names one.
                said.append("conflict")
        assert said[0] == said[1]

    @invariant()
    def same(self) -> None:
        assert plain(self.memory.scan("")) == plain(self.real.scan(""))


class SqliteStores(Stores):
    folder: Path
    count = 0

    def open(self) -> None:
        SqliteStores.count += 1
        self.path = self.folder / f"{SqliteStores.count}.sqlite"
        self.real = self.sqlite = SqliteStore(self.path)

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.real = self.sqlite = SqliteStore(self.path)

    def teardown(self) -> None:
        self.sqlite.close()


class EtcdStores(Stores):
    """Every example empties what the one before has left, so that one process of threads is enough."""

    shared: EtcdStore

    def open(self) -> None:
        self.real = self.shared
        for entry in self.shared.scan(""):
            self.shared.commit([Write(entry.key, None)])


def test_sqlite_and_memory_cannot_be_told_apart(tmp_path: Path) -> None:
    SqliteStores.folder = tmp_path
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        SqliteStores, settings=settings(max_examples=30, stateful_step_count=20, deadline=None)
    )


def test_etcd_and_memory_cannot_be_told_apart(cluster: Cluster) -> None:
    EtcdStores.shared = etcd_store(cluster)
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            EtcdStores, settings=settings(max_examples=20, stateful_step_count=20, deadline=None)
        )
    finally:
        EtcdStores.shared.close()


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_of_two_who_swap_the_same_version_exactly_one_succeeds(data: st.DataObject) -> None:
    store = MemoryStore()
    store.commit([Write("counter", b"0")])
    writers = data.draw(st.integers(2, 6))
    seen = [store.read("counter") for _ in range(writers)]
    won = 0
    for entry in data.draw(st.permutations(seen)):
        assert entry is not None
        try:
            store.commit([Write("counter", b"1", expected=entry.version)])
            won += 1
        except Conflict:
            continue
    assert won == 1

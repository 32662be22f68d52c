"""The `Store` port: one suite, run against memory and SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gossamer.ports import Conflict, Entry, Store, Write
from gossamer.standalone.store import SqliteStore
from gossamer.testing.store import MemoryStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        sqlite = SqliteStore(tmp_path / "store.sqlite")
        yield sqlite
        sqlite.close()


def test_what_is_written_is_read(store: Store) -> None:
    store.commit([Write("a", b"\0binary")])
    assert store.read("a") == Entry("a", b"\0binary", 1)
    assert store.read("b") is None


def test_versions_grow_with_every_commit_of_anything(store: Store) -> None:
    for n in range(3):
        store.commit([Write("a", b"%d" % n)])
        store.commit([Write("b", b"%d" % n)])
    assert [entry.version for entry in store.scan("")] == [5, 6]


def test_a_write_that_expects_another_version_is_a_conflict(store: Store) -> None:
    store.commit([Write("a", b"1", expected=0)])
    for expected in (0, 2, 99):
        with pytest.raises(Conflict) as conflict:
            store.commit([Write("a", b"2", expected=expected)])
        assert conflict.value.key == "a"
    store.commit([Write("a", b"2", expected=1)])
    assert store.read("a") == Entry("a", b"2", 2)


def test_a_key_written_again_after_its_deletion_has_a_new_version(store: Store) -> None:
    store.commit([Write("a", b"1")])
    store.commit([Write("a", None, expected=1)])
    store.commit([Write("a", b"1", expected=0)])
    with pytest.raises(Conflict):
        store.commit([Write("a", b"2", expected=1)])


def test_a_conflict_undoes_the_whole_commit(store: Store) -> None:
    store.commit([Write("a", b"1")])
    with pytest.raises(Conflict):
        store.commit([Write("new", b"x"), Write("a", None), Write("b", b"y", expected=7)])
    assert store.scan("") == [Entry("a", b"1", 1)]


def test_deleting_what_is_not_there_is_nothing_or_a_conflict(store: Store) -> None:
    store.commit([Write("a", None)])
    store.commit([Write("a", None, expected=0)])
    with pytest.raises(Conflict):
        store.commit([Write("a", None, expected=1)])


def test_a_scan_is_by_prefix_and_in_order(store: Store) -> None:
    for key in ("a/2", "a/1", "a", "b/1", "a/é", "a/%", "A/1"):
        store.commit([Write(key, b"")])
    assert [entry.key for entry in store.scan("a/")] == ["a/%", "a/1", "a/2", "a/é"]
    assert store.scan("none") == []


KEYS = st.sampled_from(["a", "a/b", "b", "c/d"])


class Stores(RuleBasedStateMachine):
    """Whatever is done, SQLite and memory say the same."""

    folder: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        Stores.count += 1
        self.path = self.folder / f"{Stores.count}.sqlite"
        self.memory = MemoryStore()
        self.sqlite = SqliteStore(self.path)

    @rule(
        writes=st.lists(
            st.builds(
                Write, KEYS, st.one_of(st.none(), st.binary(max_size=4)), st.one_of(st.none(), st.integers(0, 5))
            ),
            max_size=4,
        )
    )
    def commit(self, writes: list[Write]) -> None:
        said = []
        for store in (self.memory, self.sqlite):
            try:
                store.commit(writes)
                said.append("")
            except Conflict as conflict:
                said.append(conflict.key)
        assert said[0] == said[1]

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = SqliteStore(self.path)

    @invariant()
    def same(self) -> None:
        assert self.memory.scan("") == self.sqlite.scan("")

    def teardown(self) -> None:
        self.sqlite.close()


def test_sqlite_and_memory_cannot_be_told_apart(tmp_path: Path) -> None:
    Stores.folder = tmp_path
    run_state_machine_as_test(Stores, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))  # type: ignore[no-untyped-call]


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

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.ports import Conflict, Unavailable, Write
from gossamer.standalone.addresses import Addresses, Taken, bindable
from gossamer.testing.store import MemoryStore

SMALL = IPv4Network("127.64.0.0/28")


@given(st.integers(1, 15))
def test_every_owner_has_an_address_of_its_own_and_keeps_it(count: int) -> None:
    addresses = Addresses(MemoryStore(), SMALL, os.urandom)
    given_out = {f"o{n}": addresses.allocate(f"o{n}") for n in range(count)}
    assert len(set(given_out.values())) == count
    assert all(address in SMALL and address.packed[-1] not in (0, 255) for address in given_out.values())
    assert {owner: addresses.allocate(owner) for owner in given_out} == given_out


def test_a_full_network_is_unavailable_until_somebody_leaves() -> None:
    addresses = Addresses(MemoryStore(), SMALL, os.urandom)
    for n in range(15):
        addresses.allocate(f"o{n}")
    with pytest.raises(Unavailable, match=r"127\.64\.0\.0/28"):
        addresses.allocate("one too many")
    left = addresses.of("o3")
    addresses.release("o3")
    assert addresses.allocate("another") == left


def test_an_address_that_cannot_be_bound_is_not_given_out() -> None:
    addresses = Addresses(MemoryStore(), SMALL, os.urandom, usable=lambda one: one == IPv4Address("127.64.0.9"))
    assert addresses.allocate("o") == IPv4Address("127.64.0.9")


def test_an_address_is_bindable_unless_somebody_listens_on_it() -> None:
    with socket.create_server(("127.64.77.77", 0)) as listener:
        port = listener.getsockname()[1]
        assert not bindable(port)(IPv4Address("127.64.77.77"))
        assert bindable(port)(IPv4Address("127.64.77.78"))


def test_an_address_that_a_person_wrote_is_theirs_or_taken() -> None:
    addresses = Addresses(MemoryStore(), SMALL, os.urandom)
    held = addresses.allocate("first")
    with pytest.raises(Taken, match="belongs to first"):
        addresses.claim("second", held)
    addresses.claim("first", held)
    other = IPv4Address("127.64.0.77")
    addresses.claim("first", other)
    assert addresses.of("first") == other
    assert addresses.allocate("third") != other


def test_a_race_for_an_address_has_one_winner() -> None:
    class Raced(MemoryStore):
        """Somebody else takes every address a moment before the first write."""

        raced = 0

        def commit(self, writes: list[Write]) -> None:  # type: ignore[override]
            if self.raced < 3 and writes[0].expected == 0:
                self.raced += 1
                super().commit([Write(writes[0].key, b"somebody else", expected=0)])
            super().commit(writes)

    store = Raced()
    address = Addresses(store, SMALL, os.urandom).allocate("mine")
    entry = store.read(f"addresses/{address}")
    assert entry is not None
    assert entry.value == b"mine"
    assert sum(one.value == b"somebody else" for one in store.scan("addresses/")) == 3
    assert issubclass(Conflict, Exception)

"""Where other machines reach workloads, over every store: no place is ever two workloads'."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network

import pytest

from gossamer.ports import Store, Unavailable
from gossamer.standalone.addresses import Taken
from gossamer.standalone.advertised import OWNERS, PLACES, PORTS, Advertise, Advertised, said

ADDRESS = IPv4Address("10.9.0.1")


def test_each_workload_has_a_port_of_its_own_on_the_one_address(store: Store) -> None:
    places = Advertised(store, os.urandom, Advertise(ADDRESS, 8443))
    found = [places.allocate(f"workload/default/web-{number}") for number in range(200)]
    assert len(set(found)) == 200
    for one in found:
        host, _, port = one.partition(":")
        assert host == str(ADDRESS)
        assert int(port) in PORTS


def test_with_a_network_each_has_an_address_of_its_own(store: Store) -> None:
    network = IPv4Network("10.9.1.0/28")
    places = Advertised(store, os.urandom, Advertise(ADDRESS, 8443, network))
    found = {places.allocate(f"workload/default/web-{number}") for number in range(14)}
    assert found == {f"{host}:4143" for host in network.hosts()}
    with pytest.raises(Unavailable, match="no free place"):
        places.allocate("workload/default/one-more")


def test_what_another_machine_has_tried_is_its_own_until_it_is_given_back(store: Store) -> None:
    places = Advertised(store, os.urandom)
    places.claim("workload/default/a", "10.9.0.2:24000")
    with pytest.raises(Taken):
        places.claim("workload/default/b", "10.9.0.2:24000")
    places.release("workload/default/a")
    places.claim("workload/default/b", "10.9.0.2:24000")
    places.release("workload/default/b")
    assert store.scan(PLACES) == store.scan(OWNERS) == []


def test_where_nothing_is_advertised_nothing_is_taken(store: Store) -> None:
    places = Advertised(store, os.urandom)
    assert places.allocate("workload/default/a") == ""
    places.release("workload/default/a")
    assert store.scan(PLACES) == []


def test_what_cannot_be_listened_on_is_not_taken(store: Store) -> None:
    drawn = iter((5, 6, 7))
    chance = lambda size: next(drawn).to_bytes(size, "big")  # noqa: E731
    free = PORTS.start + 7
    places = Advertised(store, chance, Advertise(ADDRESS, 8443), lambda address, port: port == free)
    assert places.allocate("workload/default/a") == f"{ADDRESS}:{free}"
    with pytest.raises(Unavailable, match="no free place"):
        Advertised(store, os.urandom, Advertise(ADDRESS, 8443), lambda address, port: False).allocate("b")


def test_what_was_said_once_holds_until_something_else_is_said(store: Store) -> None:
    assert said(store, "advertise", None, None) is None
    assert said(store, "advertise", "10.9.0.1", None) == Advertise(ADDRESS, 8443)
    assert said(store, "advertise", None, None) == Advertise(ADDRESS, 8443)
    wide = Advertise(ADDRESS, 9000, IPv4Network("10.9.1.0/24"))
    assert said(store, "advertise", "10.9.0.1:9000", "10.9.1.0/24") == wide
    assert said(store, "advertise", None, None) == wide
    assert said(store, "advertise", "none", None) is None
    assert said(store, "advertise", None, None) is None

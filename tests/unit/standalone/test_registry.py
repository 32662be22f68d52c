from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.model.mesh import OPAQUE_PORTS
from gossamer.model.names import local
from gossamer.model.ports import port_set
from gossamer.model.service import SERVICE, ServicePort
from gossamer.model.workload import WORKLOAD, Sidecar, Workload, WorkloadPort
from gossamer.ports import Unavailable, Write
from gossamer.standalone.registration import Refused, asked, decode, encode
from gossamer.standalone.registry import ALPHABET, LEASE
from gossamer.testing.store import MemoryStore
from tests.unit.standalone.parts import World, wanted

PORTS = [{"name": "http", "port": 80, "target": 8080}]


def test_a_program_becomes_a_workload_with_a_name_an_address_and_an_identity() -> None:
    world = World()
    held, _ = world.registry.register(wanted(ports=PORTS), pid=7)
    workload: Workload = world.mesh.of(WORKLOAD)[0]
    assert workload.key == held.key
    prefix, _, tail = workload.key.name.rpartition("-")
    assert prefix == "web"
    assert len(tail) == 5
    assert set(tail) <= set(ALPHABET)
    assert workload.address in ip_network("127.64.0.0/10")
    assert workload.identity == "web.default.serviceaccount.identity.gossamer.cluster.local"
    assert workload.labels == {"app": "web"}
    assert workload.service == "web"
    assert workload.sidecar is Sidecar.GOSSAMER
    assert workload.node == "node-1"
    assert not workload.ready


def test_it_is_an_endpoint_once_it_listens_and_until_it_is_withdrawn() -> None:
    world = World()
    held, _ = world.registry.register(wanted(ports=PORTS), pid=7)
    world.registry.listening(held, (9999,))
    assert not world.mesh.of(WORKLOAD)[0].ready
    world.registry.listening(held, (9999, 8080))
    assert world.mesh.of(WORKLOAD)[0].ready
    assert world.mesh.of(WORKLOAD)[0].ports == (WorkloadPort("http", 80, 8080),)
    world.registry.withdraw(held)
    assert not world.mesh.of(WORKLOAD)[0].ready


def test_without_ports_it_has_those_it_listens_on() -> None:
    world = World()
    held, _ = world.registry.register(wanted(opaque_ports=[7000]), pid=7)
    world.registry.listening(held, (7000, 80))
    assert world.mesh.of(WORKLOAD)[0].ports == (
        WorkloadPort("port-80", 80, 80),
        WorkloadPort("port-7000", 7000, 7000, opaque=True),
    )
    service = world.mesh.of(SERVICE)[0]
    assert service.opaque_ports == port_set([*OPAQUE_PORTS.ranges, (7000, 7000)])


def test_replicas_share_a_service_that_ends_with_the_last() -> None:
    world = World()
    first, _ = world.registry.register(wanted(ports=PORTS), pid=1)
    second, _ = world.registry.register(wanted(ports=[*PORTS, {"name": "admin", "port": 81, "target": 8081}]), pid=2)
    service = world.mesh.of(SERVICE)[0]
    assert service.key == local("default", "web")
    assert service.ports == (ServicePort("http", 80, 8080), ServicePort("admin", 81, 8081))
    assert service.cluster_ips[0] in ip_network("198.19.0.0/16")
    world.registry.end(first)
    assert world.mesh.of(SERVICE)[0].cluster_ips == service.cluster_ips
    world.registry.end(second)
    assert world.mesh.held == {}
    assert world.store.scan("registrations/") == []
    assert world.store.scan("owners/workload/") == []


def test_a_service_keeps_its_address_from_one_life_to_the_next() -> None:
    world = World()
    held, _ = world.registry.register(wanted(), pid=1)
    address = world.mesh.of(SERVICE)[0].cluster_ips
    world.registry.end(held)
    world.registry.register(wanted(), pid=1)
    assert world.mesh.of(SERVICE)[0].cluster_ips == address


def test_a_broken_connection_withdraws_at_once_and_ends_after_the_lease() -> None:
    world = World()
    held, session = world.registry.register(wanted(ports=PORTS), pid=1)
    world.registry.listening(held, (8080,))
    world.registry.lost(held)
    workload = world.mesh.of(WORKLOAD)[0]
    assert not workload.ready
    world.now += LEASE - 1
    world.registry.expire()
    again = world.registry.resume(session, pid=1)
    world.registry.listening(again, (8080,))
    assert world.mesh.of(WORKLOAD)[0].ready
    assert world.mesh.of(WORKLOAD)[0].addresses == workload.addresses
    world.now += 10 * LEASE
    world.registry.expire()
    assert world.mesh.of(WORKLOAD)
    world.registry.lost(again)
    world.now += LEASE
    world.registry.expire()
    assert world.mesh.held == {}
    with pytest.raises(Refused):
        world.registry.resume(session, pid=1)


def test_an_old_connection_that_breaks_late_takes_nothing_from_the_new_one() -> None:
    world = World()
    old, session = world.registry.register(wanted(ports=PORTS), pid=1)
    new = world.registry.resume(session, pid=1)
    world.registry.listening(new, (8080,))
    world.registry.lost(old)
    assert world.mesh.of(WORKLOAD)[0].ready
    with pytest.raises(Refused):
        world.registry.withdraw(old)


def test_a_full_disk_loses_nothing_that_was_there() -> None:
    class Full(MemoryStore):
        full = False

        def commit(self, writes: Sequence[Write]) -> None:
            if self.full:
                raise Unavailable("the disk is full")
            super().commit(writes)

    store = Full()
    world = World(store)
    held, session = world.registry.register(wanted(ports=PORTS), pid=1)
    world.registry.listening(held, (8080,))
    store.full = True
    with pytest.raises(Unavailable):
        world.registry.register(wanted(), pid=2)
    assert len(world.mesh.of(WORKLOAD)) == 1
    world.tokens.expire(1e9)
    world.registry.lost(held)
    assert [one.ready for one in world.mesh.of(WORKLOAD)] == [False]
    store.full = False
    world.registry.listening(world.registry.resume(session, pid=1), (8080,))
    assert [one.ready for one in world.mesh.of(WORKLOAD)] == [True]


def test_a_restarted_control_plane_counts_registrations_until_their_lease_ends() -> None:
    world = World()
    held, session = world.registry.register(wanted(ports=PORTS), pid=1)
    world.registry.listening(held, (8080,))
    gone, _ = world.registry.register(wanted(service="db", ports=PORTS), pid=2)
    world.registry.listening(gone, (8080,))
    before = dict(world.mesh.held)
    world.now += 5
    world.restart()
    assert world.mesh.synced
    assert world.mesh.held == before
    assert all(one.ready for one in world.mesh.of(WORKLOAD))
    resumed = world.registry.resume(session, pid=1)
    assert world.mesh.of(WORKLOAD)[0].ready
    world.now += LEASE
    world.registry.expire()
    assert [one.key for one in world.mesh.of(WORKLOAD)] == [resumed.key]


def test_the_longest_name_of_a_service_begins_its_workloads_name() -> None:
    registry = World().registry
    held, _ = registry.register(wanted(service="x" * 56 + "-" + "y" * 6), pid=1)
    assert held.registration.name.startswith("x" * 56 + "-")
    assert len(held.registration.name) == 62
    assert held.registration.service.name == "x" * 56 + "-" + "y" * 6


def test_a_named_replica_runs_once_and_takes_the_place_of_a_lost_one() -> None:
    world = World()
    first, _ = world.registry.register(wanted(replica="web-0"), pid=11)
    assert first.key == local("default", "web-0")
    with pytest.raises(Refused, match="process 11"):
        world.registry.register(wanted(replica="web-0"), pid=12)
    world.registry.lost(first)
    second, _ = world.registry.register(wanted(replica="web-0"), pid=12)
    assert second.key == first.key
    assert len(world.mesh.of(WORKLOAD)) == 1


def test_the_store_holds_no_secret() -> None:
    world = World()
    _, session = world.registry.register(wanted(), pid=1)
    token = world.tokens.issue("web", world.now)
    everything = b"".join(entry.key.encode() + entry.value for entry in world.store.scan(""))
    assert session.encode() not in everything
    assert token.encode() not in everything


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "JSON object"),
        ({"namespace": "Default"}, "--namespace Default"),
        ({"service": "x" * 64}, "at most 63"),
        ({"service": "-x"}, "--service"),
        ({"service_account": None}, "--service-account"),
        ({"replica": "a_b"}, "--replica"),
        ({"labels": {"a b": "c"}}, "--label"),
        ({"labels": {"a": 1}}, "--label"),
        ({"labels": {f"l{n}": "" for n in range(65)}}, "labels"),
        ({"ports": [{"port": 0, "target": 1}]}, "--port 0"),
        ({"ports": [{"port": 1, "target": 65536}]}, "--port 65536"),
        ({"ports": [{"port": True, "target": 1}]}, "--port True"),
        ({"ports": [{"name": "A", "port": 1, "target": 1}]}, "--port A"),
        ({"ports": [{"port": 1, "target": 1}, {"port": 1, "target": 2}]}, "given twice"),
        ({"ports": ["80"]}, "--port"),
        ({"ports": [{"port": 1, "target": 1}] * 300}, "ports"),
        ({"opaque_ports": ["x"]}, "--opaque-port"),
    ],
)
def test_what_cannot_be_registered_is_refused_naming_the_flag(document: Any, word: str) -> None:
    base = {"namespace": "default", "service": "web", "service_account": "web"}
    with pytest.raises(Refused, match=word):
        asked({**base, **document} if isinstance(document, dict) else document)


names = st.text("abcdefghij", min_size=1, max_size=20)
numbers = st.integers(1, 65535)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(lambda n, p, t: {"name": n, "port": p, "target": t}, names, numbers, numbers),
        max_size=5,
        unique_by=(lambda one: one["name"], lambda one: one["port"]),
    ),
    st.sets(numbers, max_size=5),
    st.booleans(),
)
def test_what_is_stored_is_what_was_registered(ports: list[Any], listening: set[int], gone: bool) -> None:
    world = World()
    held, _ = world.registry.register(wanted(ports=ports), pid=1)
    world.registry.listening(held, tuple(listening))
    if gone:
        world.registry.lost(held)
    for registration in world.registry.registrations():
        assert decode(encode(registration)) == registration
        unknown = {**json.loads(encode(registration)), "from_a_newer_version": 1}
        assert decode(json.dumps(unknown).encode()) == registration


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), max_size=60))
def test_no_two_workloads_ever_share_an_address_or_a_name(script: list[int]) -> None:
    world = World()
    held: list[Any] = []
    for step in script:
        if step < 6 or not held:
            held.append(world.registry.register(wanted(), pid=1)[0])
        elif step < 8:
            world.registry.end(held.pop())
        else:
            world.restart()
            held = []
        workloads = world.mesh.of(WORKLOAD)
        addresses = [one.addresses[0] for one in workloads]
        assert len(set(addresses)) == len(addresses)
        assert all(world.store.read(f"addresses/{one}") for one in addresses)
        assert all(ip_address(str(one)).is_loopback for one in addresses)

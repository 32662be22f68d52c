"""Laws of the flow: resources → snapshot → configuration."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gossamer.compile import Memo, compile
from gossamer.model.access import AccessPolicy
from gossamer.model.change import Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import IPAddress, Key, local
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import (
    AddressTarget,
    Inbound,
    Names,
    NameTarget,
    Outbound,
    Profile,
    Source,
    Subscription,
)
from gossamer.model.workload import ExternalWorkload, Namespace, Workload
from gossamer.state import State
from tests.laws.worlds import (
    OUTSIDE,
    access_policies,
    authorization_policies,
    egress_networks,
    names,
    objects,
    ports,
    profiles,
    rate_limits,
    routes,
    servers,
    subscriptions,
    worlds,
)


@given(worlds, st.randoms(use_true_random=False), st.lists(objects, max_size=4))
def test_any_order_of_changes_gives_the_same_snapshot(
    world: list[Object], random: Random, passing: list[Object]
) -> None:
    """However the objects came, and whatever came and went meanwhile."""
    shuffled = list(world)
    random.shuffle(shuffled)
    places = {(one.kind, one.key) for one in world}
    state = State(("only",), Mesh(), lambda call: None)
    for one in passing:
        state.apply("only", Put(one))
        assert state.snapshot is state.snapshot
    for one in passing:
        if (one.kind, one.key) not in places:
            state.apply("only", Remove(one.kind, one.key))
    for one in shuffled:
        state.apply("only", Put(one))

    assert state.snapshot == Snapshot().changed(world)


@given(worlds, worlds)
def test_a_replacement_leaves_nothing_of_what_was_before(before: list[Object], after: list[Object]) -> None:
    state = State(("only",), Mesh(), lambda call: None)
    state.apply("only", Replace(tuple(before)))
    assert state.snapshot == Snapshot().changed(before)
    state.apply("only", Replace(tuple(after)))

    assert state.snapshot == Snapshot().changed(after)


@given(worlds, subscriptions, objects)
def test_an_unrelated_resource_never_changes_a_configuration(
    world: list[Object], subscription: Subscription, other: Object
) -> None:
    """Also not one that names things of the asker's namespace: a tenant cannot reach into another's (A-37)."""
    far = _elsewhere(other)
    snapshot = Snapshot().changed(world)

    if not isinstance(subscription, Names):
        assert compile(snapshot.changed([far]), subscription) == compile(snapshot, subscription)


TENANT = st.one_of(
    routes,
    profiles,
    egress_networks,
    access_policies.filter(lambda one: not one.mesh_wide),
    servers,
    authorization_policies,
    rate_limits,
)


@given(worlds, TENANT, names, ports)
def test_what_a_tenant_writes_concerns_its_own_clients_and_programs_only(
    world: list[Object], theirs: Object, name: str, port: int
) -> None:
    """Whatever it names (security A-37): callers of another namespace reach that one's services as before, and its
    programs accept whom they accepted."""
    theirs = replace(theirs, key=local("y", theirs.key.name))
    before = Snapshot().changed(world)
    after = before.changed([theirs])
    authority = NameTarget(f"{name}.x.svc.cluster.local", port)
    asked: list[Subscription] = [
        Outbound(Source("x"), authority),
        Profile(Source("x"), authority),
        Inbound(local("x", name), port),
    ]
    asked += [Outbound(Source("x"), AddressTarget(address, port)) for address in (*OUTSIDE, *_addresses(before, name))]

    for question in asked:
        assert compile(after, question) == compile(before, question), question


def _addresses(view: Snapshot, name: str) -> tuple[IPAddress, ...]:
    """Of a service of namespace x, if they are nobody else's."""
    service = view.get(SERVICE, local("x", name))
    return tuple(one for one in service.cluster_ips if view.at(one) == service) if service is not None else ()


@given(worlds, subscriptions, st.lists(objects, max_size=6))
def test_what_is_remembered_is_what_would_be_computed(
    world: list[Object], subscription: Subscription, changes: list[Object]
) -> None:
    snapshot = Snapshot().changed(world)
    memo = Memo(subscription, snapshot)
    for change in changes:
        snapshot = snapshot.changed([change])
        before = memo.value
        changed = memo.update(snapshot)

        assert memo.value == compile(snapshot, subscription)
        assert changed == (memo.value != before)
        assert changed or memo.value is before


@given(worlds, subscriptions)
def test_compiling_twice_gives_equal_answers(world: list[Object], subscription: Subscription) -> None:
    assert compile(Snapshot().changed(world), subscription) == compile(Snapshot().changed(world[::-1]), subscription)


def _elsewhere(one: Object) -> Object:
    """The same object in a namespace that nobody asks from or about, at an address that nobody calls."""
    if isinstance(one, Namespace):
        return replace(one, key=Key("", "", "z"))
    if isinstance(one, AccessPolicy):
        # What is for the whole mesh is nowhere else.
        return replace(one, key=local("z", one.key.name), mesh_wide=False)
    key = local("z", one.key.name)
    if isinstance(one, Workload | ExternalWorkload):
        return replace(one, key=key, addresses=(ip_address("192.0.2.99"),))
    if isinstance(one, Service):
        return replace(one, key=key, cluster_ips=())
    return replace(one, key=key)

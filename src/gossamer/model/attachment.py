"""Which routes hold for a parent, and which resources are accepted. Questions that both the server's side and the
client's side ask, and the status that people see.

A route that is not accepted by a parent is not served there (reference §1.3, route kind precedence). What lies in
another namespace than the parent concerns that namespace's own clients only (security A-37).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gossamer.model.authorization import RATE_LIMIT_POLICY, SERVER, Network, RateLimitPolicy, Server
from gossamer.model.egress import EGRESS_NETWORK, EgressNetwork
from gossamer.model.names import Key, Kind
from gossamer.model.route import RANKS, ParentRef, Route, in_precedence
from gossamer.model.service import SERVICE
from gossamer.model.snapshot import View
from gossamer.model.status import (
    ACCEPTED,
    ALREADY_LIMITED,
    CONFLICTED,
    EGRESS_NOT_ACCEPTED,
    HEADLESS,
    NO_PARENT,
    NO_TARGET,
    OVERLAP,
    Condition,
)

PARENTS: tuple[Kind[Any], ...] = (SERVER, SERVICE, EGRESS_NETWORK)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a reference means. `port` None: all of it."""

    kind: Kind[Any]
    key: Key
    port: int | None = None


def parent_of(ref: ParentRef, route: Key) -> Parent | None:
    """None for what is no parent of ours, such as a Gateway."""
    kind = next((one for one in PARENTS if (one.group, one.name) == (ref.group, ref.kind)), None)
    if kind is None:
        return None
    return Parent(kind, Key(route.cluster, ref.namespace or route.namespace, ref.name), ref.port)


def routes_of(view: View, kinds: Iterable[Kind[Any]], parent: Parent, client: str) -> list[Any]:
    """Those of `kinds` that a parent (with its port) has accepted, in precedence, as a client's namespace sees them:
    the producer's, of the parent's namespace, and the consumer's own."""
    found = [
        route
        for namespace in sorted({parent.key.namespace, client})
        for kind in kinds
        for route in view.about(kind, (parent.kind.name, parent.key.name), namespace, parent.key.cluster).values()
        if any(accepted(view, route, one) is ACCEPTED for one in _attaching(route, parent))
    ]
    return in_precedence(found)


def _attaching(route: Route, to: Parent) -> Iterable[Parent]:
    for ref in route.parents:
        parent = parent_of(ref, route.key)
        if parent is not None and (parent.kind, parent.key) == (to.kind, to.key) and parent.port in (None, to.port):
            yield parent


def accepted(view: View, route: Route, parent: Parent) -> Condition:
    """Whether a parent takes a route, with the reason."""
    if parent.kind is SERVER and parent.key.namespace != route.key.namespace:
        return NO_PARENT
    found = view.get(parent.kind, parent.key)
    if found is None:
        return NO_PARENT
    if parent.kind is SERVICE and (found.headless or found.external_name or not found.cluster_ips):
        return HEADLESS
    if parent.kind is EGRESS_NETWORK and egress_accepted(view, found) is not ACCEPTED:
        return EGRESS_NOT_ACCEPTED
    return CONFLICTED if _conflicts(view, route, parent) else ACCEPTED


def _conflicts(view: View, route: Route, parent: Parent) -> bool:
    """Whether a kind that comes first refers to the same parent: in its namespace, or beside a consumer's route."""
    facet = (parent.kind.name, parent.key.name)
    for rank in RANKS:
        if route.kind in rank:
            return False
        for namespace in {parent.key.namespace, route.key.namespace}:
            for kind in rank:
                for other in view.about(kind, facet, namespace, parent.key.cluster).values():
                    if any(parent_of(ref, other.key) == parent for ref in other.parents):
                        return True
    return False


def egress_accepted(view: View, network: EgressNetwork) -> Condition:
    """One that names networks of the cluster is not, and routes do not attach to it."""
    overlaps = any(
        _intersect(block, inside) for block in network.networks or () for inside in view.mesh.cluster_networks
    )
    return OVERLAP if overlaps else ACCEPTED


def _intersect(block: Network, inside: Any) -> bool:
    if block.cidr.version != inside.version or not block.cidr.overlaps(inside):
        return False
    return not any(hole.version == inside.version and inside.subnet_of(hole) for hole in block.excepted)


def limit_of(view: View, server: Server) -> RateLimitPolicy | None:
    """Of several for one Server the oldest, then the first by name."""
    named = view.about(RATE_LIMIT_POLICY, (SERVER.name, server.key.name), server.key.namespace, server.key.cluster)
    return min(named.values(), key=lambda one: (one.created == 0, one.created, one.key.name), default=None)


def limit_accepted(view: View, policy: RateLimitPolicy) -> Condition:
    server = view.get(SERVER, Key(policy.key.cluster, policy.key.namespace, policy.server))
    if server is None:
        return NO_TARGET
    return ACCEPTED if limit_of(view, server) == policy else ALREADY_LIMITED

"""The status of routes, egress networks and rate limits: what people read in `get -o yaml` and `describe`. Pure.

Every parent of ours gets Accepted; where a route leads somewhere (a Service's, an EgressNetwork's) also ResolvedRefs.
"""

from __future__ import annotations

from typing import Any

from gossamer.model.attachment import Parent, accepted, egress_accepted, limit_accepted, parent_of
from gossamer.model.authorization import POLICY_GROUP, SERVER, RateLimitPolicy
from gossamer.model.egress import EGRESS_NETWORK, FAULT_INJECTION, EgressNetwork
from gossamer.model.kinds import Object
from gossamer.model.names import Key
from gossamer.model.route import (
    BackendRef,
    GrpcRoute,
    HttpRoute,
    Inject,
    Mirror,
    Route,
    RuleFilter,
    TcpRoute,
    TlsRoute,
)
from gossamer.model.service import SERVICE
from gossamer.model.snapshot import View
from gossamer.model.status import (
    CONTROLLER,
    FOREIGN_EGRESS,
    INVALID_KIND,
    NO_BACKEND,
    NO_FAULT,
    RESOLVED,
    Condition,
    ParentStatus,
)


def parents(view: View, route: Route) -> tuple[ParentStatus, ...]:
    """In the order in which the route names them; parents that are not ours are left to others."""
    found = []
    for ref in route.parents:
        parent = parent_of(ref, route.key)
        if parent is not None:
            found.append(_parent(view, route, parent))
    return tuple(found)


def _parent(view: View, route: Route, parent: Parent) -> ParentStatus:
    condition = accepted(view, route, parent)
    conditions = (condition,) if parent.kind is SERVER else (condition, resolved(view, route, parent))
    return ParentStatus(
        parent.kind.group or "core", parent.kind.name, parent.key.namespace, parent.key.name, parent.port, conditions
    )


def resolved(view: View, route: Route, parent: Parent) -> Condition:
    """Whether every backend is there and of a kind that traffic can go to; the first that is not decides."""
    for ref in backends(route):
        key = Key(route.key.cluster, ref.namespace or route.key.namespace, ref.name)
        if (ref.group, ref.kind) == (SERVICE.group, SERVICE.name):
            if view.get(SERVICE, key) is None:
                return NO_BACKEND
        elif (ref.group, ref.kind) == (EGRESS_NETWORK.group, EGRESS_NETWORK.name):
            if view.get(EGRESS_NETWORK, key) is None:
                return NO_BACKEND
            if (parent.kind, parent.key) != (EGRESS_NETWORK, key):
                return FOREIGN_EGRESS
        else:
            return INVALID_KIND
    for name in faults(route):
        if view.get(FAULT_INJECTION, Key(route.key.cluster, route.key.namespace, name)) is None:
            return NO_FAULT
    return RESOLVED


def faults(route: Route) -> list[str]:
    """The names of the FaultInjections that a route's rules refer to."""
    rules = route.rules if isinstance(route, HttpRoute | GrpcRoute) else ()
    return [one.name for rule in rules for one in rule.filters if isinstance(one, Inject)]


def backends(route: Route) -> list[BackendRef]:
    """Of its rules in order, and after each rule's own those that get copies."""
    match route:
        case HttpRoute(rules=rules) | GrpcRoute(rules=rules):
            return [ref for rule in rules for ref in (*rule.backends, *_mirrors(rule.filters))]
        case TlsRoute(backends=found) | TcpRoute(backends=found):
            return list(found)


def _mirrors(filters: tuple[RuleFilter, ...]) -> list[BackendRef]:
    return [one.backend for one in filters if isinstance(one, Mirror)]


def status(view: View, resource: Object) -> dict[str, Any] | None:
    """As the resource's `status` has it, but for times; None for kinds that have none from us."""
    match resource:
        case HttpRoute() | GrpcRoute() | TlsRoute() | TcpRoute():
            return {"parents": [_written(one) for one in parents(view, resource)]}
        case EgressNetwork():
            return {"conditions": [_condition(egress_accepted(view, resource))]}
        case RateLimitPolicy():
            target = {"group": POLICY_GROUP, "kind": SERVER.name, "name": resource.server}
            return {"conditions": [_condition(limit_accepted(view, resource))], "targetRef": target}
        case _:
            return None


def _written(one: ParentStatus) -> dict[str, Any]:
    ref: dict[str, Any] = {"group": one.group, "kind": one.kind, "namespace": one.namespace, "name": one.name}
    if one.port is not None:
        ref["port"] = one.port
    return {
        "parentRef": ref,
        "controllerName": CONTROLLER,
        "conditions": [_condition(condition) for condition in one.conditions],
    }


def _condition(one: Condition) -> dict[str, Any]:
    return {"type": one.kind, "status": str(one.holds), "reason": one.reason, "message": one.message}

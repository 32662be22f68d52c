"""AccessPolicy and MeshAccessPolicy → the rules of one port, denials first.

What refers to something that does not exist refers to nobody: an Allow is dropped, and a Deny that names a Server or
route that is not there has nothing to deny.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.model.access import (
    ACCESS_POLICY,
    MESH_ACCESS_POLICY,
    AccessClause,
    AccessPolicy,
    Action,
    ClientClause,
    Who,
)
from gossamer.model.authorization import SERVER, Server
from gossamer.model.names import Key, Meta, meta
from gossamer.model.proxy_config import AccessRule, ClientRule, Identities, InboundRoute, RequestRule
from gossamer.model.snapshot import View
from gossamer.model.workload import ExternalWorkload, Workload
from gossamer.policy.authorize import account, match_identities, of_namespace


def rules(
    view: View,
    workload: Workload | ExternalWorkload,
    port: int,
    server: Server | None,
    routes: tuple[InboundRoute, ...],
) -> tuple[AccessRule, ...]:
    """Denials before what allows; of each the mesh's before the namespace's, by policy and as they are written."""
    found = [
        rule
        for policy in policies(view, workload.key)
        if selects(policy, workload, port)
        for place in places(policy, server, routes)
        for rule in _rules(view, policy, workload.key, place)
    ]
    return tuple(sorted(found, key=lambda rule: rule.action is not Action.DENY))


def policies(view: View, workload: Key) -> Iterator[AccessPolicy]:
    """All that may be about a workload: the mesh's, then its namespace's."""
    for named in (
        view.within(MESH_ACCESS_POLICY, "", workload.cluster),
        view.within(ACCESS_POLICY, workload.namespace, workload.cluster),
    ):
        yield from (named[name] for name in sorted(named))


def selects(policy: AccessPolicy, workload: Workload | ExternalWorkload, port: int) -> bool:
    """By labels and ports."""
    if policy.selector is not None and not policy.selector.matches(workload.labels):
        return False
    names = {one.name for one in workload.ports if one.target == port and one.name}
    return not policy.ports or port in policy.ports or bool(names.intersection(policy.ports))


def places(policy: AccessPolicy, server: Server | None, routes: tuple[InboundRoute, ...]) -> tuple[Meta | None, ...]:
    """The routes it is for; (None,) for all of the port, () for nothing here."""
    target = policy.target
    if target is None:
        return (None,)
    if (target.group, target.kind) == (SERVER.group, SERVER.name):
        return (None,) if server is not None and server.key.name == target.name else ()
    named = (target.group, target.kind, target.name)
    return tuple(
        route.meta
        for route in routes
        if (getattr(route.meta, "group", None), getattr(route.meta, "kind", None), route.meta.name) == named
    )


def _rules(view: View, policy: AccessPolicy, workload: Key, route: Meta | None) -> Iterator[AccessRule]:
    for clause in policy.rules:
        yield AccessRule(
            meta(policy.kind, policy.key, clause.name),
            clause.action,
            tuple(_client(view, one, workload.namespace) for one in clause.clients),
            _requests(clause),
            route,
        )


def _client(view: View, clause: ClientClause, namespace: str) -> ClientRule:
    return ClientRule(
        _identities(view, clause.who, namespace) if clause.who else None,
        _identities(view, clause.not_who, namespace) if clause.not_who else None,
        clause.unauthenticated,
        clause.networks,
        clause.not_networks,
    )


def _identities(view: View, who: Who, namespace: str) -> Identities:
    """An account without a namespace is of the policy's; of a mesh-wide one, of each workload's own."""
    names = [*who.identities]
    names += [account(view, within or namespace, name) for within, name in who.service_accounts]
    names += [of_namespace(view, name) for name in who.namespaces]
    return match_identities(names)


def _requests(clause: AccessClause) -> tuple[RequestRule, ...]:
    return tuple(RequestRule(one.methods, one.paths, one.headers, one.hosts) for one in clause.requests)

"""Why a request is let in or not: the verdict, what decides and where it is written, and what did not and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gossamer.model.access import AccessPolicy, Action
from gossamer.model.authorization import (
    AUTHORIZATION_POLICY,
    SERVER_AUTHORIZATION,
    AuthorizationPolicy,
    Server,
    ServerAuthorization,
)
from gossamer.model.kinds import called
from gossamer.model.names import Default, Key, Kind, Meta, Origin, Resource, meta
from gossamer.model.proxy_config import AccessRule, Authorization, InboundConfig, InboundRoute, Unauthenticated
from gossamer.model.selection import server_for
from gossamer.model.snapshot import View
from gossamer.model.subscription import Inbound
from gossamer.model.workload import ExternalWorkload, Workload
from gossamer.policy import access, authorize
from gossamer.policy.decide import Client, Outcome, Request, Verdict, admits, applies, decide, within
from gossamer.policy.inbound import inbound, routes_in


@dataclass(frozen=True, slots=True)
class Considered:
    """A policy, where it is written, and what it said to this request."""

    policy: str
    place: str
    said: str


@dataclass(frozen=True, slots=True)
class Explanation:
    verdict: Verdict
    # One sentence.
    because: str
    # Of what decided; "" where nothing that somebody wrote did.
    place: str
    considered: tuple[Considered, ...]


def explain(
    view: View, workload: Workload | ExternalWorkload, port: int, client: Client, request: Request | None
) -> Explanation:
    """`request` None: a connection whose bytes are not HTTP."""
    config = inbound(view, Inbound(workload.key, port, isinstance(workload, ExternalWorkload)))
    assert isinstance(config, InboundConfig), "the workload is in this view"
    verdict = decide(config, client, request)
    server = server_for(view, workload, port)
    place = _place(view, verdict.by, workload.key) if verdict.by is not None else ""
    considered = (
        *_rules(view, workload, port, server, config, client, request, verdict),
        *_policies(view, workload.key, server, config, client, verdict),
        *_default(view, config, server, client),
    )
    return Explanation(verdict, _because(config, verdict), place, considered)


def _because(config: InboundConfig, verdict: Verdict) -> str:
    where = words(config.meta) if isinstance(config.meta, Resource) else f"no Server; default policy {config.meta.name}"
    route = f", {words(verdict.route)}" if verdict.route is not None and verdict.route != Default("default") else ""
    by = words(verdict.by) if verdict.by is not None else ""
    match verdict.outcome:
        case Outcome.ALLOWED:
            return f"{by} admits the client ({where}{route})"
        case Outcome.AUDITED:
            return f"{by} lets through, and reports, what would be refused ({where}{route})"
        case Outcome.DENIED:
            return f"{by} denies it, whatever else admits ({where}{route})"
        case Outcome.UNAUTHORIZED:
            return f"nothing admits the client ({where}{route})"
        case Outcome.NO_ROUTE:
            return f"no route of {where} is for this request: 404"
        case Outcome.BAD_PATH:
            return "servers may read this path differently, so that policy is not decided on it: 400"


def _rules(
    view: View,
    workload: Workload | ExternalWorkload,
    port: int,
    server: Server | None,
    config: InboundConfig,
    client: Client,
    request: Request | None,
    verdict: Verdict,
) -> Iterator[Considered]:
    here = {rule.meta: rule for rule in config.rules}
    for policy in access.policies(view, workload.key):
        if not access.selects(policy, workload, port):
            yield _said(policy, "selects other workloads or ports")
        elif not access.places(policy, server, routes_in(config.protocol)):
            target = policy.target
            yield _said(policy, f"is for {target.kind}/{target.name}, which is not here" if target else "is not here")
        for clause in policy.rules:
            about = meta(policy.kind, policy.key, clause.name)
            rule = here.get(about)
            if rule is None:
                continue
            word = "denies" if rule.action is Action.DENY else "allows"
            held = applies(rule, client, request, verdict.route)
            said = f"{word} it" if held else f"{word} {_unmet(rule, client)}"
            yield Considered(words(about), str(policy.origin), said)


def _unmet(rule: AccessRule, client: Client) -> str:
    """Which half of a rule does not hold."""
    if not applies(AccessRule(rule.meta, rule.action, rule.clients), client, None, None):
        return "other clients"
    return f"requests of {words(rule.route)}" if rule.route is not None else "other requests"


def _policies(
    view: View, workload: Key, server: Server | None, config: InboundConfig, client: Client, verdict: Verdict
) -> Iterator[Considered]:
    """Of the workload's namespace, by kind and name."""
    kinds: tuple[Kind[Any], ...] = (SERVER_AUTHORIZATION, AUTHORIZATION_POLICY)
    for kind in kinds:
        for policy in sorted(view.within(kind, workload.namespace, workload.cluster).values(), key=lambda one: one.key):
            yield _said(policy, _authorizes(view, policy, server, config, client, verdict))


def _authorizes(
    view: View,
    policy: AuthorizationPolicy | ServerAuthorization,
    server: Server | None,
    config: InboundConfig,
    client: Client,
    verdict: Verdict,
) -> str:
    if server is None:
        return "is about a Server, and none selects this port"
    about = meta(policy.kind, policy.key)
    own = next((one for one in config.authorizations if one.meta == about), None)
    if own is None:
        routes = [route for route in routes_in(config.protocol) if any(a.meta == about for a in route.authorizations)]
        if not routes:
            return _elsewhere(view, policy)
        if all(route.meta != verdict.route for route in routes):
            return f"is for requests of {words(routes[0].meta)}"
        own = _of_route(routes, verdict.route, about)
    return "admits the client" if own is None else _why(own, client)


def _of_route(routes: list[InboundRoute], route: Meta | None, about: Meta) -> Authorization | None:
    found = (one for each in routes if each.meta == route for one in each.authorizations if one.meta == about)
    return next(found, None)


def _elsewhere(view: View, policy: AuthorizationPolicy | ServerAuthorization) -> str:
    if isinstance(policy, ServerAuthorization):
        return "is for other Servers"
    lost = authorize.lost(view, policy)
    if lost is not None:
        return f"refers to {lost.kind}/{lost.name}, which is not there: it admits nobody"
    return f"is for {policy.target.kind}/{policy.target.name}"


def _why(one: Authorization, client: Client) -> str:
    if not within(one.networks, client.address):
        return f"is for other networks than {client.address}'s"
    if isinstance(one.clients, Unauthenticated):
        return "admits the client" if client.tls or not one.clients.tls else "needs mesh TLS"
    if not client.identity or not client.tls:
        return "needs an identity, and the client has none"
    return "admits the client" if admits(one, client) else f"names others than {client.identity}"


def _default(view: View, config: InboundConfig, server: Server | None, client: Client) -> Iterator[Considered]:
    found = [one for one in config.authorizations if isinstance(one.meta, Default)]
    name = server.access_policy.value if server is not None else getattr(config.meta, "name", "")
    what = "accessPolicy" if server is not None else "default policy"
    place = str(server.origin) if server is not None else ""
    if not found:
        yield Considered(f"{what} {name}", place, "admits nobody")
    for one in found:
        yield Considered(f"{what} {one.meta.name}", place, _why(one, client))


def _said(policy: AccessPolicy | AuthorizationPolicy | ServerAuthorization, said: str) -> Considered:
    return Considered(words(meta(policy.kind, policy.key)), str(policy.origin), said)


def words(about: Meta | None) -> str:
    """`AccessPolicy/ledger (nobody-deletes)`, `default policy deny`."""
    match about:
        case None:
            return "nothing"
        case Default(name):
            return f"default policy {name}"
        case Resource():
            section = f" ({about.section})" if about.section else ""
            return f"{about.kind}/{about.name}{section}"


def _place(view: View, about: Meta, beside: Key) -> str:
    """The file and line, or the store, of a resource that a configuration names."""
    if not isinstance(about, Resource):
        return ""
    for kind in called(about.kind):
        if kind.group == about.group:
            namespace = about.namespace or (beside.namespace if kind.namespaced else "")
            found = view.get(kind, Key(beside.cluster, namespace, about.name))
            origin: Origin | None = getattr(found, "origin", None)
            return str(origin) if origin is not None else ""
    return ""

"""Routes attached to a service, and how each rule splits its traffic over backends."""

from __future__ import annotations

from gossamer.discovery import lookup
from gossamer.model.names import Default, Key, meta
from gossamer.model.proxy_config import (
    Backend,
    Balance,
    Distribution,
    FirstAvailable,
    Nowhere,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
    Weighted,
)
from gossamer.model.route import (
    HTTP_ROUTE,
    POLICY_HTTP_ROUTE,
    BackendRef,
    Fail,
    HttpRoute,
    HttpRule,
    ParentRef,
    in_precedence,
)
from gossamer.model.service import SERVICE
from gossamer.model.snapshot import View


def attached(view: View, service: Key, port: int, client_namespace: str) -> list[HttpRoute]:
    """In precedence: the producer's routes, of the service's namespace, and the consumer's, of the client's own."""
    routes = [
        route
        for namespace in sorted({service.namespace, client_namespace})
        for kind in (HTTP_ROUTE, POLICY_HTTP_ROUTE)
        for route in view.about(kind, (SERVICE.name, service.name), namespace, service.cluster).values()
        if any(_is(parent, service, port, route) for parent in route.parents)
    ]
    return in_precedence(routes)


def route(view: View, written: HttpRoute, own: Backend) -> OutboundRoute:
    """`own` is where a rule leads that names no backend: the service the route is attached to."""
    rules = tuple(_rule(view, written, rule, own) for rule in written.rules)
    return OutboundRoute(meta(written.kind, written.key), rules, written.hostnames)


def _is(parent: ParentRef, service: Key, port: int, written: HttpRoute) -> bool:
    return (
        (parent.group, parent.kind, parent.name) == (SERVICE.group, SERVICE.name, service.name)
        and (parent.namespace or written.key.namespace) == service.namespace
        and parent.port in (None, port)
    )


def _rule(view: View, written: HttpRoute, rule: HttpRule, own: Backend) -> OutboundRule:
    backends: Distribution = FirstAvailable(RouteBackend(1, own))
    if rule.backends:
        backends = Weighted(tuple(_backend(view, written, ref) for ref in rule.backends))
    return OutboundRule(rule.matches, backends, rule.filters, rule.timeouts)


def _backend(view: View, written: HttpRoute, ref: BackendRef) -> RouteBackend:
    if (ref.group, ref.kind) != (SERVICE.group, SERVICE.name):
        return _nowhere(ref, None, f"unsupported backend type {ref.group or 'core'} {ref.kind}")
    if ref.port is None:
        return _nowhere(ref, None, f"missing port for backend Service {ref.name}")
    key = Key(written.key.cluster, ref.namespace or written.key.namespace, ref.name)
    if view.get(SERVICE, key) is None:
        return _nowhere(ref, key, f"Service not found {ref.name}")
    balance = Balance(lookup.authority(key, ref.port, view.mesh.cluster_domain))
    return RouteBackend(ref.weight, Backend(lookup.service_meta(key, ref.port), balance), ref.filters)


def _nowhere(ref: BackendRef, service: Key | None, why: str) -> RouteBackend:
    """A share of the traffic that is answered 500, as Gateway API asks for a backend that does not exist."""
    about = lookup.service_meta(service, ref.port or 0) if service else Default("invalid")
    return RouteBackend(ref.weight, Backend(about, Nowhere()), (Fail(500, why),))

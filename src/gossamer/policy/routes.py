"""Routes attached to a Server: which requests there are, and who may make them."""

from __future__ import annotations

from gossamer.model.attachment import Parent, routes_of
from gossamer.model.authorization import SERVER, Server
from gossamer.model.names import Default, meta
from gossamer.model.proxy_config import InboundRoute, InboundRule
from gossamer.model.route import (
    GRPC_ROUTE,
    HTTP,
    Fail,
    Filter,
    GrpcMatch,
    GrpcRoute,
    How,
    HttpMatch,
    HttpRoute,
    PathMatch,
    Redirect,
    RequestHeaders,
    RuleFilter,
)
from gossamer.model.snapshot import View
from gossamer.model.workload import ExternalWorkload, Workload
from gossamer.policy import authorize

ANY_REQUEST = HttpMatch(path=PathMatch(How.PREFIX, "/"))
# Where nobody wrote a route every request is one, judged by the Server's authorizations.
DEFAULT = (InboundRoute(Default("default"), (), (), (InboundRule((ANY_REQUEST,)),)),)
DEFAULT_GRPC = (InboundRoute(Default("default"), (), (), (InboundRule((GrpcMatch(),)),)),)


def http(view: View, server: Server) -> tuple[InboundRoute, ...]:
    """The attached routes in Gateway API precedence; as soon as there is one, what none matches is 404."""
    found = routes_of(view, HTTP, _parent(server), server.key.namespace)
    return tuple(_inbound(view, route) for route in found) or DEFAULT


def grpc(view: View, server: Server) -> tuple[InboundRoute, ...]:
    found = routes_of(view, (GRPC_ROUTE,), _parent(server), server.key.namespace)
    return tuple(_inbound(view, route) for route in found) or DEFAULT_GRPC


def probes(view: View, workload: Workload | ExternalWorkload, port: int) -> tuple[InboundRoute, ...]:
    """The paths on which a workload is asked whether it lives. Also where routes are attached: a policy that makes a
    program look dead helps nobody (reference §4, 18)."""
    paths = sorted({path for of, path in workload.probes if of == port}) if isinstance(workload, Workload) else []
    admitted = authorize.probes(view)
    if not paths or not admitted:
        return ()
    matches = tuple(HttpMatch(PathMatch(How.EXACT, path), method="GET") for path in paths)
    return (InboundRoute(Default("probe"), (), admitted, (InboundRule(matches),)),)


def _parent(server: Server) -> Parent:
    return Parent(SERVER, server.key)


def _inbound(view: View, route: HttpRoute | GrpcRoute) -> InboundRoute:
    rules = tuple(
        InboundRule(rule.matches, tuple(kept for one in rule.filters if (kept := _kept(one)) is not None))
        for rule in route.rules
    )
    return InboundRoute(meta(route.kind, route.key), route.hostnames, authorize.for_route(view, route), rules)


def _kept(one: RuleFilter) -> Filter | None:
    """What a server's side does with a request; the rest is about where a client sends it."""
    return one if isinstance(one, RequestHeaders | Redirect | Fail) else None

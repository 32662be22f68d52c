"""Routes attached to a Server: which requests there are, and who may make them."""

from __future__ import annotations

from gossamer.model.authorization import SERVER, Server
from gossamer.model.names import Default, meta
from gossamer.model.proxy_config import InboundRoute, InboundRule
from gossamer.model.route import (
    HTTP_ROUTE,
    POLICY_HTTP_ROUTE,
    How,
    HttpMatch,
    HttpRoute,
    ParentRef,
    PathMatch,
    ResponseHeaders,
    in_precedence,
)
from gossamer.model.snapshot import View
from gossamer.policy import authorize

ANY_REQUEST = HttpMatch(path=PathMatch(How.PREFIX, "/"))
# Where nobody wrote a route every request is one, judged by the Server's authorizations.
DEFAULT = (InboundRoute(Default("default"), (), (), (InboundRule((ANY_REQUEST,)),)),)


def for_server(view: View, server: Server) -> tuple[InboundRoute, ...]:
    """The attached routes in Gateway API precedence; as soon as there is one, what none matches is 404."""
    key = server.key
    attached = [
        route
        for kind in (HTTP_ROUTE, POLICY_HTTP_ROUTE)
        for route in view.about(kind, (SERVER.name, key.name), key.namespace, key.cluster).values()
        if any(_is(parent, server, route) for parent in route.parents)
    ]
    return tuple(_inbound(view, route) for route in in_precedence(attached)) or DEFAULT


def _is(parent: ParentRef, server: Server, route: HttpRoute) -> bool:
    """A route attaches to a Server of its own namespace, whole."""
    return (
        (parent.group, parent.kind, parent.name) == (SERVER.group, SERVER.name, server.key.name)
        and parent.namespace in (None, route.key.namespace)
        and parent.port is None
        and parent.section is None
    )


def _inbound(view: View, route: HttpRoute) -> InboundRoute:
    rules = tuple(
        InboundRule(rule.matches, tuple(one for one in rule.filters if not isinstance(one, ResponseHeaders)))
        for rule in route.rules
    )
    return InboundRoute(meta(route.kind, route.key), route.hostnames, authorize.for_route(view, route), rules)

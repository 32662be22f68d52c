"""What remains of a route for a sidecar that knows Linkerd's messages only.

A rewrite it cannot do is answered 500 instead of being left out; a copy and a delay change nothing for the caller, and
are left out; an abort it can do.
"""

from __future__ import annotations

from dataclasses import replace

from gossamer.model.proxy_config import (
    Beyond,
    DetectOutbound,
    GrpcOutbound,
    Http1Outbound,
    Http2Outbound,
    OutboundConfig,
    OutboundRoute,
    OutboundRule,
)
from gossamer.model.route import Fail, Filter

PLAIN = Beyond()


def narrowed(config: OutboundConfig) -> OutboundConfig:
    match config.protocol:
        case DetectOutbound(http1=http1, http2=http2):
            return replace(
                config, protocol=replace(config.protocol, http1=_routes(http1, False), http2=_routes(http2, False))
            )
        case Http1Outbound(routes) | Http2Outbound(routes):
            return replace(config, protocol=replace(config.protocol, routes=_routes(routes, False)))
        case GrpcOutbound(routes):
            return replace(config, protocol=replace(config.protocol, routes=_routes(routes, True)))
        case _:
            return config


def _routes(routes: tuple[OutboundRoute, ...], grpc: bool) -> tuple[OutboundRoute, ...]:
    if all(rule.beyond == PLAIN for route in routes for rule in route.rules):
        return routes
    return tuple(replace(route, rules=tuple(_rule(rule, grpc) for rule in route.rules)) for route in routes)


def _rule(rule: OutboundRule, grpc: bool) -> OutboundRule:
    if rule.beyond == PLAIN:
        return rule
    more: list[Filter] = []
    if rule.beyond.fault is not None and rule.beyond.fault.abort is not None:
        status, code, message, share = rule.beyond.fault.abort
        more.append(Fail(code if grpc else status, message, (share, 10_000)))
    if rule.beyond.rewrite is not None:
        more.append(Fail(13 if grpc else 500, "URLRewrite needs a sidecar that speaks gossamer.v1"))
    return replace(rule, filters=(*rule.filters, *more), beyond=PLAIN)

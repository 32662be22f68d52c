"""`io.linkerd.proxy.outbound.OutboundPolicy`."""

from __future__ import annotations

from collections.abc import Iterable

from gossamer.api.encode import destination, parts
from gossamer.model.proxy_config import (
    Backend,
    Balance,
    DetectOutbound,
    Distribution,
    Empty,
    FirstAvailable,
    Forward,
    Http1Outbound,
    Http2Outbound,
    Nowhere,
    OpaqueOutbound,
    OpaqueRoute,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
    Weighted,
)
from gossamer.model.route import Fail, Filter, Redirect, RequestHeaders, ResponseHeaders, Timeouts
from gossamer.pb.linkerd import http_route_pb2, opaque_route_pb2, outbound_pb2

_Http = outbound_pb2.HttpRoute
_Opaque = outbound_pb2.OpaqueRoute


def policy(config: OutboundConfig) -> outbound_pb2.OutboundPolicy:
    return outbound_pb2.OutboundPolicy(protocol=_protocol(config.protocol), metadata=parts.meta(config.meta))


def _protocol(protocol: OutboundProtocol) -> outbound_pb2.ProxyProtocol:
    kinds = outbound_pb2.ProxyProtocol
    match protocol:
        case DetectOutbound(timeout, opaque, http1, http2):
            return kinds(
                detect=kinds.Detect(
                    timeout=parts.duration(timeout),
                    opaque=kinds.Opaque(routes=[_opaque(opaque)]),
                    http1=kinds.Http1(routes=_routes(http1)),
                    http2=kinds.Http2(routes=_routes(http2)),
                )
            )
        case Http1Outbound(routes):
            return kinds(http1=kinds.Http1(routes=_routes(routes)))
        case Http2Outbound(routes):
            return kinds(http2=kinds.Http2(routes=_routes(routes)))
        case OpaqueOutbound(route):
            return kinds(opaque=kinds.Opaque(routes=[_opaque(route)]))


def _routes(routes: Iterable[OutboundRoute]) -> list[outbound_pb2.HttpRoute]:
    return [
        _Http(
            metadata=parts.meta(route.meta),
            hosts=parts.hosts(route.hosts),
            rules=[_rule(rule) for rule in route.rules],
        )
        for route in routes
    ]


def _rule(rule: OutboundRule) -> outbound_pb2.HttpRoute.Rule:
    return _Http.Rule(
        matches=[parts.match(one) for one in rule.matches],
        filters=[_filter(one) for one in rule.filters],
        backends=_distribution(rule.backends),
        # Older proxies read this field only.
        requestTimeout=parts.optional_duration(rule.timeouts.request),
        timeouts=_timeouts(rule.timeouts),
    )


def _timeouts(timeouts: Timeouts) -> http_route_pb2.Timeouts:
    return http_route_pb2.Timeouts(
        request=parts.optional_duration(timeouts.request),
        response=parts.optional_duration(timeouts.response),
        idle=parts.optional_duration(timeouts.idle),
    )


def _filter(wanted: Filter) -> outbound_pb2.HttpRoute.Filter:
    match wanted:
        case RequestHeaders(modifier):
            return _Http.Filter(request_header_modifier=parts.request_headers(modifier))
        case ResponseHeaders(modifier):
            return _Http.Filter(response_header_modifier=parts.response_headers(modifier))
        case Redirect():
            return _Http.Filter(redirect=parts.redirect(wanted))
        case Fail(status, message):
            return _Http.Filter(failure_injector=http_route_pb2.HttpFailureInjector(status=status, message=message))


def _distribution(to: Distribution) -> outbound_pb2.HttpRoute.Distribution:
    kinds = _Http.Distribution
    match to:
        case FirstAvailable(one):
            return kinds(first_available=kinds.FirstAvailable(backends=[_share(one)]))
        case Weighted(several):
            weighted = [_Http.WeightedRouteBackend(backend=_share(one), weight=one.weight) for one in several]
            return kinds(random_available=kinds.RandomAvailable(backends=weighted))
        case Empty():
            return kinds(empty=kinds.Empty())


def _share(one: RouteBackend) -> outbound_pb2.HttpRoute.RouteBackend:
    return _Http.RouteBackend(backend=_backend(one.backend), filters=[_filter(each) for each in one.filters])


def _opaque(route: OpaqueRoute) -> outbound_pb2.OpaqueRoute:
    filters = [_Opaque.Filter(forbidden=opaque_route_pb2.Forbidden())] if route.forbidden else []
    rule = _Opaque.Rule(backends=_opaque_distribution(route.backends), filters=filters)
    return _Opaque(metadata=parts.meta(route.meta), rules=[rule])


def _opaque_distribution(to: Distribution) -> outbound_pb2.OpaqueRoute.Distribution:
    kinds = _Opaque.Distribution
    match to:
        case FirstAvailable(one):
            first = _Opaque.RouteBackend(backend=_backend(one.backend))
            return kinds(first_available=kinds.FirstAvailable(backends=[first]))
        case Weighted(several):
            weighted = [
                _Opaque.WeightedRouteBackend(
                    backend=_Opaque.RouteBackend(backend=_backend(one.backend)), weight=one.weight
                )
                for one in several
            ]
            return kinds(random_available=kinds.RandomAvailable(backends=weighted))
        case Empty():
            return kinds(empty=kinds.Empty())


def _backend(backend: Backend) -> outbound_pb2.Backend:
    message = outbound_pb2.Backend(
        metadata=parts.meta(backend.meta),
        queue=outbound_pb2.Queue(
            capacity=backend.queue.capacity, failfast_timeout=parts.duration(backend.queue.failfast)
        ),
    )
    match backend.to:
        case Balance():
            message.balancer.CopyFrom(_balance(backend.to))
        case Forward(endpoint):
            message.forward.CopyFrom(destination.weighted_address(endpoint))
        case Nowhere():
            pass
    return message


def _balance(to: Balance) -> outbound_pb2.Backend.BalanceP2c:
    kinds = outbound_pb2.Backend
    found = kinds.EndpointDiscovery(dst=kinds.EndpointDiscovery.DestinationGet(path=to.authority))
    ewma = kinds.BalanceP2c.PeakEwma(default_rtt=parts.duration(to.default_rtt), decay=parts.duration(to.decay))
    return kinds.BalanceP2c(discovery=found, peak_ewma=ewma)

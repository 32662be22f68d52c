"""`io.linkerd.proxy.outbound.OutboundPolicy`."""

from __future__ import annotations

from collections.abc import Iterable

from gossamer.api.encode import grpc, parts
from gossamer.api.encode.backend import BETWEEN_RETRIES, RETRIED_BYTES, backend, backoff, timeouts
from gossamer.discovery.narrow import narrowed
from gossamer.model.proxy_config import (
    DetectOutbound,
    Distribution,
    Empty,
    FirstAvailable,
    GrpcOutbound,
    Http1Outbound,
    Http2Outbound,
    OpaqueOutbound,
    OpaqueRoute,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
    TlsOutbound,
    Weighted,
)
from gossamer.model.route import Fail, Filter, HttpMatch, Redirect, RequestHeaders, ResponseHeaders
from gossamer.model.traffic import Accrual, Consecutive, HttpRetry, Unified
from gossamer.pb.linkerd import http_route_pb2, opaque_route_pb2, outbound_pb2

_Http = outbound_pb2.HttpRoute
_Opaque = outbound_pb2.OpaqueRoute
_Tls = outbound_pb2.TlsRoute


def policy(config: OutboundConfig) -> outbound_pb2.OutboundPolicy:
    """For a sidecar that speaks Linkerd's messages only: what they cannot say is refused, or left away."""
    return whole(narrowed(config))


def whole(config: OutboundConfig) -> outbound_pb2.OutboundPolicy:
    """Without what stands beside it in `gossamer.v1`."""
    return outbound_pb2.OutboundPolicy(protocol=_protocol(config.protocol), metadata=parts.meta(config.meta))


def _protocol(protocol: OutboundProtocol) -> outbound_pb2.ProxyProtocol:
    kinds = outbound_pb2.ProxyProtocol
    match protocol:
        case DetectOutbound(timeout, opaque, http1, http2, accrual):
            return kinds(
                detect=kinds.Detect(
                    timeout=parts.duration(timeout),
                    opaque=kinds.Opaque(routes=[_opaque(opaque)]),
                    http1=kinds.Http1(routes=_routes(http1), failure_accrual=_accrual(accrual)),
                    http2=kinds.Http2(routes=_routes(http2), failure_accrual=_accrual(accrual)),
                )
            )
        case Http1Outbound(routes, accrual):
            return kinds(http1=kinds.Http1(routes=_routes(routes), failure_accrual=_accrual(accrual)))
        case Http2Outbound(routes, accrual):
            return kinds(http2=kinds.Http2(routes=_routes(routes), failure_accrual=_accrual(accrual)))
        case GrpcOutbound(routes, accrual):
            return kinds(grpc=kinds.Grpc(routes=[grpc.route(one) for one in routes], failure_accrual=_accrual(accrual)))
        case TlsOutbound(streams):
            return kinds(tls=kinds.Tls(routes=[_tls(one) for one in streams]))
        case OpaqueOutbound(stream):
            return kinds(opaque=kinds.Opaque(routes=[_opaque(stream)]))


def _accrual(accrual: Accrual | None) -> outbound_pb2.FailureAccrual | None:
    kinds = outbound_pb2.FailureAccrual
    match accrual:
        case None:
            return None
        case Consecutive(max_failures, pause):
            return kinds(
                consecutive_failures=kinds.ConsecutiveFailures(max_failures=max_failures, backoff=backoff(pause))
            )
        case Unified(max_failures, pause, threshold, window, min_requests, honor):
            return kinds(
                unified=kinds.Unified(
                    success_rate_threshold=threshold,
                    decay=parts.duration(window),
                    min_requests=min_requests,
                    max_consecutive_failures=max_failures,
                    backoff=backoff(pause, honor),
                )
            )


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
        matches=[parts.match(one) for one in rule.matches if isinstance(one, HttpMatch)],
        filters=[_filter(one) for one in rule.filters],
        backends=_distribution(rule.backends),
        # Older proxies read this field only.
        requestTimeout=parts.optional_duration(rule.timeouts.request) if rule.timeouts else None,
        timeouts=timeouts(rule.timeouts) if rule.timeouts else None,
        retry=_retry(rule.retry) if isinstance(rule.retry, HttpRetry) else None,
        allow_l5d_request_headers=rule.request_headers,
    )


def _retry(retry: HttpRetry) -> outbound_pb2.HttpRoute.Retry:
    conditions = _Http.Retry.Conditions
    return _Http.Retry(
        max_retries=retry.limit,
        max_request_bytes=RETRIED_BYTES,
        conditions=conditions(
            status_ranges=[conditions.StatusRange(start=low, end=high) for low, high in retry.statuses]
        ),
        timeout=parts.optional_duration(retry.timeout),
        backoff=backoff(BETWEEN_RETRIES),
    )


def _filter(wanted: Filter) -> outbound_pb2.HttpRoute.Filter:
    match wanted:
        case RequestHeaders(modifier):
            return _Http.Filter(request_header_modifier=parts.request_headers(modifier))
        case ResponseHeaders(modifier):
            return _Http.Filter(response_header_modifier=parts.response_headers(modifier))
        case Redirect():
            return _Http.Filter(redirect=parts.redirect(wanted))
        case Fail(status, message, ratio):
            return _Http.Filter(
                failure_injector=http_route_pb2.HttpFailureInjector(
                    status=status, message=message, ratio=parts.ratio(ratio)
                )
            )


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
    return _Http.RouteBackend(backend=backend(one.backend), filters=[_filter(each) for each in one.filters])


def _opaque(route: OpaqueRoute) -> outbound_pb2.OpaqueRoute:
    filters = [_Opaque.Filter(forbidden=opaque_route_pb2.Forbidden())] if route.forbidden else []
    rule = _Opaque.Rule(backends=_opaque_distribution(route.backends), filters=filters)
    return _Opaque(metadata=parts.meta(route.meta), rules=[rule])


def _opaque_distribution(to: Distribution) -> outbound_pb2.OpaqueRoute.Distribution:
    kinds = _Opaque.Distribution
    match to:
        case FirstAvailable(one):
            return kinds(first_available=kinds.FirstAvailable(backends=[_opaque_share(one)]))
        case Weighted(several):
            weighted = [_Opaque.WeightedRouteBackend(backend=_opaque_share(one), weight=one.weight) for one in several]
            return kinds(random_available=kinds.RandomAvailable(backends=weighted))
        case Empty():
            return kinds(empty=kinds.Empty())


def _opaque_share(one: RouteBackend) -> outbound_pb2.OpaqueRoute.RouteBackend:
    filters = [_Opaque.Filter(invalid=why) for why in _invalid(one)]
    return _Opaque.RouteBackend(backend=backend(one.backend), filters=filters)


def _tls(route: OpaqueRoute) -> outbound_pb2.TlsRoute:
    filters = [_Tls.Filter(forbidden=opaque_route_pb2.Forbidden())] if route.forbidden else []
    rule = _Tls.Rule(backends=_tls_distribution(route.backends), filters=filters)
    return _Tls(metadata=parts.meta(route.meta), snis=parts.snis(route.names), rules=[rule])


def _tls_distribution(to: Distribution) -> outbound_pb2.TlsRoute.Distribution:
    kinds = _Tls.Distribution
    match to:
        case FirstAvailable(one):
            return kinds(first_available=kinds.FirstAvailable(backends=[_tls_share(one)]))
        case Weighted(several):
            weighted = [_Tls.WeightedRouteBackend(backend=_tls_share(one), weight=one.weight) for one in several]
            return kinds(random_available=kinds.RandomAvailable(backends=weighted))
        case Empty():
            return kinds(empty=kinds.Empty())


def _tls_share(one: RouteBackend) -> outbound_pb2.TlsRoute.RouteBackend:
    filters = [_Tls.Filter(invalid=why) for why in _invalid(one)]
    return _Tls.RouteBackend(backend=backend(one.backend), filters=filters)


def _invalid(one: RouteBackend) -> list[opaque_route_pb2.Invalid]:
    """Streams are not answered: why there is no backend is for the log."""
    return [opaque_route_pb2.Invalid(message=each.message) for each in one.filters if isinstance(each, Fail)]

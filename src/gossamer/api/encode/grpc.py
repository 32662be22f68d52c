"""`io.linkerd.proxy.outbound.GrpcRoute`."""

from __future__ import annotations

from gossamer.api.encode import parts
from gossamer.api.encode.backend import BETWEEN_RETRIES, RETRIED_BYTES, backend, backoff, timeouts
from gossamer.model.proxy_config import (
    Distribution,
    Empty,
    FirstAvailable,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
    Weighted,
)
from gossamer.model.route import Fail, Filter, GrpcMatch, Redirect, RequestHeaders, ResponseHeaders
from gossamer.model.traffic import GrpcRetry
from gossamer.pb.linkerd import grpc_route_pb2, outbound_pb2

_Grpc = outbound_pb2.GrpcRoute


def route(one: OutboundRoute) -> outbound_pb2.GrpcRoute:
    return _Grpc(metadata=parts.meta(one.meta), hosts=parts.hosts(one.hosts), rules=[_rule(rule) for rule in one.rules])


def _rule(rule: OutboundRule) -> outbound_pb2.GrpcRoute.Rule:
    return _Grpc.Rule(
        matches=[parts.grpc_match(one) for one in rule.matches if isinstance(one, GrpcMatch)],
        filters=_filters(rule.filters),
        backends=_distribution(rule.backends),
        # Older proxies read this field only.
        requestTimeout=parts.optional_duration(rule.timeouts.request) if rule.timeouts else None,
        timeouts=timeouts(rule.timeouts) if rule.timeouts else None,
        retry=_retry(rule.retry) if isinstance(rule.retry, GrpcRetry) else None,
        allow_l5d_request_headers=rule.request_headers,
    )


def _retry(retry: GrpcRetry) -> outbound_pb2.GrpcRoute.Retry:
    return _Grpc.Retry(
        max_retries=retry.limit,
        max_request_bytes=RETRIED_BYTES,
        conditions=_Grpc.Retry.Conditions(
            cancelled="cancelled" in retry.codes,
            # The contract spells it so.
            deadine_exceeded="deadline-exceeded" in retry.codes,
            resource_exhausted="resource-exhausted" in retry.codes,
            internal="internal" in retry.codes,
            unavailable="unavailable" in retry.codes,
        ),
        timeout=parts.optional_duration(retry.timeout),
        backoff=backoff(BETWEEN_RETRIES),
    )


def _filters(filters: tuple[Filter, ...]) -> list[outbound_pb2.GrpcRoute.Filter]:
    return [kept for one in filters if (kept := _filter(one)) is not None]


def _filter(wanted: Filter) -> outbound_pb2.GrpcRoute.Filter | None:
    match wanted:
        case RequestHeaders(modifier):
            return _Grpc.Filter(request_header_modifier=parts.request_headers(modifier))
        case Fail(code, message, ratio):
            return _Grpc.Filter(
                failure_injector=grpc_route_pb2.GrpcFailureInjector(
                    code=code, message=message, ratio=parts.ratio(ratio)
                )
            )
        case ResponseHeaders() | Redirect():
            # The contract has no place for them in a GrpcRoute.
            return None


def _distribution(to: Distribution) -> outbound_pb2.GrpcRoute.Distribution:
    kinds = _Grpc.Distribution
    match to:
        case FirstAvailable(one):
            return kinds(first_available=kinds.FirstAvailable(backends=[_share(one)]))
        case Weighted(several):
            weighted = [_Grpc.WeightedRouteBackend(backend=_share(one), weight=one.weight) for one in several]
            return kinds(random_available=kinds.RandomAvailable(backends=weighted))
        case Empty():
            return kinds(empty=kinds.Empty())


def _share(one: RouteBackend) -> outbound_pb2.GrpcRoute.RouteBackend:
    return _Grpc.RouteBackend(backend=backend(one.backend), filters=_filters(one.filters))

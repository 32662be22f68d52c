"""`io.linkerd.proxy.inbound.Server`, with the labels and references that Linkerd's policy controller writes."""

from __future__ import annotations

from collections.abc import Iterable

from gossamer.api.encode import parts
from gossamer.model.authorization import Network
from gossamer.model.names import Default, Meta, Resource
from gossamer.model.proxy_config import (
    Authorization,
    DetectInbound,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    Identities,
    InboundConfig,
    InboundProtocol,
    InboundRoute,
    OpaqueInbound,
    RateLimit,
    TlsInbound,
    Unauthenticated,
)
from gossamer.model.route import Fail, Filter, GrpcMatch, HttpMatch, Redirect, RequestHeaders, ResponseHeaders
from gossamer.pb.linkerd import inbound_pb2, meta_pb2
from gossamer.policy.narrow import narrowed

_HttpRoute = inbound_pb2.HttpRoute
_GrpcRoute = inbound_pb2.GrpcRoute


def server(config: InboundConfig) -> inbound_pb2.Server:
    """For a sidecar that speaks Linkerd's messages only: narrowed to what they can say."""
    return whole(narrowed(config))


def whole(config: InboundConfig) -> inbound_pb2.Server:
    """Without the rules, which stand beside it in `gossamer.v1`."""
    return inbound_pb2.Server(
        protocol=_protocol(config.protocol),
        authorizations=[_authorization(one) for one in config.authorizations],
        labels=_labels(config.meta),
    )


def _protocol(protocol: InboundProtocol) -> inbound_pb2.ProxyProtocol:
    kinds = inbound_pb2.ProxyProtocol
    match protocol:
        case DetectInbound(timeout, routes, limit):
            return kinds(
                detect=kinds.Detect(
                    timeout=parts.duration(timeout), http_routes=_routes(routes), http_local_rate_limit=_limit(limit)
                )
            )
        case Http1Inbound(routes, limit):
            return kinds(http1=kinds.Http1(routes=_routes(routes), local_rate_limit=_limit(limit)))
        case Http2Inbound(routes, limit):
            return kinds(http2=kinds.Http2(routes=_routes(routes), local_rate_limit=_limit(limit)))
        case GrpcInbound(routes):
            return kinds(grpc=kinds.Grpc(routes=[_grpc_route(one) for one in routes]))
        case OpaqueInbound():
            return kinds(opaque=kinds.Opaque())
        case TlsInbound():
            return kinds(tls=kinds.Tls())


def _limit(limit: RateLimit | None) -> inbound_pb2.HttpLocalRateLimit | None:
    if limit is None:
        return None
    kinds = inbound_pb2.HttpLocalRateLimit
    return kinds(
        metadata=unplaced(limit.meta),
        total=kinds.Limit(requestsPerSecond=limit.total) if limit.total else None,
        identity=kinds.Limit(requestsPerSecond=limit.identity) if limit.identity else None,
        overrides=[
            kinds.Override(
                limit=kinds.Limit(requestsPerSecond=per_second),
                clients=kinds.Override.ClientIdentities(identities=names(identities)),
            )
            for per_second, identities in limit.overrides
        ],
    )


def _routes(routes: Iterable[InboundRoute]) -> list[inbound_pb2.HttpRoute]:
    return [
        _HttpRoute(
            metadata=unplaced(route.meta),
            hosts=parts.hosts(route.hosts),
            authorizations=[_authorization(one) for one in route.authorizations],
            rules=[
                _HttpRoute.Rule(
                    matches=[parts.match(one) for one in rule.matches if isinstance(one, HttpMatch)],
                    filters=[kept for one in rule.filters if (kept := _filter(one)) is not None],
                )
                for rule in route.rules
            ],
        )
        for route in routes
    ]


def _grpc_route(route: InboundRoute) -> inbound_pb2.GrpcRoute:
    return _GrpcRoute(
        metadata=unplaced(route.meta),
        hosts=parts.hosts(route.hosts),
        authorizations=[_authorization(one) for one in route.authorizations],
        rules=[
            _GrpcRoute.Rule(
                matches=[parts.grpc_match(one) for one in rule.matches if isinstance(one, GrpcMatch)],
                filters=[
                    _GrpcRoute.Filter(request_header_modifier=parts.request_headers(one.modifier))
                    for one in rule.filters
                    if isinstance(one, RequestHeaders)
                ],
            )
            for rule in route.rules
        ],
    )


def _filter(wanted: Filter) -> inbound_pb2.HttpRoute.Filter | None:
    match wanted:
        case RequestHeaders(modifier):
            return _HttpRoute.Filter(request_header_modifier=parts.request_headers(modifier))
        case Redirect():
            return _HttpRoute.Filter(redirect=parts.redirect(wanted))
        case ResponseHeaders() | Fail():
            # The inbound contract has no place for the first; the second is only made for outbound backends.
            return None


def _authorization(one: Authorization) -> inbound_pb2.Authz:
    return inbound_pb2.Authz(
        networks=networks(one.networks),
        authentication=_clients(one.clients),
        labels=_labels(one.meta),
        metadata=unplaced(one.meta, lower=True),
    )


def networks(blocks: Iterable[Network]) -> list[inbound_pb2.Network]:
    return [_network(block) for block in blocks]


def _network(block: Network) -> inbound_pb2.Network:
    excepted = {"except": [parts.network(one) for one in block.excepted]}
    return inbound_pb2.Network(net=parts.network(block.cidr), **excepted)


def _clients(clients: Unauthenticated | Identities) -> inbound_pb2.Authn:
    authn = inbound_pb2.Authn
    nobody = authn.PermitUnauthenticated()
    match clients:
        case Unauthenticated(tls):
            if tls:
                return authn(meshTLS=authn.PermitMeshTLS(unauthenticated=nobody))
            return authn(unauthenticated=nobody)
        case Identities(exact, suffixes):
            found = authn.PermitMeshTLS.PermitClientIdentities(identities=names(exact), suffixes=endings(suffixes))
            return authn(meshTLS=authn.PermitMeshTLS(identities=found))


def names(exact: Iterable[str]) -> list[inbound_pb2.Identity]:
    return [inbound_pb2.Identity(name=name) for name in exact]


def endings(suffixes: Iterable[tuple[str, ...]]) -> list[inbound_pb2.IdentitySuffix]:
    return [inbound_pb2.IdentitySuffix(parts=labels) for labels in suffixes]


def _labels(about: Meta) -> dict[str, str]:
    match about:
        case Default(name):
            return {"group": "", "kind": "default", "name": name}
        case Resource():
            return {"group": about.group, "kind": about.kind.lower(), "name": about.name}


def unplaced(about: Meta, lower: bool = False) -> meta_pb2.Metadata:
    """Without the namespace, which is the workload's own; the kinds of authorizations are written in lower case."""
    if not isinstance(about, Resource):
        return parts.meta(about)
    return parts.meta(Resource(about.group, about.kind.lower() if lower else about.kind, "", about.name))

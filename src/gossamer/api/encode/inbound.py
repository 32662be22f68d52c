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
    TlsInbound,
    Unauthenticated,
)
from gossamer.model.route import Fail, Filter, Redirect, RequestHeaders, ResponseHeaders
from gossamer.pb.linkerd import grpc_route_pb2, inbound_pb2, meta_pb2

_HttpRoute = inbound_pb2.HttpRoute
_GrpcRoute = inbound_pb2.GrpcRoute


def server(config: InboundConfig) -> inbound_pb2.Server:
    return inbound_pb2.Server(
        protocol=_protocol(config.protocol),
        authorizations=[_authorization(one) for one in config.authorizations],
        labels=_labels(config.meta),
    )


def _protocol(protocol: InboundProtocol) -> inbound_pb2.ProxyProtocol:
    kinds = inbound_pb2.ProxyProtocol
    match protocol:
        case DetectInbound(timeout, routes):
            return kinds(detect=kinds.Detect(timeout=parts.duration(timeout), http_routes=_routes(routes)))
        case Http1Inbound(routes):
            return kinds(http1=kinds.Http1(routes=_routes(routes)))
        case Http2Inbound(routes):
            return kinds(http2=kinds.Http2(routes=_routes(routes)))
        case GrpcInbound(routes):
            return kinds(grpc=kinds.Grpc(routes=[_grpc_route(one) for one in routes]))
        case OpaqueInbound():
            return kinds(opaque=kinds.Opaque())
        case TlsInbound():
            return kinds(tls=kinds.Tls())


def _routes(routes: Iterable[InboundRoute]) -> list[inbound_pb2.HttpRoute]:
    return [
        _HttpRoute(
            metadata=_unplaced(route.meta),
            hosts=parts.hosts(route.hosts),
            authorizations=[_authorization(one) for one in route.authorizations],
            rules=[
                _HttpRoute.Rule(
                    matches=[parts.match(one) for one in rule.matches],
                    filters=[kept for one in rule.filters if (kept := _filter(one)) is not None],
                )
                for rule in route.rules
            ],
        )
        for route in routes
    ]


def _grpc_route(route: InboundRoute) -> inbound_pb2.GrpcRoute:
    """Every call of every service; routes for single methods come with GRPCRoute."""
    every = grpc_route_pb2.GrpcRouteMatch(rpc=grpc_route_pb2.GrpcRpcMatch())
    return _GrpcRoute(metadata=_unplaced(route.meta), rules=[_GrpcRoute.Rule(matches=[every])])


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
        networks=[_network(block) for block in one.networks],
        authentication=_clients(one.clients),
        labels=_labels(one.meta),
        metadata=_unplaced(one.meta, lower=True),
    )


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
            names = authn.PermitMeshTLS.PermitClientIdentities(
                identities=[inbound_pb2.Identity(name=name) for name in exact],
                suffixes=[inbound_pb2.IdentitySuffix(parts=parts) for parts in suffixes],
            )
            return authn(meshTLS=authn.PermitMeshTLS(identities=names))


def _labels(about: Meta) -> dict[str, str]:
    match about:
        case Default(name):
            return {"group": "", "kind": "default", "name": name}
        case Resource():
            return {"group": about.group, "kind": about.kind.lower(), "name": about.name}


def _unplaced(about: Meta, lower: bool = False) -> meta_pb2.Metadata:
    """Without the namespace, which is the workload's own; the kinds of authorizations are written in lower case."""
    if not isinstance(about, Resource):
        return parts.meta(about)
    return parts.meta(Resource(about.group, about.kind.lower() if lower else about.kind, "", about.name))

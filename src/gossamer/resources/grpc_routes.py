"""GRPCRoute, TLSRoute and TCPRoute documents of gateway.networking.k8s.io."""

from __future__ import annotations

import re

from gossamer.model.names import Origin
from gossamer.model.route import GATEWAY_GROUP, BackendRef, GrpcMatch, GrpcRoute, GrpcRule, TcpRoute, TlsRoute
from gossamer.model.traffic import Timeouts
from gossamer.resources import route_parts, traffic
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.traffic import Annotations

_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def grpc_route(document: Reader, metadata: Metadata, origin: Origin) -> GrpcRoute:
    annotations = Annotations(metadata.annotations, document.where)
    limits = traffic.timeouts(annotations)
    with document.required("spec") as spec:
        spec.ignore("useDefaultGateways")
        parents = route_parts.parents(spec, GATEWAY_GROUP, metadata.key.namespace)
        hostnames = route_parts.hostnames(spec)
        rules = tuple(_rule(one, limits) for one in route_parts.rules(spec))
    return GrpcRoute(
        metadata.key,
        parents,
        hostnames,
        rules,
        metadata.created,
        traffic.grpc_retry(annotations),
        traffic.idempotent(annotations),
        origin,
    )


def _rule(reader: Reader, limits: Timeouts) -> GrpcRule:
    with reader:
        reader.ignore("name")
        reader.unsupported("sessionPersistence")
        matches = tuple(_match(one) for one in reader.objects("matches"))
        filters = tuple(route_parts.grpc_filter(one) for one in reader.objects("filters"))
        backends = tuple(route_parts.backend(one, False) for one in reader.objects("backendRefs"))
        return GrpcRule(matches, filters, backends, limits)


def _match(reader: Reader) -> GrpcMatch:
    with reader:
        headers = tuple(route_parts.header_match(one) for one in reader.objects("headers"))
        rpc = reader.object("method")
        if rpc is None:
            return GrpcMatch(headers=headers, rpc=False)
        with rpc:
            if rpc.choice("type", ("Exact", "RegularExpression")) == "RegularExpression":
                rpc.refuse("type", "RegularExpression is not supported", "write Exact")
            service, method = rpc.text("service") or "", rpc.text("method") or ""
            if not service and not method:
                rpc.refuse("service", "needs at least one of service and method")
            if service and not _SERVICE.fullmatch(service):
                rpc.refuse("service", f"{service!r} is not a gRPC service's full name")
            if method and not _METHOD.fullmatch(method):
                rpc.refuse("method", f"{method!r} is not a gRPC method's name")
            return GrpcMatch(service, method, headers)


def tls_route(document: Reader, metadata: Metadata, origin: Origin) -> TlsRoute:
    with document.required("spec") as spec:
        spec.ignore("useDefaultGateways")
        parents = route_parts.parents(spec, GATEWAY_GROUP, metadata.key.namespace)
        hostnames = route_parts.hostnames(spec)
        backends = _backends(route_parts.only_rule(spec))
    return TlsRoute(metadata.key, parents, hostnames, backends, metadata.created, origin)


def tcp_route(document: Reader, metadata: Metadata, origin: Origin) -> TcpRoute:
    with document.required("spec") as spec:
        spec.ignore("useDefaultGateways")
        parents = route_parts.parents(spec, GATEWAY_GROUP, metadata.key.namespace)
        backends = _backends(route_parts.only_rule(spec))
    return TcpRoute(metadata.key, parents, backends, metadata.created, origin)


def _backends(rule: Reader) -> tuple[BackendRef, ...]:
    with rule:
        rule.ignore("name")
        return tuple(route_parts.backend(one, None) for one in rule.objects("backendRefs"))

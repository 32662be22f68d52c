"""How traffic to a target is routed (reference §1.3): a port of a service, or an address outside the mesh."""

from __future__ import annotations

from gossamer.discovery import egress, lookup, splits
from gossamer.discovery.profile import chosen
from gossamer.discovery.splits import DETECT_TIMEOUT, Towards
from gossamer.model.attachment import Parent, routes_of
from gossamer.model.names import Default
from gossamer.model.proxy_config import (
    DetectOutbound,
    Empty,
    FirstAvailable,
    GrpcOutbound,
    Http1Outbound,
    Http2Outbound,
    NotFound,
    OpaqueOutbound,
    OpaqueRoute,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    RouteBackend,
    TlsOutbound,
)
from gossamer.model.route import GRPC_ROUTE, HTTP, TCP_ROUTE, TLS_ROUTE
from gossamer.model.selection import service_is_opaque
from gossamer.model.service import SERVICE, Service, ServicePort
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget, Outbound, Source, Target


def outbound(view: View, asked: Outbound) -> OutboundConfig | NotFound:
    """The policy of a service's port; a port that the service does not define is forbidden, as kube-proxy does."""
    service = _service(view, asked.target)
    if service is None:
        if isinstance(asked.target, AddressTarget):
            return egress.outbound(view, asked.target, asked.source.namespace)
        return NotFound("No such service")
    port = asked.target.port
    defined = service.port(port)
    if defined is None:
        return _undefined(service, port)
    protocol = _protocol(view, service, defined, asked.source)
    profile = chosen(view, service, port, asked.source.namespace)
    return OutboundConfig(lookup.service_meta(service.key, port), protocol, profile)


def _service(view: View, target: Target) -> Service | None:
    if isinstance(target, AddressTarget):
        owner = view.at(target.address)
        return owner if isinstance(owner, Service) else None
    parsed = lookup.parse(target.name, view.mesh.cluster_domain)
    return lookup.find(view, parsed) if parsed and not parsed.instance else None


def _protocol(view: View, service: Service, port: ServicePort, source: Source) -> OutboundProtocol:
    """By `appProtocol`, which wins over opaque ports; one that is not known carries opaque bytes. Of the kinds of
    routes that are attached the first by rank is served."""
    said = port.app_protocol.lower()
    opaque = said not in ("", "http", "kubernetes.io/h2c") or (not said and service_is_opaque(view, service, port.port))
    traffic = service.traffic
    penalty = None if opaque else traffic.penalty
    towards = Towards(splits.balanced(view, service, port.port, penalty), traffic, penalty)
    parent = Parent(SERVICE, service.key, port.port)
    client = source.namespace
    if opaque:
        found = routes_of(view, (TCP_ROUTE,), parent, client)
        return OpaqueOutbound(splits.stream(view, found[0], towards) if found else _opaque(towards))
    if said == "http":
        return Http1Outbound(_http(view, parent, client, towards), traffic.accrual)
    grpc = tuple(splits.http(view, one, towards) for one in routes_of(view, (GRPC_ROUTE,), parent, client))
    if grpc:
        return GrpcOutbound(grpc, traffic.accrual)
    if said:
        return Http2Outbound(_http(view, parent, client, towards), traffic.accrual)
    if not routes_of(view, HTTP, parent, client):
        tls = tuple(splits.stream(view, one, towards) for one in routes_of(view, (TLS_ROUTE,), parent, client))
        if tls:
            return TlsOutbound(tls)
        tcp = routes_of(view, (TCP_ROUTE,), parent, client)
        if tcp:
            return OpaqueOutbound(splits.stream(view, tcp[0], towards))
    routes = _http(view, parent, client, towards)
    return DetectOutbound(DETECT_TIMEOUT, _opaque(towards), routes, routes, traffic.accrual)


def _http(view: View, parent: Parent, client: str, towards: Towards) -> tuple[OutboundRoute, ...]:
    """Those attached, or one for every request."""
    found = tuple(splits.http(view, one, towards) for one in routes_of(view, HTTP, parent, client))
    return found or (splits.every_request("http", towards),)


def _opaque(towards: Towards) -> OpaqueRoute:
    return OpaqueRoute(Default("opaq"), FirstAvailable(RouteBackend(1, towards.own)))


def _undefined(service: Service, port: int) -> OutboundConfig:
    refuse = OpaqueRoute(Default("undefined-port"), Empty(), forbidden=True)
    return OutboundConfig(lookup.service_meta(service.key, port), OpaqueOutbound(refuse))

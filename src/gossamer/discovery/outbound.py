"""How traffic to a target is routed (reference §1.3). What is no service's is NotFound, and forwarded as addressed."""

from __future__ import annotations

from gossamer.discovery import lookup, splits
from gossamer.model.names import Default
from gossamer.model.proxy_config import (
    Backend,
    Balance,
    DetectOutbound,
    Empty,
    FirstAvailable,
    Http1Outbound,
    Http2Outbound,
    NotFound,
    OpaqueOutbound,
    OpaqueRoute,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
)
from gossamer.model.route import How, HttpMatch, PathMatch
from gossamer.model.selection import service_is_opaque
from gossamer.model.service import Service, ServicePort
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget, NameTarget, Outbound, Source, Target

DETECT_TIMEOUT = 10_000
ANY_REQUEST = HttpMatch(path=PathMatch(How.PREFIX, "/"))


def outbound(view: View, asked: Outbound) -> OutboundConfig | NotFound:
    """The policy of a service's port; a port that the service does not define is forbidden, as kube-proxy does."""
    service = _service(view, asked.target)
    if service is None:
        return NotFound("No such service")
    port = asked.target.port
    defined = service.port(port)
    if defined is None:
        return _undefined(service, port)
    return OutboundConfig(lookup.service_meta(service.key, port), _protocol(view, service, defined, asked.source))


def _service(view: View, target: Target) -> Service | None:
    match target:
        case AddressTarget(address):
            owner = view.at(address)
            return owner if isinstance(owner, Service) else None
        case NameTarget(name):
            parsed = lookup.parse(name, view.mesh.cluster_domain)
            return lookup.find(view, parsed) if parsed and not parsed.instance else None


def _protocol(view: View, service: Service, port: ServicePort, source: Source) -> OutboundProtocol:
    """By `appProtocol`, which wins over opaque ports; one that is not known carries opaque bytes."""
    backend = Backend(
        lookup.service_meta(service.key, port.port),
        Balance(lookup.authority(service.key, port.port, view.mesh.cluster_domain)),
    )
    opaque = OpaqueRoute(Default("opaq"), FirstAvailable(RouteBackend(1, backend)))
    match port.app_protocol.lower():
        case "" if not service_is_opaque(view, service, port.port):
            routes = _routes(view, service, port.port, source, backend)
            return DetectOutbound(DETECT_TIMEOUT, opaque, routes, routes)
        case "http":
            return Http1Outbound(_routes(view, service, port.port, source, backend))
        case "kubernetes.io/h2c":
            return Http2Outbound(_routes(view, service, port.port, source, backend))
        case _:
            return OpaqueOutbound(opaque)


def _routes(view: View, service: Service, port: int, source: Source, backend: Backend) -> tuple[OutboundRoute, ...]:
    """Those attached to the service, or one for every request."""
    everything = OutboundRule((ANY_REQUEST,), FirstAvailable(RouteBackend(1, backend)))
    attached = splits.attached(view, service.key, port, source.namespace)
    return tuple(splits.route(view, route, backend) for route in attached) or (
        OutboundRoute(Default("http"), (everything,)),
    )


def _undefined(service: Service, port: int) -> OutboundConfig:
    refuse = OpaqueRoute(Default("undefined-port"), Empty(), forbidden=True)
    return OutboundConfig(lookup.service_meta(service.key, port), OpaqueOutbound(refuse))

"""Where the traffic of a service's port goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gossamer.discovery import lookup
from gossamer.discovery.endpoint import Peer, endpoint_of, reachable
from gossamer.model.facets import ANYTHING, of_service, wanted
from gossamer.model.names import IPAddress, Key, Kind
from gossamer.model.proxy_config import Endpoint, EndpointSet, Invalid, NotFound, Site
from gossamer.model.service import ENDPOINT_SLICE, EndpointSlice, Service, ServicePort, SliceEndpoint
from gossamer.model.snapshot import View
from gossamer.model.subscription import Endpoints, Source
from gossamer.model.workload import EXTERNAL_WORKLOAD, WORKLOAD, ExternalWorkload, Workload

P = TypeVar("P", Workload, ExternalWorkload)


def endpoints(view: View, asked: Endpoints) -> EndpointSet | NotFound | Invalid:
    """Every ready endpoint, sorted; NotFound without a service, Invalid for what is not a service's name."""
    name = lookup.parse(asked.target.name, view.mesh.cluster_domain)
    service = lookup.find(view, name) if name else None
    if name is None or (service is not None and service.external_name):
        return Invalid(f"Invalid authority: {asked.target.name}:{asked.target.port}")
    if service is None:
        return NotFound(f"Service {name.service.name}.{name.service.namespace} not found")
    candidates = _near(list(_candidates(view, service, asked, name.instance)), service, asked.source)
    found = {_place(one.endpoint): _located(one.endpoint, asked.source) for one in candidates}
    ordered = sorted(found.values(), key=lambda one: (one.address.version, *_place(one)))
    return EndpointSet(tuple(ordered), {"namespace": service.key.namespace, "service": service.key.name})


def _place(one: Endpoint) -> tuple[IPAddress, int, int]:
    """What tells endpoints apart: workloads of another machine share its address."""
    return (one.address, one.port, one.inbound_port or 0)


def members(view: View, service: Service) -> Iterator[Workload]:
    """The workloads that are endpoints of a service when they are ready: selected by it, or started for it."""
    owned = view.about(WORKLOAD, of_service(service.key.name), service.key.namespace, service.key.cluster)
    yield from owned.values()
    for name, workload in _selectable(view, WORKLOAD, service).items():
        if name not in owned and service.selector is not None and service.selector.matches(workload.labels):
            yield workload


def instance_name(workload: Workload) -> str:
    """What stands before the service's name in the name of one of its workloads."""
    return workload.hostname or workload.key.name


def instance(view: View, service: Key, name: str) -> Workload | None:
    """The workload that `name.service.namespace.svc…` names, ready or not."""
    found = lookup.find(view, lookup.ServiceName(service))
    return next((one for one in members(view, found) if instance_name(one) == name), None) if found else None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An endpoint with what decides whether this client should use it."""

    endpoint: Endpoint
    node: str = ""
    for_zones: tuple[str, ...] = ()


def _candidates(view: View, service: Service, asked: Endpoints, instance: str) -> Iterator[_Candidate]:
    """From what is written, then from the workloads themselves: of two for one address the later one stays."""
    port, source = asked.target.port, asked.source
    named = service.port(port)
    key = service.key
    for written in view.about(ENDPOINT_SLICE, of_service(key.name), key.namespace, key.cluster).values():
        yield from _of_slice(view, service, written, _slice_port(written, named, port), instance, source)
    if not instance:
        yield from _externals(view, service, named, asked)
    for workload in members(view, service):
        target = listens_on(service, workload, named, port)
        wanted = not instance or instance_name(workload) == instance
        shown = (workload.ready or service.publish_not_ready) and reachable(workload, source)
        if target is not None and wanted and shown:
            yield _Candidate(endpoint_of(view, workload, target, workload.address, source), workload.node)


def _externals(view: View, service: Service, named: ServicePort | None, asked: Endpoints) -> Iterator[_Candidate]:
    for external in _selectable(view, EXTERNAL_WORKLOAD, service).values():
        target = listens_on(service, external, named, asked.target.port)
        selected = service.selector is not None and service.selector.matches(external.labels)
        if target is not None and external.ready and selected and not external.owned:
            for address in external.addresses:
                yield _Candidate(endpoint_of(view, external, target, address, asked.source))


def _selectable(view: View, kind: Kind[P], service: Service) -> Mapping[str, P]:
    """Those that the service's selector may match: all that have one of its labels."""
    if service.selector is None:
        return {}
    facet, key = wanted(service.selector), service.key
    if facet == ANYTHING:
        return view.within(kind, key.namespace, key.cluster)
    return view.about(kind, facet, key.namespace, key.cluster)


def _of_slice(
    view: View, service: Service, written: EndpointSlice, port: int | None, instance: str, source: Source
) -> Iterator[_Candidate]:
    for one in written.endpoints if port is not None else ():
        wanted = not instance or instance in (one.hostname, one.target.name if one.target else "")
        if wanted and (one.ready or service.publish_not_ready):
            peer = _peer(view, one)
            if peer is not None and not reachable(peer, source):
                continue
            for address in one.addresses:
                site = Site(service.key.cluster, one.node, one.zone)
                plain = Endpoint(address, port or 0, labels={"zone": one.zone}, site=site)
                endpoint = endpoint_of(view, peer, port or 0, address, source, one.zone, one.node) if peer else plain
                yield _Candidate(endpoint, one.node, one.for_zones)


def _slice_port(written: EndpointSlice, named: ServicePort | None, port: int) -> int | None:
    """A slice's port is the service's of the same name; one that the service does not define is asked for directly."""
    if named is None:
        return next((one.port for one in written.ports if one.port == port), None)
    return next((one.port for one in written.ports if one.name == named.name), None)


def _peer(view: View, one: SliceEndpoint) -> Peer | None:
    """What is behind a written endpoint, as far as it is known here."""
    if one.target is not None and one.target_kind == "Pod":
        return view.get(WORKLOAD, one.target)
    if one.target is not None and one.target_kind == EXTERNAL_WORKLOAD.name:
        return view.get(EXTERNAL_WORKLOAD, one.target)
    owner = view.at(one.addresses[0]) if one.addresses else None
    return owner if isinstance(owner, Workload | ExternalWorkload) else None


def listens_on(service: Service, peer: Peer, named: ServicePort | None, port: int) -> int | None:
    """The port at which the program listens; None when it has no port of the name that the service asks for."""
    if service.owned:
        own = next((one.target for one in peer.ports if one.port == port), None)
        if own is not None:
            return own
    if named is None:
        return port
    if isinstance(named.target, int):
        return named.target
    return next((one.target for one in peer.ports if one.name == named.target), None)


def _near(candidates: list[_Candidate], service: Service, source: Source) -> Iterable[_Candidate]:
    """Those of the client's node where the service says so, else of its zone where every endpoint has hints."""
    if service.local_only:
        return [one for one in candidates if one.node == source.node]
    if source.zone and all(one.for_zones for one in candidates):
        return [one for one in candidates if source.zone in one.for_zones] or candidates
    return candidates


def _located(endpoint: Endpoint, source: Source) -> Endpoint:
    zone = endpoint.labels.get("zone", "")
    known = bool(zone and source.zone)
    locality = ("local" if zone == source.zone else "remote") if known else "unknown"
    return replace(endpoint, labels={**endpoint.labels, "zone_locality": locality})

"""What a target is: a service, one endpoint, or nothing known (reference §2.1, GetProfile)."""

from __future__ import annotations

from dataclasses import replace

from gossamer.discovery import lookup
from gossamer.discovery.endpoint import Peer, endpoint_of
from gossamer.discovery.endpoints import instance
from gossamer.model.names import IPAddress, Key, meta, service_name
from gossamer.model.profile import SERVICE_PROFILE, ServiceProfile
from gossamer.model.proxy_config import Invalid, NotFound, ProfileConfig
from gossamer.model.selection import service_is_opaque, takes_opaque
from gossamer.model.service import Service
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget, NameTarget, Profile, Source


def profile(view: View, asked: Profile) -> ProfileConfig | NotFound | Invalid:
    match asked.target:
        case AddressTarget(address, port):
            return _by_address(view, address, port, asked.source)
        case NameTarget(name, port):
            return _by_name(view, name, port, asked.source)


def _by_address(view: View, address: IPAddress, port: int, source: Source) -> ProfileConfig:
    owner = view.at(address)
    if owner is None:
        return ProfileConfig(opaque=port in view.mesh.opaque_ports)
    if isinstance(owner, Service):
        return _of_service(view, owner, port, source.namespace)
    return _of_peer(view, owner, port, address, source)


def _by_name(view: View, name: str, port: int, source: Source) -> ProfileConfig | NotFound | Invalid:
    parsed = lookup.parse(name, view.mesh.cluster_domain)
    if parsed is None:
        return Invalid(f"invalid service {name!r}")
    if parsed.instance:
        workload = instance(view, parsed.service, parsed.instance)
        if workload is None:
            return NotFound(f"{name} not found")
        return _of_peer(view, workload, port, workload.address, source)
    service = lookup.find(view, parsed)
    if service is None:
        return NotFound(f"Service {parsed.service.name}.{parsed.service.namespace} not found")
    return _of_service(view, service, port, source.namespace)


def _of_service(view: View, service: Service, port: int, client: str) -> ProfileConfig:
    defined = service.port(port)
    if defined is None:
        # Forbidden, but only the policy can say so; an empty profile makes the sidecar ask it.
        return ProfileConfig(retry_budget=None)
    plain = ProfileConfig(
        name=service_name(service.key, view.mesh.cluster_domain),
        opaque=not defined.app_protocol and service_is_opaque(view, service, port),
        parent=lookup.service_meta(service.key, port),
    )
    written = written_for(view, service, client)
    return plain if written is None else _with(plain, written, port)


def written_for(view: View, service: Service, client: str) -> ServiceProfile | None:
    """The ServiceProfile about a service: the client's, of its own namespace, else the service's."""
    name = service_name(service.key, view.mesh.cluster_domain)
    for namespace in (client, service.key.namespace):
        found = view.get(SERVICE_PROFILE, Key(service.key.cluster, namespace, name))
        if found is not None:
            return found
    return None


def chosen(view: View, service: Service, port: int, client: str) -> ProfileConfig | None:
    """The profile that decides instead of routes: one with routes or overrides (reference §1.3)."""
    written = written_for(view, service, client)
    if written is None or not (written.routes or written.overrides):
        return None
    return _of_service(view, service, port, client)


def _with(plain: ProfileConfig, written: ServiceProfile, port: int) -> ProfileConfig:
    """An override that names no port is for the port that was asked for."""
    overrides = tuple(
        replace(one, authority=one.authority if ":" in one.authority else f"{one.authority}:{port}")
        for one in written.overrides
    )
    return replace(
        plain,
        opaque=plain.opaque or port in written.opaque_ports,
        retry_budget=written.retry_budget or plain.retry_budget,
        routes=written.routes,
        overrides=overrides,
        profile=meta(SERVICE_PROFILE, written.key),
    )


def _of_peer(view: View, peer: Peer, port: int, address: IPAddress, source: Source) -> ProfileConfig:
    endpoint = endpoint_of(view, peer, port, address, source)
    labels = {**endpoint.labels, "namespace": peer.key.namespace}
    return ProfileConfig(opaque=takes_opaque(view, peer, port), endpoint=replace(endpoint, labels=labels))

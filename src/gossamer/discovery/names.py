"""Every name of the mesh, for a sidecar's DNS stub (seams 15, 17)."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.discovery.endpoints import instance_name, listens_on, members
from gossamer.model.names import IPAddress, service_name
from gossamer.model.proxy_config import NamesTable
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View
from gossamer.model.subscription import Names
from gossamer.model.workload import Workload

Place = tuple[str, int]
"""A name of the table, and a port."""


def names(view: View, asked: Names) -> NamesTable:
    """A name without addresses exists and has none now."""
    domain = view.mesh.cluster_domain
    table: dict[str, tuple[IPAddress, ...]] = {}
    ports: dict[str, tuple[Place, ...]] = {}
    for services in view.all(SERVICE).values():
        for service in services.values():
            if not service.external_name:
                name = service_name(service.key, domain)
                ready = tuple(_ready(view, service)) if service.headless else ()
                table.update(_addresses(service, name, ready))
                ports.update(_named_ports(service, name, ready))
    return NamesTable(
        dict(sorted(table.items())),
        (f"svc.{domain}",),
        (f"{asked.source.namespace}.svc.{domain}", f"svc.{domain}", domain),
        dict(sorted(ports.items())),
    )


def _ready(view: View, service: Service) -> Iterator[Workload]:
    return (one for one in members(view, service) if one.ready or service.publish_not_ready)


def _addresses(service: Service, name: str, ready: tuple[Workload, ...]) -> Iterator[tuple[str, tuple[IPAddress, ...]]]:
    """The service's name; and those of its workloads, for a headless service, which has nothing else."""
    if not service.headless:
        yield name, service.cluster_ips
        return
    yield name, tuple(sorted({one.address for one in ready}, key=lambda ip: (ip.version, ip)))
    for workload in ready:
        yield f"{instance_name(workload)}.{name}", (workload.address,)


def _named_ports(service: Service, name: str, ready: tuple[Workload, ...]) -> Iterator[tuple[str, tuple[Place, ...]]]:
    """`_http._tcp.web.…` (RFC 2782): the service itself, or the workloads of a headless one and their own ports."""
    for port in service.ports:
        if not port.name:
            continue
        places: tuple[Place, ...] = ((name, port.port),)
        if service.headless:
            found = ((instance_name(one), listens_on(service, one, port, port.port)) for one in ready)
            places = tuple(sorted((f"{instance}.{name}", target) for instance, target in found if target is not None))
        yield f"_{port.name}._tcp.{name}", places

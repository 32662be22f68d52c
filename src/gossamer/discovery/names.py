"""Every name of the mesh, for a sidecar's DNS stub (seams 15, 17)."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.discovery.endpoints import instance_name, members
from gossamer.model.names import IPAddress, service_name
from gossamer.model.proxy_config import NamesTable
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View
from gossamer.model.subscription import Names


def names(view: View, asked: Names) -> NamesTable:
    """A name without addresses exists and has none now."""
    domain = view.mesh.cluster_domain
    table: dict[str, tuple[IPAddress, ...]] = {}
    for services in view.all(SERVICE).values():
        for service in services.values():
            if not service.external_name:
                table.update(_of(view, service, service_name(service.key, domain)))
    return NamesTable(
        dict(sorted(table.items())),
        (f"svc.{domain}",),
        (f"{asked.source.namespace}.svc.{domain}", f"svc.{domain}", domain),
    )


def _of(view: View, service: Service, name: str) -> Iterator[tuple[str, tuple[IPAddress, ...]]]:
    """The service's name; and those of its workloads, for a headless service, which has nothing else."""
    if not service.headless:
        yield name, service.cluster_ips
        return
    ready = [one for one in members(view, service) if one.ready or service.publish_not_ready]
    yield name, tuple(sorted({one.address for one in ready}, key=lambda ip: (ip.version, ip)))
    for workload in ready:
        yield f"{instance_name(workload)}.{name}", (workload.address,)

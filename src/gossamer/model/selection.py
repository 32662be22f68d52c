"""Which resources are about a workload's port. Questions that both the server's side and the client's side ask."""

from __future__ import annotations

from gossamer.model.authorization import SERVER, Server, ServerProtocol
from gossamer.model.egress import EgressNetwork
from gossamer.model.facets import possible
from gossamer.model.names import namespace_key
from gossamer.model.service import Service
from gossamer.model.snapshot import View
from gossamer.model.workload import NAMESPACE, ExternalWorkload, Workload


def server_for(view: View, workload: Workload | ExternalWorkload, port: int) -> Server | None:
    """The Server that decides for a port: of several, the oldest, then the first by name."""
    key = workload.key
    chosen = [
        server
        for facet in possible(workload.labels)
        for server in view.about(SERVER, facet, key.namespace, key.cluster).values()
        if _selects(server, workload, port)
    ]
    return min(chosen, key=lambda server: (server.created == 0, server.created, server.key.name), default=None)


def is_opaque(view: View, workload: Workload | ExternalWorkload, port: int) -> bool:
    """Whether a port that no Server selects carries bytes that must not be looked into."""
    if any(known.target == port and known.opaque for known in workload.ports):
        return True
    if workload.opaque_ports is not None:
        return port in workload.opaque_ports
    namespace = view.get(NAMESPACE, namespace_key(workload.key))
    if namespace is not None and namespace.opaque_ports is not None:
        return port in namespace.opaque_ports
    return port in view.mesh.opaque_ports


def takes_opaque(view: View, workload: Workload | ExternalWorkload, port: int) -> bool:
    """Whether clients should send a port plain bytes: its Server says so, or, where that says nothing, its settings."""
    server = server_for(view, workload, port)
    if server is None or server.protocol is ServerProtocol.UNKNOWN:
        return is_opaque(view, workload, port)
    return server.protocol is ServerProtocol.OPAQUE


def service_is_opaque(view: View, service: Service, port: int) -> bool:
    """Whether a service's port is annotated, or by default, opaque. `appProtocol` is looked at before this."""
    if service.opaque_ports is not None:
        return port in service.opaque_ports
    namespace = view.get(NAMESPACE, namespace_key(service.key))
    if namespace is not None and namespace.opaque_ports is not None:
        return port in namespace.opaque_ports
    return port in view.mesh.opaque_ports


def egress_is_opaque(view: View, network: EgressNetwork, port: int) -> bool:
    """By its own annotation, or else the mesh's default."""
    ports = view.mesh.opaque_ports if network.opaque_ports is None else network.opaque_ports
    return port in ports


def _selects(server: Server, workload: Workload | ExternalWorkload, port: int) -> bool:
    """Programs started by `run` are this mesh's pods, and match the selector of external workloads too."""
    if isinstance(workload, ExternalWorkload):
        selectors = [server.external_workload_selector]
    else:
        selectors = [server.pod_selector, server.external_workload_selector]
    if not any(selector is not None and selector.matches(workload.labels) for selector in selectors):
        return False
    if isinstance(server.port, int):
        return server.port == port
    return any(named.name == server.port and named.target == port for named in workload.ports)

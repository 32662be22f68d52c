"""The policy of one port of one workload (reference §1.4)."""

from __future__ import annotations

from gossamer.model.authorization import SERVER, DefaultPolicy, Server, ServerProtocol
from gossamer.model.names import Default, meta, namespace_key
from gossamer.model.proxy_config import (
    DetectInbound,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    InboundConfig,
    InboundProtocol,
    NotFound,
    OpaqueInbound,
    TlsInbound,
)
from gossamer.model.snapshot import View
from gossamer.model.subscription import Inbound
from gossamer.model.workload import EXTERNAL_WORKLOAD, NAMESPACE, WORKLOAD, ExternalWorkload, Workload
from gossamer.policy import authorize, routes

DETECT_TIMEOUT = 10_000


def inbound(view: View, asked: Inbound) -> InboundConfig | NotFound:
    """The Server that selects the port, or the default policy that holds where none does."""
    workload = _workload(view, asked)
    if workload is None:
        return NotFound("unknown server")
    audit = authorize.audited(view, workload.key)
    server = server_for(view, workload, asked.port)
    if server is None:
        policy = default_policy(view, workload)
        return InboundConfig(
            Default(policy.value),
            OpaqueInbound() if is_opaque(view, workload, asked.port) else DetectInbound(DETECT_TIMEOUT, routes.DEFAULT),
            (*authorize.by_default(view, policy), *audit),
        )
    return InboundConfig(
        meta(SERVER, server.key), _protocol(view, server), (*authorize.for_server(view, server), *audit)
    )


def server_for(view: View, workload: Workload | ExternalWorkload, port: int) -> Server | None:
    """The Server that decides for a port: of several, the oldest, then the first by name."""
    servers = view.within(SERVER, workload.key.namespace, workload.key.cluster)
    chosen = [server for server in servers.values() if selects(server, workload, port)]
    return min(chosen, key=lambda server: (server.created == 0, server.created, server.key.name), default=None)


def selects(server: Server, workload: Workload | ExternalWorkload, port: int) -> bool:
    """Whether a Server is about this port. Programs started by `run` are pods and external workloads alike."""
    if isinstance(workload, ExternalWorkload):
        selectors = [server.external_workload_selector]
    else:
        selectors = [server.pod_selector, server.external_workload_selector]
    if not any(selector is not None and selector.matches(workload.labels) for selector in selectors):
        return False
    if isinstance(server.port, int):
        return server.port == port
    return any(named.name == server.port and named.target == port for named in workload.ports)


def default_policy(view: View, workload: Workload | ExternalWorkload) -> DefaultPolicy:
    """The nearest annotation: the workload's, its namespace's, else the mesh's setting. Read live, not at start."""
    if workload.default_policy is not None:
        return workload.default_policy
    namespace = view.get(NAMESPACE, namespace_key(workload.key))
    inherited = namespace.default_policy if namespace else None
    return inherited or view.mesh.default_policy


def is_opaque(view: View, workload: Workload | ExternalWorkload, port: int) -> bool:
    """Whether a port no Server selects carries bytes that must not be looked into."""
    if any(known.target == port and known.opaque for known in workload.ports):
        return True
    if workload.opaque_ports is not None:
        return port in workload.opaque_ports
    namespace = view.get(NAMESPACE, namespace_key(workload.key))
    if namespace is not None and namespace.opaque_ports is not None:
        return port in namespace.opaque_ports
    return port in view.mesh.opaque_ports


def _workload(view: View, asked: Inbound) -> Workload | ExternalWorkload | None:
    if asked.external:
        return view.get(EXTERNAL_WORKLOAD, asked.workload)
    return view.get(WORKLOAD, asked.workload)


def _protocol(view: View, server: Server) -> InboundProtocol:
    match server.protocol:
        case ServerProtocol.UNKNOWN:
            return DetectInbound(DETECT_TIMEOUT, routes.for_server(view, server))
        case ServerProtocol.HTTP1:
            return Http1Inbound(routes.for_server(view, server))
        case ServerProtocol.HTTP2:
            return Http2Inbound(routes.for_server(view, server))
        case ServerProtocol.GRPC:
            return GrpcInbound(routes.DEFAULT)
        case ServerProtocol.OPAQUE:
            return OpaqueInbound()
        case ServerProtocol.TLS:
            return TlsInbound()

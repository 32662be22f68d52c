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
from gossamer.model.selection import is_opaque, server_for
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
        public = isinstance(workload, Workload) and asked.port in workload.public_ports
        return InboundConfig(
            Default(policy.value),
            OpaqueInbound() if is_opaque(view, workload, asked.port) else DetectInbound(DETECT_TIMEOUT, routes.DEFAULT),
            (*authorize.by_default(view, policy), *(authorize.published() if public else ()), *audit),
        )
    return InboundConfig(
        meta(SERVER, server.key), _protocol(view, server), (*authorize.for_server(view, server), *audit)
    )


def default_policy(view: View, workload: Workload | ExternalWorkload) -> DefaultPolicy:
    """The nearest annotation: the workload's, its namespace's, else the mesh's setting. Read live, not at start."""
    if workload.default_policy is not None:
        return workload.default_policy
    namespace = view.get(NAMESPACE, namespace_key(workload.key))
    inherited = namespace.default_policy if namespace else None
    return inherited or view.mesh.default_policy


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

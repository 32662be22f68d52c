"""The policy of one port of one workload (reference §1.4)."""

from __future__ import annotations

from gossamer.model.attachment import limit_of
from gossamer.model.authorization import RATE_LIMIT_POLICY, SERVER, DefaultPolicy, Server, ServerProtocol
from gossamer.model.names import Default, Meta, meta, namespace_key
from gossamer.model.proxy_config import (
    DetectInbound,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    InboundConfig,
    InboundProtocol,
    InboundRoute,
    NotFound,
    OpaqueInbound,
    RateLimit,
    TlsInbound,
)
from gossamer.model.selection import is_opaque, server_for
from gossamer.model.snapshot import View
from gossamer.model.subscription import Inbound
from gossamer.model.workload import EXTERNAL_WORKLOAD, NAMESPACE, WORKLOAD, ExternalWorkload, Workload
from gossamer.policy import access, authorize, routes

DETECT_TIMEOUT = 10_000


def inbound(view: View, asked: Inbound) -> InboundConfig | NotFound:
    """The Server that selects the port, or the default policy that holds where none does."""
    workload = _workload(view, asked)
    if workload is None:
        return NotFound("unknown server")
    server = server_for(view, workload, asked.port)
    if server is None:
        policy = default_policy(view, workload, asked.port)
        public = isinstance(workload, Workload) and asked.port in workload.public_ports
        about: Meta = Default(policy.value)
        protocol = _undeclared(view, workload, asked.port)
        admitted = (*authorize.by_default(view, policy), *(authorize.published() if public else ()))
    else:
        about = meta(SERVER, server.key)
        protocol = _protocol(view, server, routes.probes(view, workload, asked.port))
        admitted = authorize.for_server(view, server)
    rules = access.rules(view, workload, asked.port, server, routes_in(protocol))
    audit = authorize.audited(view, workload.key)
    return InboundConfig(about, protocol, (*admitted, *audit), rules, bool(rules and audit))


def routes_in(protocol: InboundProtocol) -> tuple[InboundRoute, ...]:
    match protocol:
        case DetectInbound() | Http1Inbound() | Http2Inbound() | GrpcInbound():
            return protocol.routes
        case _:
            return ()


def default_policy(view: View, workload: Workload | ExternalWorkload, port: int = 0) -> DefaultPolicy:
    """The nearest annotation: the workload's, its namespace's, else the mesh's setting. Read live, not at start."""
    found = workload.default_policy
    if found is None:
        namespace = view.get(NAMESPACE, namespace_key(workload.key))
        found = (namespace.default_policy if namespace else None) or view.mesh.default_policy
    requires = (
        isinstance(workload, Workload) and workload.identity_ports is not None and port in workload.identity_ports
    )
    return authorize.with_identity(found) if requires else found


def _workload(view: View, asked: Inbound) -> Workload | ExternalWorkload | None:
    if asked.external:
        return view.get(EXTERNAL_WORKLOAD, asked.workload)
    return view.get(WORKLOAD, asked.workload)


def _undeclared(view: View, workload: Workload | ExternalWorkload, port: int) -> InboundProtocol:
    if is_opaque(view, workload, port):
        return OpaqueInbound()
    return DetectInbound(DETECT_TIMEOUT, (*routes.DEFAULT, *routes.probes(view, workload, port)))


def _protocol(view: View, server: Server, probes: tuple[InboundRoute, ...]) -> InboundProtocol:
    match server.protocol:
        case ServerProtocol.UNKNOWN:
            return DetectInbound(DETECT_TIMEOUT, (*routes.http(view, server), *probes), _limit(view, server))
        case ServerProtocol.HTTP1:
            return Http1Inbound((*routes.http(view, server), *probes), _limit(view, server))
        case ServerProtocol.HTTP2:
            return Http2Inbound((*routes.http(view, server), *probes), _limit(view, server))
        case ServerProtocol.GRPC:
            return GrpcInbound(routes.grpc(view, server))
        case ServerProtocol.OPAQUE:
            return OpaqueInbound()
        case ServerProtocol.TLS:
            return TlsInbound()


def _limit(view: View, server: Server) -> RateLimit | None:
    policy = limit_of(view, server)
    if policy is None:
        return None
    overrides = tuple(
        (
            one.per_second,
            tuple(
                authorize.account(view, within or policy.key.namespace, name) for within, name in one.service_accounts
            ),
        )
        for one in policy.overrides
    )
    return RateLimit(meta(RATE_LIMIT_POLICY, policy.key), policy.total, policy.identity, overrides)

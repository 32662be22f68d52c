"""Every kind of resource there is."""

from __future__ import annotations

from typing import Any

from gossamer.model.access import ACCESS_POLICY, MESH_ACCESS_POLICY, AccessPolicy
from gossamer.model.authorization import (
    AUDIT_WINDOW,
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    RATE_LIMIT_POLICY,
    SERVER,
    SERVER_AUTHORIZATION,
    AuditWindow,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    RateLimitPolicy,
    Server,
    ServerAuthorization,
)
from gossamer.model.egress import EGRESS_NETWORK, FAULT_INJECTION, EgressNetwork, FaultInjection
from gossamer.model.names import Kind
from gossamer.model.profile import SERVICE_PROFILE, ServiceProfile
from gossamer.model.route import (
    GRPC_ROUTE,
    HTTP_ROUTE,
    POLICY_HTTP_ROUTE,
    TCP_ROUTE,
    TLS_ROUTE,
    GrpcRoute,
    HttpRoute,
    TcpRoute,
    TlsRoute,
)
from gossamer.model.service import ENDPOINT_SLICE, SERVICE, EndpointSlice, Service
from gossamer.model.workload import (
    EXTERNAL_WORKLOAD,
    NAMESPACE,
    SERVICE_ACCOUNT,
    WORKLOAD,
    ExternalWorkload,
    Namespace,
    ServiceAccount,
    Workload,
)

Object = (
    Workload
    | ExternalWorkload
    | ServiceAccount
    | Namespace
    | Service
    | EndpointSlice
    | Server
    | AuthorizationPolicy
    | MeshTLSAuthentication
    | NetworkAuthentication
    | ServerAuthorization
    | RateLimitPolicy
    | AccessPolicy
    | HttpRoute
    | GrpcRoute
    | TlsRoute
    | TcpRoute
    | EgressNetwork
    | ServiceProfile
    | FaultInjection
    | AuditWindow
)

# What people may write, in the order it is listed to them.
WRITABLE: tuple[Kind[Any], ...] = (
    NAMESPACE,
    SERVICE_ACCOUNT,
    SERVICE,
    ENDPOINT_SLICE,
    EXTERNAL_WORKLOAD,
    SERVER,
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER_AUTHORIZATION,
    RATE_LIMIT_POLICY,
    ACCESS_POLICY,
    MESH_ACCESS_POLICY,
    HTTP_ROUTE,
    POLICY_HTTP_ROUTE,
    GRPC_ROUTE,
    TLS_ROUTE,
    TCP_ROUTE,
    EGRESS_NETWORK,
    SERVICE_PROFILE,
    FAULT_INJECTION,
)
ALL: tuple[Kind[Any], ...] = (WORKLOAD, AUDIT_WINDOW, *WRITABLE)


def called(name: str) -> tuple[Kind[Any], ...]:
    """The kinds a person may mean: "server", "servers", "srv", "servers.policy.linkerd.io". Empty when none."""
    word, _, group = name.lower().partition(".")
    return tuple(
        kind
        for kind in ALL
        if word in (kind.name.lower(), kind.plural, *kind.short) and (not group or group == kind.group)
    )

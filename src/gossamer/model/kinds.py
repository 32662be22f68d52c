"""Every kind of resource there is."""

from __future__ import annotations

from typing import Any

from gossamer.model.authorization import (
    AUDIT_WINDOW,
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER,
    SERVER_AUTHORIZATION,
    AuditWindow,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Server,
    ServerAuthorization,
)
from gossamer.model.names import Kind
from gossamer.model.route import HTTP_ROUTE, POLICY_HTTP_ROUTE, HttpRoute
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
    | HttpRoute
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
    HTTP_ROUTE,
    POLICY_HTTP_ROUTE,
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

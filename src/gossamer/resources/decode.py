"""One document → one value of the model, or InvalidResource naming the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gossamer.model.access import ACCESS_POLICY, MESH_ACCESS_POLICY
from gossamer.model.authorization import (
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    RATE_LIMIT_POLICY,
    SERVER,
    SERVER_AUTHORIZATION,
)
from gossamer.model.egress import EGRESS_NETWORK, FAULT_INJECTION
from gossamer.model.kinds import Object
from gossamer.model.names import Kind, Origin
from gossamer.model.profile import SERVICE_PROFILE
from gossamer.model.route import GRPC_ROUTE, HTTP_ROUTE, POLICY_HTTP_ROUTE, TCP_ROUTE, TLS_ROUTE
from gossamer.model.service import ENDPOINT_SLICE, SERVICE
from gossamer.model.workload import EXTERNAL_WORKLOAD, NAMESPACE, SERVICE_ACCOUNT
from gossamer.resources import (
    access,
    authentications,
    authorizations,
    egress,
    grpc_routes,
    metadata,
    profiles,
    routes,
    services,
    workloads,
)
from gossamer.resources.metadata import Metadata
from gossamer.resources.problem import Where
from gossamer.resources.reader import Reader

Decoder = Callable[[Reader, Metadata, Origin], Object]


def decode(
    document: Mapping[str, Any],
    where: Where,
    source: str = "store",
    namespace: str = "default",
    lenient: bool = False,
) -> Object:
    """`source` is who says so (the name given to `State.apply`); `namespace` is for documents that name none.

    `lenient` is for what an API server has admitted already: as Linkerd does, unknown fields say nothing, and an
    annotation about traffic that cannot be read leaves the Service without that setting instead of without a mesh.
    """
    kind = metadata.kind_of(document, where)
    with Reader(document, "", where, lenient) as reader:
        reader.ignore("apiVersion", "kind", "status")
        found = metadata.read(reader, kind, namespace)
        return _DECODERS[kind](reader, found, Origin(source, where.source, where.line))


_DECODERS: dict[Kind[Any], Decoder] = {
    NAMESPACE: workloads.namespace,
    SERVICE_ACCOUNT: workloads.service_account,
    EXTERNAL_WORKLOAD: workloads.external_workload,
    SERVICE: services.service,
    ENDPOINT_SLICE: services.endpoint_slice,
    SERVER: authorizations.server,
    AUTHORIZATION_POLICY: authorizations.authorization_policy,
    SERVER_AUTHORIZATION: authorizations.server_authorization,
    MESH_TLS_AUTHENTICATION: authentications.mesh_tls,
    NETWORK_AUTHENTICATION: authentications.network,
    HTTP_ROUTE: routes.http_route,
    POLICY_HTTP_ROUTE: routes.policy_http_route,
    GRPC_ROUTE: grpc_routes.grpc_route,
    TLS_ROUTE: grpc_routes.tls_route,
    TCP_ROUTE: grpc_routes.tcp_route,
    RATE_LIMIT_POLICY: authorizations.rate_limit_policy,
    EGRESS_NETWORK: egress.egress_network,
    SERVICE_PROFILE: profiles.service_profile,
    ACCESS_POLICY: access.access_policy,
    MESH_ACCESS_POLICY: access.mesh_access_policy,
    FAULT_INJECTION: egress.fault_injection,
}

"""One document → one value of the model, or InvalidResource naming the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gossamer.model.authorization import (
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER,
    SERVER_AUTHORIZATION,
)
from gossamer.model.kinds import Object
from gossamer.model.names import Kind, Origin
from gossamer.model.route import HTTP_ROUTE, POLICY_HTTP_ROUTE
from gossamer.model.service import ENDPOINT_SLICE, SERVICE
from gossamer.model.workload import EXTERNAL_WORKLOAD, NAMESPACE, SERVICE_ACCOUNT
from gossamer.resources import authentications, authorizations, metadata, routes, services, workloads
from gossamer.resources.metadata import Metadata
from gossamer.resources.problem import Where
from gossamer.resources.reader import Reader

Decoder = Callable[[Reader, Metadata, Origin], Object]


def decode(document: Mapping[str, Any], where: Where, source: str = "store", namespace: str = "default") -> Object:
    """`source` is who says so (the name given to `State.apply`); `namespace` is for documents that name none."""
    kind = metadata.kind_of(document, where)
    with Reader(document, "", where) as reader:
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
}

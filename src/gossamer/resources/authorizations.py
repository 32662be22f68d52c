"""Server, AuthorizationPolicy and ServerAuthorization documents (policy.linkerd.io)."""

from __future__ import annotations

from gossamer.model.authorization import (
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER,
    AuthorizationPolicy,
    ClientAuthorization,
    DefaultPolicy,
    RateLimitOverride,
    RateLimitPolicy,
    Server,
    ServerAuthorization,
    ServerProtocol,
)
from gossamer.model.names import Origin
from gossamer.model.route import GRPC_ROUTE, HTTP_ROUTE, POLICY_HTTP_ROUTE
from gossamer.model.selector import Selector
from gossamer.model.workload import NAMESPACE, SERVICE_ACCOUNT
from gossamer.resources import values
from gossamer.resources.authentications import networks
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.references import target_ref

TARGETS = (SERVER, HTTP_ROUTE, POLICY_HTTP_ROUTE, GRPC_ROUTE, NAMESPACE)
AUTHENTICATIONS = (MESH_TLS_AUTHENTICATION, NETWORK_AUTHENTICATION, SERVICE_ACCOUNT)


def server(document: Reader, metadata: Metadata, origin: Origin) -> Server:
    """`accessPolicy` defaults to deny, `proxyProtocol` to unknown, as the CRD's do."""
    with document.required("spec") as spec:
        pods, externals = spec.object("podSelector"), spec.object("externalWorkloadSelector")
        if (pods is None) == (externals is None):
            spec.refuse("podSelector", "needs exactly one of podSelector and externalWorkloadSelector")
        protocol = spec.choice("proxyProtocol", [one.value for one in ServerProtocol])
        access = spec.choice("accessPolicy", [one.value for one in DefaultPolicy])
        return Server(
            metadata.key,
            _port(spec),
            values.selector(pods) if pods else None,
            values.selector(externals) if externals else None,
            ServerProtocol(protocol or "unknown"),
            DefaultPolicy(access or "deny"),
            metadata.labels,
            metadata.created,
            origin,
        )


def _port(spec: Reader) -> int | str:
    value = spec.raw("port")
    if not isinstance(value, str):
        return spec.required_port("port")
    if value.isdecimal():
        spec.refuse("port", f"{value!r} is text, which names a port", f"write {value}")
    return spec.required_text("port")


def authorization_policy(document: Reader, metadata: Metadata, origin: Origin) -> AuthorizationPolicy:
    with document.required("spec") as spec:
        target = target_ref(spec.required("targetRef"), TARGETS)
        if target.namespace is not None:
            spec.refuse("targetRef.namespace", "unknown field", "a policy is for its own namespace")
        if target.kind == NAMESPACE.name and target.name != metadata.key.namespace:
            spec.refuse("targetRef.name", f"{target.name!r} is another namespace", f"write {metadata.key.namespace}")
        if spec.raw("requiredAuthenticationRefs") is None:
            spec.refuse("requiredAuthenticationRefs", "is required", "write [] to admit everybody")
        required = tuple(target_ref(one, AUTHENTICATIONS) for one in spec.objects("requiredAuthenticationRefs"))
        network = [one for one in required if one.kind == NETWORK_AUTHENTICATION.name]
        if len(network) > 1 or len(required) - len(network) > 1:
            spec.refuse(
                "requiredAuthenticationRefs",
                "all of them are needed at once, so at most one MeshTLSAuthentication or ServiceAccount "
                "and one NetworkAuthentication make sense",
                "write one AuthorizationPolicy for each",
            )
        return AuthorizationPolicy(metadata.key, target, required, origin)


def server_authorization(document: Reader, metadata: Metadata, origin: Origin) -> ServerAuthorization:
    with document.required("spec") as spec:
        with spec.required("server") as chosen:
            name, selector = chosen.text("name"), chosen.object("selector")
            if (name is None) == (selector is None):
                chosen.refuse("name", "needs exactly one of name and selector")
            by_label = values.selector(selector) if selector else Selector()
        client = _client(spec.required("client"))
        return ServerAuthorization(metadata.key, name, by_label, client, origin)


def _client(reader: Reader) -> ClientAuthorization:
    with reader:
        unauthenticated = reader.boolean("unauthenticated", False)
        allowed = networks(reader)
        mesh_tls = reader.object("meshTLS")
        if (mesh_tls is not None) == unauthenticated:
            reader.refuse("meshTLS", "needs either unauthenticated: true or meshTLS")
        if mesh_tls is None:
            return ClientAuthorization(allowed, True)
        with mesh_tls:
            no_certificate = mesh_tls.boolean("unauthenticatedTLS", False)
            identities = mesh_tls.texts("identities")
            accounts = tuple(_account(one) for one in mesh_tls.objects("serviceAccounts"))
            if no_certificate == bool(identities or accounts):
                mesh_tls.refuse("identities", "needs either unauthenticatedTLS: true or identities, serviceAccounts")
            return ClientAuthorization(allowed, False, no_certificate, identities, accounts)


def _account(reader: Reader) -> tuple[str | None, str]:
    with reader:
        return reader.text("namespace"), reader.required_text("name")


def rate_limit_policy(document: Reader, metadata: Metadata, origin: Origin) -> RateLimitPolicy:
    with document.required("spec") as spec:
        target = target_ref(spec.required("targetRef"), (SERVER,))
        if target.namespace is not None:
            spec.refuse("targetRef.namespace", "unknown field", "a policy is for its own namespace")
        total, identity = _limit(spec.object("total")), _limit(spec.object("identity"))
        overrides = tuple(_override(one) for one in spec.objects("overrides"))
        if total is not None:
            if identity is not None and identity > total:
                spec.refuse("identity.requestsPerSecond", f"{identity} is more than the total {total}")
            for index, one in enumerate(overrides):
                if one.per_second > total:
                    field = f"overrides[{index}].requestsPerSecond"
                    spec.refuse(field, f"{one.per_second} is more than the total {total}")
        return RateLimitPolicy(metadata.key, target.name, total, identity, overrides, metadata.created, origin)


def _limit(reader: Reader | None) -> int | None:
    if reader is None:
        return None
    with reader:
        return _per_second(reader)


def _per_second(reader: Reader) -> int:
    found = reader.integer("requestsPerSecond", 1, 2**32 - 1)
    if found is None:
        reader.refuse("requestsPerSecond", "is required")
    return found


def _override(reader: Reader) -> RateLimitOverride:
    with reader:
        accounts = tuple(target_ref(one, (SERVICE_ACCOUNT,)) for one in reader.objects("clientRefs"))
        if not accounts:
            reader.refuse("clientRefs", "needs at least one ServiceAccount")
        return RateLimitOverride(_per_second(reader), tuple((one.namespace, one.name) for one in accounts))

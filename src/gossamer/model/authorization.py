"""Who may send to what: the resources of policy.linkerd.io (reference §1.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gossamer.model.names import IPNetwork, Key, Kind, Labels, Origin
from gossamer.model.selector import Selector


class ServerProtocol(Enum):
    """`proxyProtocol` of a Server; the values are what people write."""

    UNKNOWN = "unknown"
    HTTP1 = "HTTP/1"
    HTTP2 = "HTTP/2"
    GRPC = "gRPC"
    OPAQUE = "opaque"
    TLS = "TLS"


class DefaultPolicy(Enum):
    """What applies where no Server does, and the `accessPolicy` of a Server."""

    ALL_UNAUTHENTICATED = "all-unauthenticated"
    ALL_AUTHENTICATED = "all-authenticated"
    CLUSTER_UNAUTHENTICATED = "cluster-unauthenticated"
    CLUSTER_AUTHENTICATED = "cluster-authenticated"
    DENY = "deny"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Server:
    """One port, by name or number, of the workloads that a selector matches. Exactly one selector is set."""

    key: Key
    port: int | str
    pod_selector: Selector | None = None
    external_workload_selector: Selector | None = None
    protocol: ServerProtocol = ServerProtocol.UNKNOWN
    access_policy: DefaultPolicy = DefaultPolicy.DENY
    # What a ServerAuthorization's selector looks at.
    labels: Labels = field(default_factory=dict)
    # Seconds since the epoch; 0 when unknown. The oldest of two that select the same port wins, then the first name.
    created: int = 0
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return SERVER


@dataclass(frozen=True, slots=True)
class TargetRef:
    group: str
    kind: str
    # None for the policy's own.
    namespace: str | None
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """Admits to `target` whoever satisfies every one of `required`. Several policies are ORed."""

    key: Key
    target: TargetRef
    required: tuple[TargetRef, ...]
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return AUTHORIZATION_POLICY


@dataclass(frozen=True, slots=True)
class MeshTLSAuthentication:
    """Clients with one of these identities: exact, `*.suffix`, `*`, or of a ServiceAccount or Namespace."""

    key: Key
    identities: tuple[str, ...] = ()
    identity_refs: tuple[TargetRef, ...] = ()
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return MESH_TLS_AUTHENTICATION


@dataclass(frozen=True, slots=True)
class Network:
    """A CIDR block less its exceptions."""

    cidr: IPNetwork
    excepted: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkAuthentication:
    """Clients whose address is in one of these networks."""

    key: Key
    networks: tuple[Network, ...]
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return NETWORK_AUTHENTICATION


@dataclass(frozen=True, slots=True)
class ClientAuthorization:
    """`client` of a ServerAuthorization."""

    # Empty: the cluster's networks.
    networks: tuple[Network, ...] = ()
    unauthenticated: bool = False
    unauthenticated_tls: bool = False
    identities: tuple[str, ...] = ()
    # (namespace or None for the resource's own, name)
    service_accounts: tuple[tuple[str | None, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerAuthorization:
    """The older form: selects Servers of its namespace, by name or, with `server_name` None, by label."""

    key: Key
    server_name: str | None
    server_selector: Selector
    client: ClientAuthorization
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return SERVER_AUTHORIZATION


@dataclass(frozen=True, slots=True)
class RateLimitOverride:
    """Another limit for some accounts: (namespace or None for the policy's own, name)."""

    per_second: int
    service_accounts: tuple[tuple[str | None, str], ...]


@dataclass(frozen=True, slots=True)
class RateLimitPolicy:
    """HTTPLocalRateLimitPolicy: requests a second that a Server takes, in all and of one identity. None: no limit."""

    key: Key
    server: str
    total: int | None = None
    identity: int | None = None
    overrides: tuple[RateLimitOverride, ...] = ()
    # Seconds since the epoch; 0 when unknown. Of several for one Server the oldest counts, then the first by name.
    created: int = 0
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return RATE_LIMIT_POLICY


@dataclass(frozen=True, slots=True)
class AuditWindow:
    """Break-glass (seams 33): while it exists, what policy would refuse `key`'s workload is let through, over mesh TLS.

    Whoever puts it takes it away again at `until` (seconds since the epoch).
    """

    key: Key
    until: int
    origin: Origin = field(default=Origin("admin"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return AUDIT_WINDOW


POLICY_GROUP = "policy.linkerd.io"
AUDIT_WINDOW: Kind[AuditWindow] = Kind("gossamer.dev", "AuditWindow", "auditwindows")
SERVER: Kind[Server] = Kind(POLICY_GROUP, "Server", "servers", ("v1beta3", "v1beta2", "v1beta1", "v1alpha1"), ("srv",))
AUTHORIZATION_POLICY: Kind[AuthorizationPolicy] = Kind(
    POLICY_GROUP, "AuthorizationPolicy", "authorizationpolicies", ("v1alpha1",), ("authzpolicy",)
)
MESH_TLS_AUTHENTICATION: Kind[MeshTLSAuthentication] = Kind(
    POLICY_GROUP, "MeshTLSAuthentication", "meshtlsauthentications", ("v1alpha1",), ("meshtlsauthn",)
)
NETWORK_AUTHENTICATION: Kind[NetworkAuthentication] = Kind(
    POLICY_GROUP, "NetworkAuthentication", "networkauthentications", ("v1alpha1",), ("netauthn", "networkauthn")
)
SERVER_AUTHORIZATION: Kind[ServerAuthorization] = Kind(
    POLICY_GROUP,
    "ServerAuthorization",
    "serverauthorizations",
    ("v1beta1", "v1alpha1"),
    ("saz", "serverauthz", "srvauthz"),
)
RATE_LIMIT_POLICY: Kind[RateLimitPolicy] = Kind(
    POLICY_GROUP, "HTTPLocalRateLimitPolicy", "httplocalratelimitpolicies", ("v1alpha1",), ("ratelimit",)
)

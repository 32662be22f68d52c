"""What a sidecar is told. Complete values: two that are equal mean nothing is sent (invariants 1 and 2).

Must not know protobuf; `api.encode` does. Durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossamer.model.access import Action, HeaderClause, PathClause
from gossamer.model.authorization import Network
from gossamer.model.mesh import Bundle
from gossamer.model.names import LOCAL_CLUSTER, IPAddress, Labels, Meta
from gossamer.model.profile import Override, ProfileRoute, RetryBudget
from gossamer.model.route import Filter, GrpcMatch, HttpMatch
from gossamer.model.traffic import Accrual, Balancing, GrpcRetry, HttpRetry, Penalty, Timeouts
from gossamer.model.workload import Sidecar

# --- no answer -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nothing is known by that name or address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The question makes no sense."""

    reason: str


# --- inbound ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """No certificate needed; `tls`: mesh TLS is."""

    tls: bool = False


@dataclass(frozen=True, slots=True)
class Identities:
    """Mesh TLS with one of these names. A suffix is its labels, left to right; () admits any name."""

    exact: tuple[str, ...] = ()
    suffixes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Authorization:
    """Admits a client that is in one of `networks` and satisfies `clients`. Several are ORed."""

    meta: Meta
    networks: tuple[Network, ...]
    clients: Unauthenticated | Identities


@dataclass(frozen=True, slots=True)
class InboundRule:
    # Any of them, all of one kind; empty matches everything.
    matches: tuple[HttpMatch | GrpcMatch, ...]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundRoute:
    meta: Meta
    hosts: tuple[str, ...]
    authorizations: tuple[Authorization, ...]
    rules: tuple[InboundRule, ...]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests a second: of everybody, of each identity, of each of some identities. None: no limit."""

    meta: Meta
    total: int | None = None
    identity: int | None = None
    overrides: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class DetectInbound:
    timeout: int
    routes: tuple[InboundRoute, ...]
    limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Http1Inbound:
    routes: tuple[InboundRoute, ...]
    limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Http2Inbound:
    routes: tuple[InboundRoute, ...]
    limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class GrpcInbound:
    routes: tuple[InboundRoute, ...]


@dataclass(frozen=True, slots=True)
class OpaqueInbound:
    pass


@dataclass(frozen=True, slots=True)
class TlsInbound:
    pass


InboundProtocol = DetectInbound | Http1Inbound | Http2Inbound | GrpcInbound | OpaqueInbound | TlsInbound


@dataclass(frozen=True, slots=True)
class ClientRule:
    """All of it must hold. At most one of `among`, `not_among` and `anonymous` is set."""

    among: Identities | None = None
    not_among: Identities | None = None
    anonymous: bool = False
    networks: tuple[Network, ...] = ()
    not_networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestRule:
    """All of it must hold; of methods, paths and hosts any one. Paths without `how` are templates."""

    methods: tuple[str, ...] = ()
    paths: tuple[PathClause, ...] = ()
    headers: tuple[HeaderClause, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Applies when any of `clients` and any of `requests` do; none of either is everything. See policy.proto."""

    meta: Meta
    action: Action
    clients: tuple[ClientRule, ...] = ()
    requests: tuple[RequestRule, ...] = ()
    # Only for requests of this route.
    route: Meta | None = None


@dataclass(frozen=True, slots=True)
class InboundConfig:
    """The policy of one port."""

    meta: Meta
    protocol: InboundProtocol
    authorizations: tuple[Authorization, ...]
    # Denials first; they win over every authorization.
    rules: tuple[AccessRule, ...] = ()
    # Break-glass is open: denials are reported only.
    audit_denials: bool = False


# --- outbound --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Balance:
    """Spread over the endpoints of this authority, by peak EWMA, in which failures count as `penalty` says."""

    authority: str
    default_rtt: int = 30
    decay: int = 10_000
    penalty: Penalty | None = None
    # Beyond Linkerd's messages.
    balancing: Balancing = field(default=Balancing())


@dataclass(frozen=True, slots=True)
class Forward:
    """One endpoint, known already."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Queue:
    capacity: int = 100
    failfast: int = 3_000


@dataclass(frozen=True, slots=True)
class Backend:
    meta: Meta
    to: Balance | Forward | Nowhere
    queue: Queue = Queue()


@dataclass(frozen=True, slots=True)
class Nowhere:
    """There is no such backend; a filter beside it answers."""


@dataclass(frozen=True, slots=True)
class RouteBackend:
    """One share of a rule's traffic."""

    weight: int
    backend: Backend
    # Of opaque and TLS routes only Fail.
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstAvailable:
    backend: RouteBackend


@dataclass(frozen=True, slots=True)
class Weighted:
    backends: tuple[RouteBackend, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """Nowhere: for rules whose filters answer."""


Distribution = FirstAvailable | Weighted | Empty


@dataclass(frozen=True, slots=True)
class MirrorTo:
    """A copy of `numerator` in `denominator` requests."""

    backend: Backend
    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True)
class Fault:
    """(milliseconds, share of 10,000); (HTTP status, gRPC code, message, share)."""

    delay: tuple[int, int] | None = None
    abort: tuple[int, int, str, int] | None = None


@dataclass(frozen=True, slots=True)
class RewriteTo:
    """None leaves the request's own; at most one of the paths is set."""

    host: str | None = None
    full_path: str | None = None
    prefix_path: str | None = None


@dataclass(frozen=True, slots=True)
class Beyond:
    """What a rule does that Linkerd's messages have no words for."""

    rewrite: RewriteTo | None = None
    mirrors: tuple[MirrorTo, ...] = ()
    fault: Fault | None = None
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class OutboundRule:
    """`matches` are all of one kind, as `retry` is."""

    matches: tuple[HttpMatch | GrpcMatch, ...]
    backends: Distribution
    filters: tuple[Filter, ...] = ()
    # None: nothing is said of them, not even that there are none.
    timeouts: Timeouts | None = field(default=Timeouts())
    retry: HttpRetry | GrpcRetry | None = None
    # Programs may say otherwise by l5d-* headers.
    request_headers: bool = False
    beyond: Beyond = Beyond()


@dataclass(frozen=True, slots=True)
class OutboundRoute:
    meta: Meta
    rules: tuple[OutboundRule, ...]
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpaqueRoute:
    """`forbidden`: connections are refused. `names`: the SNIs it is for, of a TLS route."""

    meta: Meta
    backends: Distribution
    forbidden: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectOutbound:
    timeout: int
    opaque: OpaqueRoute
    http1: tuple[OutboundRoute, ...]
    http2: tuple[OutboundRoute, ...]
    accrual: Accrual | None = None


@dataclass(frozen=True, slots=True)
class Http1Outbound:
    routes: tuple[OutboundRoute, ...]
    accrual: Accrual | None = None


@dataclass(frozen=True, slots=True)
class Http2Outbound:
    routes: tuple[OutboundRoute, ...]
    accrual: Accrual | None = None


@dataclass(frozen=True, slots=True)
class GrpcOutbound:
    routes: tuple[OutboundRoute, ...]
    accrual: Accrual | None = None


@dataclass(frozen=True, slots=True)
class TlsOutbound:
    routes: tuple[OpaqueRoute, ...]


@dataclass(frozen=True, slots=True)
class OpaqueOutbound:
    route: OpaqueRoute


OutboundProtocol = DetectOutbound | Http1Outbound | Http2Outbound | GrpcOutbound | TlsOutbound | OpaqueOutbound


@dataclass(frozen=True, slots=True)
class OutboundConfig:
    """How traffic to one target is routed."""

    meta: Meta
    protocol: OutboundProtocol
    # A ServiceProfile with routes or overrides: it decides.
    profile: ProfileConfig | None = None


# --- discovery -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tls:
    """What a client must see in the certificate, and the SNI it sends. A URI identity has another server name."""

    identity: str
    server_name: str


@dataclass(frozen=True, slots=True)
class Site:
    """Where an endpoint runs (seams 16). An empty node or zone is unknown; the empty network is our own."""

    cluster: str = LOCAL_CLUSTER
    node: str = ""
    zone: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place traffic can go to. `address` and `port` are the program's."""

    address: IPAddress
    port: int
    tls: Tls | None = None
    # Its sidecar takes HTTP/1 over HTTP/2.
    h2: bool = False
    # It wants plain bytes; wins over `h2`.
    opaque: bool = False
    # Where its sidecar takes mesh traffic with a transport header; None: no transport header.
    inbound_port: int | None = None
    weight: int = 10_000
    authority_override: str = ""
    labels: Labels = field(default_factory=dict)
    meta: Meta | None = None
    site: Site = Site()
    sidecar: Sidecar = Sidecar.UNKNOWN


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """All the endpoints of a service's port, sorted by address and port; may be empty."""

    endpoints: tuple[Endpoint, ...]
    # For every endpoint: namespace and service.
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """What a target is. All empty: nothing is known of it, and it is forwarded as addressed."""

    name: str = ""
    opaque: bool = False
    endpoint: Endpoint | None = None
    parent: Meta | None = None
    # None only for a port that its service does not define.
    retry_budget: RetryBudget | None = field(default_factory=RetryBudget)
    # Of a ServiceProfile, and which one.
    routes: tuple[ProfileRoute, ...] = ()
    overrides: tuple[Override, ...] = ()
    profile: Meta | None = None


# --- names and trust -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamesTable:
    """Fully qualified lower-case names without trailing dot → addresses; zones that are ours; search list.

    `services`: names of named ports (RFC 2782) → where they are, as names of the table and ports.
    """

    names: Mapping[str, tuple[IPAddress, ...]]
    zones: tuple[str, ...]
    search: tuple[str, ...]
    services: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


Config = InboundConfig | OutboundConfig | EndpointSet | ProfileConfig | NamesTable | Bundle | NotFound | Invalid

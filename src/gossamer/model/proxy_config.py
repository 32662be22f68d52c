"""What a sidecar is told. Complete values: two that are equal mean nothing is sent (invariants 1 and 2).

Must not know protobuf; `api.encode` does. Durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossamer.model.authorization import Network
from gossamer.model.mesh import Bundle
from gossamer.model.names import LOCAL_CLUSTER, IPAddress, Labels, Meta
from gossamer.model.route import Filter, HttpMatch, Timeouts
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
    # Any of them; empty matches everything.
    matches: tuple[HttpMatch, ...]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundRoute:
    meta: Meta
    hosts: tuple[str, ...]
    authorizations: tuple[Authorization, ...]
    rules: tuple[InboundRule, ...]


@dataclass(frozen=True, slots=True)
class DetectInbound:
    timeout: int
    routes: tuple[InboundRoute, ...]


@dataclass(frozen=True, slots=True)
class Http1Inbound:
    routes: tuple[InboundRoute, ...]


@dataclass(frozen=True, slots=True)
class Http2Inbound:
    routes: tuple[InboundRoute, ...]


@dataclass(frozen=True, slots=True)
class GrpcInbound:
    """Routes of this version are only the default one: every call, judged by the Server's authorizations."""

    routes: tuple[InboundRoute, ...]


@dataclass(frozen=True, slots=True)
class OpaqueInbound:
    pass


@dataclass(frozen=True, slots=True)
class TlsInbound:
    pass


InboundProtocol = DetectInbound | Http1Inbound | Http2Inbound | GrpcInbound | OpaqueInbound | TlsInbound


@dataclass(frozen=True, slots=True)
class InboundConfig:
    """The policy of one port."""

    meta: Meta
    protocol: InboundProtocol
    authorizations: tuple[Authorization, ...]


# --- outbound --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Balance:
    """Spread over the endpoints of this authority, by peak EWMA."""

    authority: str
    default_rtt: int = 30
    decay: int = 10_000


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
class OutboundRule:
    matches: tuple[HttpMatch, ...]
    backends: Distribution
    filters: tuple[Filter, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class OutboundRoute:
    meta: Meta
    rules: tuple[OutboundRule, ...]
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpaqueRoute:
    """`forbidden`: connections are refused."""

    meta: Meta
    backends: Distribution
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class DetectOutbound:
    timeout: int
    opaque: OpaqueRoute
    http1: tuple[OutboundRoute, ...]
    http2: tuple[OutboundRoute, ...]


@dataclass(frozen=True, slots=True)
class Http1Outbound:
    routes: tuple[OutboundRoute, ...]


@dataclass(frozen=True, slots=True)
class Http2Outbound:
    routes: tuple[OutboundRoute, ...]


@dataclass(frozen=True, slots=True)
class OpaqueOutbound:
    route: OpaqueRoute


OutboundProtocol = DetectOutbound | Http1Outbound | Http2Outbound | OpaqueOutbound


@dataclass(frozen=True, slots=True)
class OutboundConfig:
    """How traffic to one target is routed."""

    meta: Meta
    protocol: OutboundProtocol


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
class RetryBudget:
    ratio: float = 0.2
    per_second: int = 10
    ttl: int = 10_000


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """What a target is. All empty: nothing is known of it, and it is forwarded as addressed."""

    name: str = ""
    opaque: bool = False
    endpoint: Endpoint | None = None
    parent: Meta | None = None
    # None only for a port that its service does not define.
    retry_budget: RetryBudget | None = field(default_factory=RetryBudget)


# --- names and trust -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamesTable:
    """Fully qualified lower-case names without trailing dot → addresses; zones that are ours; search list."""

    names: Mapping[str, tuple[IPAddress, ...]]
    zones: tuple[str, ...]
    search: tuple[str, ...]


Config = InboundConfig | OutboundConfig | EndpointSet | ProfileConfig | NamesTable | Bundle | NotFound | Invalid

"""Which requests a rule is for and what it does to them; shared by resources and configurations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from gossamer.model.names import Key, Kind, Labels, Origin
from gossamer.model.traffic import GrpcRetry, HttpRetry, Timeouts

GATEWAY_GROUP = "gateway.networking.k8s.io"
POLICY_GROUP = "policy.linkerd.io"


class How(Enum):
    """How a value is compared."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True)
class PathMatch:
    how: How
    value: str


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter. `how` is EXACT or REGEX; header names are lower case."""

    name: str
    how: How
    value: str


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """All of it must hold; None and empty hold always."""

    path: PathMatch | None = None
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    method: str | None = None


@dataclass(frozen=True, slots=True)
class GrpcMatch:
    """Service and method by name, "" for any; `rpc` False: nothing was said of them."""

    service: str = ""
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    rpc: bool = True


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """Applied in this order: add, set, remove."""

    add: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    modifier: HeaderModifier


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    modifier: HeaderModifier


@dataclass(frozen=True, slots=True)
class Redirect:
    """None leaves the request's own. `prefix_path` replaces the matched prefix, `full_path` the whole path."""

    scheme: str | None = None
    host: str | None = None
    full_path: str | None = None
    prefix_path: str | None = None
    port: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with this status (gRPC: code) instead of forwarding: always, or in (so many, of so many) cases."""

    status: int
    message: str
    ratio: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is sent upstream instead; None leaves the request's own."""

    host: str | None = None
    full_path: str | None = None
    prefix_path: str | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy goes to `backend`, of `numerator` in `denominator` requests."""

    backend: BackendRef
    numerator: int = 1
    denominator: int = 1


@dataclass(frozen=True, slots=True)
class Inject:
    """The faults of the FaultInjection of this name, beside the route."""

    name: str


Filter = RequestHeaders | ResponseHeaders | Redirect | Fail
# What Linkerd's messages have no words for, too.
RuleFilter = Filter | Rewrite | Mirror | Inject


@dataclass(frozen=True, slots=True)
class ParentRef:
    """What a route attaches to. `namespace` None: the route's own; `port` and `section` None: all of it."""

    group: str
    kind: str
    namespace: str | None
    name: str
    section: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class BackendRef:
    group: str
    kind: str
    namespace: str | None
    name: str
    port: int | None
    weight: int = 1
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpRule:
    matches: tuple[HttpMatch, ...] = ()
    filters: tuple[RuleFilter, ...] = ()
    backends: tuple[BackendRef, ...] = ()
    # The route's annotations and the rule's own `timeouts` together.
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """HTTPRoute of either group."""

    key: Key
    group: str
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()
    rules: tuple[HttpRule, ...] = ()
    annotations: Labels = field(default_factory=dict)
    # Seconds since the epoch; 0 when unknown. Older routes come first, then by name.
    created: int = 0
    retry: HttpRetry | None = None
    # Requests may be sent again even where the first attempt may have been processed.
    idempotent: bool = False
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return HTTP_ROUTE if self.group == GATEWAY_GROUP else POLICY_HTTP_ROUTE


@dataclass(frozen=True, slots=True)
class GrpcRule:
    matches: tuple[GrpcMatch, ...] = ()
    filters: tuple[RuleFilter, ...] = ()
    backends: tuple[BackendRef, ...] = ()
    # The route's: GRPCRoute has none of a rule.
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class GrpcRoute:
    key: Key
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()
    rules: tuple[GrpcRule, ...] = ()
    created: int = 0
    retry: GrpcRetry | None = None
    idempotent: bool = False
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return GRPC_ROUTE


@dataclass(frozen=True, slots=True)
class TlsRoute:
    """By SNI; one rule."""

    key: Key
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()
    backends: tuple[BackendRef, ...] = ()
    created: int = 0
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return TLS_ROUTE


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """One rule, for every connection."""

    key: Key
    parents: tuple[ParentRef, ...]
    backends: tuple[BackendRef, ...] = ()
    created: int = 0
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return TCP_ROUTE


Route = HttpRoute | GrpcRoute | TlsRoute | TcpRoute
R = TypeVar("R", bound=Route)

HTTP_ROUTE: Kind[HttpRoute] = Kind(GATEWAY_GROUP, "HTTPRoute", "httproutes", ("v1", "v1beta1"))
POLICY_HTTP_ROUTE: Kind[HttpRoute] = Kind(
    POLICY_GROUP, "HTTPRoute", "httproutes", ("v1beta3", "v1beta2", "v1beta1", "v1alpha1")
)
GRPC_ROUTE: Kind[GrpcRoute] = Kind(GATEWAY_GROUP, "GRPCRoute", "grpcroutes", ("v1",))
TLS_ROUTE: Kind[TlsRoute] = Kind(GATEWAY_GROUP, "TLSRoute", "tlsroutes", ("v1", "v1alpha3", "v1alpha2"))
TCP_ROUTE: Kind[TcpRoute] = Kind(GATEWAY_GROUP, "TCPRoute", "tcproutes", ("v1", "v1alpha2"))
HTTP: tuple[Kind[HttpRoute], ...] = (HTTP_ROUTE, POLICY_HTTP_ROUTE)
# Of several kinds attached to one parent and port only the first is served (GEP-1426); HTTPRoutes of both groups are
# one.
RANKS: tuple[tuple[Kind[Any], ...], ...] = ((GRPC_ROUTE,), HTTP, (TLS_ROUTE,), (TCP_ROUTE,))


def in_precedence(routes: Iterable[R]) -> list[R]:
    """The order between routes: the oldest first, undated ones last, then by name, namespace and group."""
    return sorted(
        routes, key=lambda one: (one.created == 0, one.created, one.key.name, one.key.namespace, one.kind.group)
    )

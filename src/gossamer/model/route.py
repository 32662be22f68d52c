"""Which requests a rule is for and what it does to them; shared by resources and configurations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gossamer.model.names import Key, Kind, Labels, Origin

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
    """Answer with this status instead of forwarding."""

    status: int
    message: str


Filter = RequestHeaders | ResponseHeaders | Redirect | Fail


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Milliseconds; None: no limit."""

    request: int | None = None
    response: int | None = None
    idle: int | None = None


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
    filters: tuple[Filter, ...] = ()
    backends: tuple[BackendRef, ...] = ()
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
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return HTTP_ROUTE if self.group == GATEWAY_GROUP else POLICY_HTTP_ROUTE


HTTP_ROUTE: Kind[HttpRoute] = Kind(GATEWAY_GROUP, "HTTPRoute", "httproutes", ("v1", "v1beta1"))
POLICY_HTTP_ROUTE: Kind[HttpRoute] = Kind(
    POLICY_GROUP, "HTTPRoute", "httproutes", ("v1beta3", "v1beta2", "v1beta1", "v1alpha1")
)


def in_precedence(routes: Iterable[HttpRoute]) -> list[HttpRoute]:
    """Gateway API's order between routes: the oldest first, undated ones last, then by namespace, name and group."""
    return sorted(routes, key=lambda route: (route.created == 0, route.created, route.key, route.group))

"""ServiceProfile (linkerd.io): routes, a retry budget and overrides of one service, older than the route kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gossamer.model.names import Key, Kind, Origin


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


@dataclass(frozen=True, slots=True)
class PathLike:
    """The whole path, by regular expression."""

    regex: str


@dataclass(frozen=True, slots=True)
class MethodIs:
    name: str


@dataclass(frozen=True, slots=True)
class StatusWithin:
    """Inclusive; 0 is no bound."""

    low: int
    high: int


# Of a request: without StatusWithin; of a response: without PathLike and MethodIs.
Condition = All | AnyOf | Not | PathLike | MethodIs | StatusWithin


@dataclass(frozen=True, slots=True)
class ResponseClass:
    condition: Condition
    failure: bool


@dataclass(frozen=True, slots=True)
class ProfileRoute:
    """`timeout` in milliseconds, None: no limit."""

    name: str
    condition: Condition
    classes: tuple[ResponseClass, ...] = ()
    retryable: bool = False
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Milliseconds of `ttl`; the defaults are Linkerd's."""

    ratio: float = 0.2
    per_second: int = 10
    ttl: int = 10_000


@dataclass(frozen=True, slots=True)
class Override:
    """A share of the traffic for another service. `weight` in ten-thousandths of one unit."""

    authority: str
    weight: int


@dataclass(frozen=True, slots=True)
class ServiceProfile:
    """Named after the service's full name; that of the client's namespace counts before that of the service's."""

    key: Key
    routes: tuple[ProfileRoute, ...] = ()
    retry_budget: RetryBudget | None = None
    overrides: tuple[Override, ...] = ()
    opaque_ports: frozenset[int] = frozenset()
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return SERVICE_PROFILE


SERVICE_PROFILE: Kind[ServiceProfile] = Kind(
    "linkerd.io", "ServiceProfile", "serviceprofiles", ("v1alpha2", "v1alpha1"), ("sp",)
)

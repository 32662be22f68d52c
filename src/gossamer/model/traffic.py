"""How the traffic of a service, an egress network or a route behaves: retries, timeouts, breaking, balancing.

Durations are milliseconds. Names and defaults are those of the annotations (reference §1.3, §3.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Timeouts:
    """None: no limit."""

    request: int | None = None
    response: int | None = None
    idle: int | None = None


@dataclass(frozen=True, slots=True)
class HttpRetry:
    """`statuses` are inclusive ranges; with none, only failures of transport are tried again."""

    limit: int = 1
    timeout: int | None = None
    statuses: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcRetry:
    """`codes` are the words of `retry.linkerd.io/grpc`."""

    limit: int = 1
    timeout: int | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backoff:
    minimum: int = 1_000
    maximum: int = 60_000
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Consecutive:
    """An endpoint is ejected after so many failures in a row; 0: never."""

    max_failures: int = 7
    backoff: Backoff = Backoff()


@dataclass(frozen=True, slots=True)
class Unified:
    """… and when the share of successes in `window` falls below `threshold` (0: never)."""

    max_failures: int = 7
    backoff: Backoff = Backoff()
    threshold: float = 0.8
    window: int = 10_000
    min_requests: int = 5
    # The server's Retry-After sets the backoff.
    honor_retry_after: bool = False


Accrual = Consecutive | Unified


@dataclass(frozen=True, slots=True)
class Penalty:
    """What a failed response counts as, in the balancer's estimate of latency."""

    penalty: int = 5_000
    max_retry_after: int = 300_000
    decay: int = 10_000


class Prefer(Enum):
    """Which endpoints come first while they have capacity; the values are what people write."""

    NONE = "none"
    ZONE = "zone"
    NODE = "node"
    ZONE_ONLY = "zone-only"


class StickyBy(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Sticky:
    """`name` is a header's (lower case) or a cookie's; `ttl` a cookie's, None for the session."""

    by: StickyBy
    name: str = ""
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Balancing:
    """Beyond Linkerd: annotations `balancer.gossamer.dev/…` of a Service."""

    sticky: Sticky | None = None
    prefer: Prefer = Prefer.NODE
    # Percent of the ready endpoints that ejection leaves at least.
    panic_floor: int = 50
    # How long a new endpoint's share grows; 0: at once.
    slow_start: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What annotations of a Service or EgressNetwork say."""

    accrual: Accrual | None = None
    penalty: Penalty | None = None
    http_retry: HttpRetry | None = None
    grpc_retry: GrpcRetry | None = None
    timeouts: Timeouts = Timeouts()
    balancing: Balancing = field(default_factory=Balancing)

"""Who talks to whom, how well, and whose fault a failure was: what sidecars report and what people are shown.

Totals here are what one sidecar counted since it started. An `Edge` is what is made of them: one client, one server,
one protocol. Nothing here knows time windows; `metrics` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Protocol(StrEnum):
    """As it is shown, and as the reports' enum means it."""

    HTTP1 = "http/1"
    HTTP2 = "http/2"
    GRPC = "grpc"
    TCP = "tcp"


class Author(StrEnum):
    """Who made a failure (seams §28). The order is the one in which they are shown."""

    APPLICATION = "application"
    OUTBOUND = "mesh outbound"
    INBOUND = "mesh inbound"
    CONTROL_PLANE = "control plane"


class Direction(StrEnum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


# Reasons of author INBOUND (or OUTBOUND) that mean "policy said no", as opposed to "the mesh could not".
REFUSALS = frozenset({"unauthorized", "denied", "forbidden", "no-policy"})


@dataclass(frozen=True, slots=True)
class Reporter:
    """The workload whose sidecar reports. `started` is wall time in seconds."""

    namespace: str
    name: str
    service: str
    identity: str
    started: float = 0.0

    @property
    def subject(self) -> str:
        """`namespace/service`, the name of an edge's end."""
        return f"{self.namespace}/{self.service or self.name}"


@dataclass(frozen=True, slots=True)
class TotalsKey:
    """What tells one kind of conversation of a sidecar from another (gossamer.v1.Edge, fields 1 to 9)."""

    direction: Direction
    protocol: Protocol
    tls: bool
    peer: str = ""
    dst_namespace: str = ""
    dst_service: str = ""
    port: int = 0
    server: str = ""
    authorization: str = ""

    @property
    def dst(self) -> str:
        """`namespace/service`, or the address as text."""
        return f"{self.dst_namespace}/{self.dst_service}" if self.dst_namespace else self.dst_service


@dataclass(frozen=True, slots=True)
class FailureTotal:
    author: Author
    reason: str
    count: int
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counted since the sidecar started. `latency[i]` counts answers up to `bounds_ms[i]`; the last is +Inf."""

    requests: int = 0
    successes: int = 0
    denied: int = 0
    tcp_open: int = 0
    tcp_close: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    failures: tuple[FailureTotal, ...] = ()
    latency: tuple[int, ...] = ()
    bounds_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentityState:
    """What a sidecar says of its own certificate. Times are wall time in seconds, 0 when unknown."""

    identity: str = ""
    bundle_generation: int = 0
    not_before: float = 0.0
    not_after: float = 0.0
    refreshes: int = 0
    refresh_failures: int = 0
    # SHA-256 of the anchor to which it chains, and its serial, big-endian; b"" when unknown.
    anchor_sha256: bytes = b""
    serial: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """One message of a sidecar. `instance` is random at each of its starts."""

    instance: int
    edges: tuple[tuple[TotalsKey, Totals], ...] = ()
    identity: IdentityState | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthoredFailure:
    """`count` since the start, `rate` per second over the window, `last` wall time in seconds."""

    author: Author
    reason: str
    count: int
    last: float
    rate: float


@dataclass(frozen=True, slots=True)
class Edge:
    """One client → server pair: rates and latencies over a window, totals since the start.

    `success_rate` and the latencies are None where there is nothing to judge.
    """

    client: str
    server: str
    protocol: Protocol
    tls: bool
    client_id: str = ""
    server_id: str = ""
    rps: float = 0.0
    tcp_rps: float = 0.0
    success_rate: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    # As the server's own sidecar measured: the application's share of the above.
    app_p50_ms: float | None = None
    app_p99_ms: float | None = None
    requests: int = 0
    successes: int = 0
    denied: int = 0
    tcp_open: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    authorization: str = ""
    port: int = 0
    failures: tuple[AuthoredFailure, ...] = ()

"""What the admin API stands on, as small Protocols; the controller fills them, tests bring fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gossamer.identity.forecast import Warning
from gossamer.model.change import Change
from gossamer.model.edge import Edge, IdentityState
from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind, Origin
from gossamer.model.snapshot import Snapshot
from gossamer.resources.problem import InvalidResource, Where

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class About:
    """The process. `started` is wall time in seconds."""

    version: str
    mesh: str
    pid: int
    started: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """Times are wall time in seconds."""

    subject: str
    sha256: str
    not_before: float
    not_after: float
    # An issuer chains to one of the anchors.
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of a workload beyond its resource: where it runs, what its sidecar last said."""

    key: Key
    pid: int = 0
    started: float = 0.0
    connected: bool = True
    identity: IdentityState = field(default_factory=IdentityState)
    notes: tuple[str, ...] = ()
    log_file: str = ""
    admin_socket: str = ""


class State(Protocol):
    """`gossamer.state.State`, as much of it as is needed."""

    @property
    def snapshot(self) -> Snapshot: ...

    @property
    def synced(self) -> bool: ...

    def apply(self, source: str, change: Change) -> None: ...

    def holder(self, kind: Kind[Any], key: Key, other_than: str = "") -> Origin | None: ...


class Declared(Protocol):
    """The documents people applied, kept as they wrote them. Source "store" of the state."""

    def document(self, kind: Kind[Any], key: Key) -> Document | None: ...

    def write(self, puts: Sequence[tuple[Object, Document]], removed: Sequence[tuple[Kind[Any], Key]]) -> None:
        """All of it durably, and then the state; or none. Raises ports.Unavailable and ports.Conflict."""


class Traffic(Protocol):
    """`gossamer.metrics.Edges`."""

    def rows(self, now: float, window: float = ..., group: str = ...) -> tuple[Edge, ...]: ...


Decode = Callable[[Document, Where], Object]
"""`gossamer.resources.decode`: raises InvalidResource."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Everything the admin API asks."""

    about: About
    state: State
    declared: Declared
    decode: Decode
    traffic: Traffic
    # Anchors and issuers, newest first.
    certificates: Callable[[], tuple[Sequence[Certificate], Sequence[Certificate]]]
    sidecars: Callable[[], Mapping[Key, Sidecar]]
    # Documents of watched folders that are refused.
    problems: Callable[[], Sequence[InvalidResource]]
    # The document of an object that was not applied but read from a file; None when it cannot be found again.
    original: Callable[[Object], Document | None]
    # Wall time in seconds.
    now: Callable[[], float]
    # Ends the control plane soon.
    stop: Callable[[], None]
    # What should be looked after of certificates, worst first, as `gossamer identity` says it.
    concerns: Callable[[], Sequence[Warning]] = tuple
    # Prometheus' text about the control plane itself.
    metrics: Callable[[], str] = str

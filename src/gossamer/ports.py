"""Everything the mesh asks of the outside world, as small Protocols, on one screen.

Adapters implement these; `gossamer.testing` ships in-memory ones; tests/contract holds one suite per port, run against
every implementation. Only words of `model` appear here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gossamer.model.change import Change

Deliver = Callable[[Change], None]
"""Takes what a source says, in order. `State.apply` with the source's name filled in."""


class Unavailable(Exception):
    """The environment cannot do it now: retried with backoff, or reported in one line."""


class Conflict(Exception):
    """A key was not in the version that a write expected. Read again and decide again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was changed by someone else")
        self.key = key


@dataclass(frozen=True, slots=True)
class Entry:
    """A value as stored. `version` starts at 1 and grows with every write of anything in the store."""

    key: str
    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Write:
    """`value` None deletes. `expected`: the version it must have now, 0 for absent, None for whatever."""

    key: str
    value: bytes | None
    expected: int | None = None


class Store(Protocol):
    """Small values under keys like `registrations/default/web-7f3k2`, changed by compare-and-swap."""

    def read(self, key: str) -> Entry | None: ...

    def scan(self, prefix: str) -> list[Entry]:
        """All entries whose key begins with `prefix`, by key."""

    def commit(self, writes: Sequence[Write]) -> None:
        """All of them, durably, or none and `Conflict`. Raises `Unavailable` when the disk says no."""


class ResourceSource(Protocol):
    """Delivers what exists: first everything it has with `Replace` (which says Synced), then changes."""

    @property
    def name(self) -> str: ...

    async def run(self, deliver: Deliver) -> None:
        """Runs until cancelled."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a token was made for: a workload ("default/web-0") and its registration's session, "" where unknown."""

    workload: str = ""
    session: str = ""


class TokenVerifier(Protocol):
    def check(self, token: bytes, identity: str, now: float) -> Holder:
        """Raises `Denied` unless `redeem` would accept it. Cheap: it is asked before anything is parsed."""

    def redeem(self, token: bytes, identity: str, now: float) -> Holder:
        """Accepts a join token for `identity` and uses it up; raises `Denied` otherwise. `now` in epoch seconds."""


class Denied(Exception):
    """The caller has not proven what it claims. The text is safe to send back."""


class KeyStore(Protocol):
    """Where the serving process finds what it signs with. It cannot reach an anchor's key."""

    def anchors(self) -> bytes:
        """The trust anchors, PEM."""

    def issuer(self) -> tuple[bytes, bytes]:
        """The issuer's certificate (then any intermediates) and its key, PEM."""


# The subject under which a `StatusSink` is told of the store itself.
THE_STORE = "the store"


class StatusSink(Protocol):
    def report(self, subject: str, problems: tuple[str, ...]) -> None:
        """What is wrong with `subject` now; an empty tuple takes back what was said before."""


class Leadership(Protocol):
    """Who of several replicas does what only one may: steps of a rotation, sweeps. The rest is compare-and-swap."""

    def held(self) -> bool:
        """Whether this process leads now: whether to begin something."""

    @property
    def store(self) -> Store:
        """As its leader writes it: a commit by one who leads no longer writes nothing, and is `Unavailable`."""

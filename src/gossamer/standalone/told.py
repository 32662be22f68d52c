"""What sidecars said of themselves to whichever replica: a rotation asks for everybody's word, each hears only some.

A replica stores what it heard, in so many parts that a part is small, and only those that changed. On one machine alone
nothing is stored. Traffic is not part of it: `edges` and `stat` are what the asked replica heard.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol
from zlib import crc32

from gossamer.model.edge import IdentityState
from gossamer.model.names import Key
from gossamer.ports import Conflict, Store, Unavailable, Write

PREFIX = "told/"
PARTS = 32
# Parts of one commit, each some ten thousand bytes where there are ten thousand workloads.
AT_ONCE = 8

_log = logging.getLogger("gossamer.replicas")


class Said(Protocol):
    @property
    def identity(self) -> IdentityState: ...

    @property
    def when(self) -> float: ...


@dataclass(slots=True)
class Told:
    """`when`: seconds since the epoch, by the clock of the replica that heard it."""

    identity: IdentityState
    when: float


Local = Callable[[str, str], Said | None]
"""(namespace, name) → what the sidecar last said here."""


class SharedTold:
    def __init__(
        self, store: Store, replica: str, local: Local, front: Key, alive: Callable[[], Container[str]]
    ) -> None:
        """`front`: each replica has one, and all are called that."""
        self._store = store
        self._replica = replica
        self._local = local
        self._front = front
        self._alive = alive
        self._stored: dict[int, bytes] = {}
        self._others: dict[str, dict[str, dict[str, Told]]] = {}
        for entry in store.scan(PREFIX):
            self.heard_of(entry.key, entry.value, entry.version)

    def heard(self, namespace: str, name: str) -> Told | None:
        """The newest of what was said anywhere; of the fronts, that of the one that is furthest behind."""
        here = self._local(namespace, name)
        own = Told(here.identity, here.when) if here is not None else None
        if not self._replica:
            return own
        place = f"{namespace}/{name}"
        part = str(_part(place))
        if (namespace, name) == (self._front.namespace, self._front.name):
            living = [parts for replica, parts in self._others.items() if replica in self._alive()]
            said = [own, *(parts.get(part, {}).get(place) for parts in living)]
            known = [one for one in said if one is not None]
            return min(known, key=lambda one: one.identity.bundle_generation) if len(known) == len(said) else None
        known = [one for parts in self._others.values() if (one := parts.get(part, {}).get(place)) is not None]
        return max([*known, *([own] if own else [])], key=lambda one: one.when, default=None)

    def heard_of(self, place: str, value: bytes | None, version: int) -> None:
        """Another replica stored a part."""
        replica, _, part = place.removeprefix(PREFIX).partition("/")
        if replica == self._replica:
            return
        parts = self._others.setdefault(replica, {})
        parts.pop(part, None)
        if value is not None:
            parts[part] = {name: _decoded(said) for name, said in json.loads(value).items()}
        if not parts:
            del self._others[replica]

    def share(self, workloads: Iterable[Key]) -> None:
        """Stores what was said here of workloads, and of the front, where that is news."""
        if not self._replica:
            return
        parts: dict[int, dict[str, Any]] = {}
        for key in (self._front, *workloads):
            said = self._local(key.namespace, key.name)
            if said is not None:
                place = f"{key.namespace}/{key.name}"
                parts.setdefault(_part(place), {})[place] = _encoded(said)
        news = {
            part: plain for part in range(PARTS) if (plain := _plain(parts.get(part, {}))) != self._stored.get(part)
        }
        changed = [part for part in news if part in parts or part in self._stored]
        for first in range(0, len(changed), AT_ONCE):
            some = changed[first : first + AT_ONCE]
            try:
                self._store.commit([self._write(part, parts.get(part)) for part in some])
            except (Unavailable, Conflict) as error:
                _log.debug("what sidecars said is not shared now: %s", error)
                return
            self._stored.update((part, news[part]) for part in some)

    def _write(self, part: int, said: dict[str, Any] | None) -> Write:
        value = json.dumps(said, separators=(",", ":")).encode() if said else None
        return Write(f"{PREFIX}{self._replica}/{part}", value)


def _part(place: str) -> int:
    return crc32(place.encode()) % PARTS


def _plain(said: dict[str, Any]) -> bytes:
    """Without the times: that a sidecar said the same again is no news."""
    return json.dumps({name: one["identity"] for name, one in sorted(said.items())}).encode()


def _encoded(said: Said) -> dict[str, Any]:
    identity = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(said.identity).items()
    }
    return {"when": said.when, "identity": identity}


def _decoded(document: dict[str, Any]) -> Told:
    """Fields this version does not know are left out."""
    default = IdentityState()
    known: dict[str, Any] = {}
    for one in fields(IdentityState):
        if one.name in document["identity"]:
            value = document["identity"][one.name]
            known[one.name] = bytes.fromhex(value) if isinstance(getattr(default, one.name), bytes) else value
    return Told(IdentityState(**known), float(document["when"]))

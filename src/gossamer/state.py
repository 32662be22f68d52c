"""The one mutable thing: takes changes from named sources, hands out snapshots, wakes who waits.

Must not derive anything from resources: that is `compile`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gossamer.model.change import Change, Put, Remove, Replace, Synced
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import Key, Kind, Origin
from gossamer.model.snapshot import Snapshot

Place = tuple[Kind[Any], Key]
Listener = Callable[[], None]


class State:
    """`sources` in order of precedence: when two declare the same object, the first is right.

    `schedule` runs a function soon, once (`loop.call_soon`): however many changes arrive in one turn of the loop,
    listeners are called once. Nobody is called before every source has said `Synced` (invariant 3).
    """

    def __init__(self, sources: Iterable[str], mesh: Mesh, schedule: Callable[[Listener], object]) -> None:
        self._sources: dict[str, dict[Place, Object]] = {name: {} for name in sources}
        self._waiting = set(self._sources)
        self._schedule = schedule
        self._scheduled = False
        self._listeners: dict[int, Listener] = {}
        self._next = 0
        self._snapshot = Snapshot(mesh)
        # Touched since the snapshot was made.
        self._touched: dict[Place, None] = {}

    @property
    def synced(self) -> bool:
        return not self._waiting

    @property
    def snapshot(self) -> Snapshot:
        """What is known now. Before `synced` it is incomplete and must not reach a sidecar."""
        if self._touched:
            puts, removed = [], []
            for place in self._touched:
                current = self._current(place)
                if current is None:
                    removed.append(place)
                else:
                    puts.append(current)
            self._touched.clear()
            self._snapshot = self._snapshot.changed(puts, removed)
        return self._snapshot

    def apply(self, source: str, change: Change) -> None:
        """Takes a change from a source named at construction (KeyError otherwise)."""
        held = self._sources[source]
        match change:
            case Put(resource):
                self._put(held, resource)
            case Remove(kind, key):
                self._remove(held, (kind, key))
            case Replace(resources):
                kept = {(resource.kind, resource.key) for resource in resources}
                for place in [place for place in held if place not in kept]:
                    self._remove(held, place)
                for resource in resources:
                    self._put(held, resource)
                self._sync(source)
            case Synced():
                self._sync(source)

    def set_mesh(self, mesh: Mesh) -> None:
        """Replaces what is true of the whole mesh, for example when a trust bundle changes."""
        current = self.snapshot
        if mesh != current.mesh:
            self._snapshot = current.with_mesh(mesh)
            self._wake()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` after changes, at most once per turn. Returns what ends it."""
        token = self._next
        self._next += 1
        self._listeners[token] = listener
        return lambda: self._listeners.pop(token, None) and None

    def holder(self, kind: Kind[Any], key: Key, other_than: str = "") -> Origin | None:
        """Who declares this object already, leaving out the source `other_than`; for refusing a second declaration."""
        for name, held in self._sources.items():
            if name != other_than and (kind, key) in held:
                return held[(kind, key)].origin
        return None

    def held_by(self, source: str) -> tuple[Object, ...]:
        """Everything one source has declared, in the order of arrival."""
        return tuple(self._sources[source].values())

    def _current(self, place: Place) -> Object | None:
        return next((held[place] for held in self._sources.values() if place in held), None)

    def _put(self, held: dict[Place, Object], resource: Object) -> None:
        place = (resource.kind, resource.key)
        old = held.get(place)
        if old is not None and old == resource and old.origin == resource.origin:
            return
        held[place] = resource
        self._touched[place] = None
        self._wake()

    def _remove(self, held: dict[Place, Object], place: Place) -> None:
        if held.pop(place, None) is not None:
            self._touched[place] = None
            self._wake()

    def _sync(self, source: str) -> None:
        if source in self._waiting:
            self._waiting.discard(source)
            self._wake()

    def _wake(self) -> None:
        if not self._scheduled and self.synced:
            self._scheduled = True
            self._schedule(self._call)

    def _call(self) -> None:
        self._scheduled = False
        for listener in list(self._listeners.values()):
            listener()

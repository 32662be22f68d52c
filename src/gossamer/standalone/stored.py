"""Resources that `gossamer apply` put into the store: a `ResourceSource` named "store", and the way to change it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gossamer.model.change import Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind, Origin
from gossamer.ports import Deliver, Entry, StatusSink, Store, Unavailable, Write
from gossamer.resources.problem import InvalidResource, Where
from gossamer.standalone.addresses import Taken
from gossamer.standalone.directory import Decode
from gossamer.standalone.virtual import Virtual

PREFIX = "resources/"
_log = logging.getLogger("gossamer.store")


@dataclass(frozen=True, slots=True)
class Declared:
    """An object and the document it was decoded from."""

    resource: Object
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """`action` is "created", "configured", "unchanged" or "deleted"."""

    kind: Kind[Any]
    key: Key
    action: str


class Stored:
    name = "store"

    def __init__(self, store: Store, decode: Decode, virtual: Virtual, status: StatusSink) -> None:
        self._store = store
        self._decode = decode
        self._virtual = virtual
        self._status = status
        self._deliver: Deliver | None = None
        # What each key of the store holds.
        self._places: dict[str, tuple[Kind[Any], Key]] = {}

    async def run(self, deliver: Deliver) -> None:
        """Delivers what is there. Later changes come through `apply`, `delete`, and from others through `heard`."""
        self.start(deliver)
        await asyncio.get_running_loop().create_future()

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        found = []
        for entry in self._store.scan(PREFIX):
            resource = self._understood(entry.key, entry.value)
            if resource is not None:
                found.append(resource)
        deliver(Replace(tuple(found)))

    def heard(self, place: str, value: bytes | None, version: int) -> None:
        """Another replica changed the store below `PREFIX`. What cannot be understood leaves what was before."""
        if value is None:
            gone = self._places.pop(place, None)
            if gone is not None:
                self._say(Remove(*gone))
            return
        resource = self._understood(place, value)
        if resource is not None:
            self._say(Put(resource))

    def apply(self, declared: Sequence[Declared], now: float, *, dry_run: bool = False) -> list[Result]:
        """All or none. Raises `Taken`, `Unavailable`, or `Conflict` when somebody else changed the same just now."""
        results: list[Result] = []
        writes: list[Write] = []
        changed: list[Object] = []
        for one in declared:
            resource = replace(one.resource, origin=Origin(self.name))
            place = _place(resource.kind, resource.key)
            held = self._store.read(place)
            document = _stamped(one.document, held, now)
            value = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
            if held is not None and held.value == value:
                results.append(Result(resource.kind, resource.key, "unchanged"))
                continue
            action = "created" if held is None else "configured"
            results.append(Result(resource.kind, resource.key, action))
            writes.append(Write(place, value, expected=held.version if held is not None else 0))
            stamped = self._decode(document, Where(self.name))
            changed.append(replace(stamped, origin=Origin(self.name)))
        if dry_run:
            return results
        filled = [self._virtual.filled(one) for one in changed]
        self._store.commit(writes)
        for resource in filled:
            self._places[_place(resource.kind, resource.key)] = (resource.kind, resource.key)
            self._say(Put(resource))
        return results

    def delete(self, places: Sequence[tuple[Kind[Any], Key]], *, dry_run: bool = False) -> list[Result]:
        """Those of the objects that are here; the others are left out of the results."""
        found = [(kind, key) for kind, key in places if self._store.read(_place(kind, key)) is not None]
        if not dry_run:
            self._store.commit([Write(_place(kind, key), None) for kind, key in found])
            for kind, key in found:
                self._say(Remove(kind, key))
        return [Result(kind, key, "deleted") for kind, key in found]

    def document(self, kind: Kind[Any], key: Key) -> dict[str, Any] | None:
        """As it was applied."""
        entry = self._store.read(_place(kind, key))
        if entry is None:
            return None
        found: dict[str, Any] = json.loads(entry.value)
        return found

    def _understood(self, place: str, value: bytes) -> Object | None:
        """What is stored; None where another version of Gossamer wrote it: left alone, and said."""
        try:
            read = replace(self._decode(json.loads(value), Where(self.name)), origin=Origin(self.name))
            self._places[place] = (read.kind, read.key)
            resource = self._virtual.filled(read)
        except (InvalidResource, Taken, Unavailable) as error:
            _log.warning("%s: %s", place, error)
            self._status.report(place, (f"{place}: {error}",))
            return None
        self._status.report(place, ())
        return resource

    def _say(self, change: Put | Remove) -> None:
        if self._deliver is not None:
            self._deliver(change)


def _stamped(document: Mapping[str, Any], held: Entry | None, now: float) -> dict[str, Any]:
    """The document with `metadata.creationTimestamp`: that of the stored one, or now. Older objects win conflicts."""
    created = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if held is not None:
        created = json.loads(held.value).get("metadata", {}).get("creationTimestamp", created)
    return {**document, "metadata": {**document.get("metadata", {}), "creationTimestamp": created}}


def _place(kind: Kind[Any], key: Key) -> str:
    return f"{PREFIX}{kind}/{key.namespace}/{key.name}"

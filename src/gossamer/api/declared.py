"""The documents people applied, kept in the store as they wrote them; source "store" of the state.

Keys are `resources/<kind>/<namespace>/<name>`. A document that this version cannot read any more (it was written by
another one) is kept and reported, never dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from gossamer.api.plane import Document
from gossamer.model.change import Change, Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind
from gossamer.ports import Store, Write
from gossamer.resources.problem import InvalidResource, Where

PREFIX = "resources/"
SOURCE = "store"


class StoredDocuments:
    """`decode` makes a document's value; `deliver` takes changes into the state."""

    def __init__(
        self, store: Store, decode: Callable[[Document, Where], Object], deliver: Callable[[Change], None]
    ) -> None:
        self._store = store
        self._decode = decode
        self._deliver = deliver
        self.problems: list[InvalidResource] = []

    def load(self) -> None:
        """Delivers everything stored. Call once, at start."""
        found: list[Object] = []
        for entry in self._store.scan(PREFIX):
            try:
                found.append(self._decode(json.loads(entry.value), Where(SOURCE)))
            except InvalidResource as problem:
                where = Where(f"store {entry.key.removeprefix(PREFIX)}")
                self.problems.append(InvalidResource(where, problem.field, problem.message, problem.remedy))
        self._deliver(Replace(tuple(found)))

    def document(self, kind: Kind[Any], key: Key) -> Document | None:
        entry = self._store.read(place(kind, key))
        if entry is None:
            return None
        document = json.loads(entry.value)
        assert isinstance(document, dict)
        return document

    def write(self, puts: Sequence[tuple[Object, Document]], removed: Sequence[tuple[Kind[Any], Key]]) -> None:
        """All of it durably, and then the state; or none. Raises Unavailable and Conflict."""
        self._store.commit(
            [
                *(Write(place(value.kind, value.key), json.dumps(document).encode()) for value, document in puts),
                *(Write(place(kind, key), None) for kind, key in removed),
            ]
        )
        for value, _ in puts:
            self._deliver(Put(value))
        for kind, key in removed:
            self._deliver(Remove(kind, key))


def place(kind: Kind[Any], key: Key) -> str:
    """The store's key of an object."""
    assert not re.search(r"[\0\n]", f"{key.namespace}{key.name}")
    return f"{PREFIX}{kind}/{key.namespace}/{key.name}"

"""The standalone adapter's parts, wired in memory, with a clock that is told what time it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from gossamer.model.change import Change, Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import Key, Kind
from gossamer.ports import Store
from gossamer.standalone.addresses import Addresses
from gossamer.standalone.registration import Asked, asked
from gossamer.standalone.registry import Registry
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.virtual import Virtual
from gossamer.testing.store import MemoryStore

MESH = Mesh()


class World:
    def __init__(self, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.now = 1000.0
        self.mesh = Seen()
        self.addresses = Addresses(self.store, IPv4Network("127.64.0.0/10"), os.urandom)
        self.virtual = Virtual(Addresses(self.store, IPv4Network("198.19.0.0/16"), os.urandom))
        self.tokens = Tokens(self.store, os.urandom)
        self.registry = self._registry()
        self.registry.start(self.mesh.take)

    def clock(self) -> float:
        return self.now

    def restart(self) -> None:
        """Another process finds the same store."""
        self.registry = self._registry()
        self.mesh = Seen()
        self.registry.start(self.mesh.take)

    def _registry(self) -> Registry:
        return Registry(self.store, self.addresses, self.virtual, MESH, "node-1", self.clock, os.urandom)


class Seen:
    """What a source has said, folded."""

    def __init__(self) -> None:
        self.held: dict[tuple[Kind[Any], Key], Object] = {}
        self.changes: list[Change] = []
        self.synced = False

    def take(self, change: Change) -> None:
        self.changes.append(change)
        match change:
            case Put(resource):
                self.held[(resource.kind, resource.key)] = resource
            case Remove(kind, key):
                self.held.pop((kind, key), None)
            case Replace(resources):
                self.held = {(one.kind, one.key): one for one in resources}
                self.synced = True

    def of(self, kind: Kind[Any]) -> list[Any]:
        return [value for (one, _), value in self.held.items() if one == kind]


class Reports:
    """The `StatusSink` port, remembered."""

    def __init__(self) -> None:
        self.problems: dict[str, tuple[str, ...]] = {}

    def report(self, subject: str, problems: tuple[str, ...]) -> None:
        self.problems.pop(subject, None)
        if problems:
            self.problems[subject] = problems


def wanted(**more: Any) -> Asked:
    document: Mapping[str, Any] = {"namespace": "default", "service": "web", "service_account": "web", **more}
    return asked(dict(document))

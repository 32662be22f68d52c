"""The control plane in one function: what is known, and a question, make the answer.

Must not do I/O, keep anything between two calls (but for `Memo`, which only skips work), or know a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gossamer.discovery.endpoints import endpoints
from gossamer.discovery.names import names
from gossamer.discovery.outbound import outbound
from gossamer.discovery.profile import profile
from gossamer.model.facets import Facet
from gossamer.model.mesh import Mesh
from gossamer.model.names import LOCAL_CLUSTER, IPAddress, Key, Kind
from gossamer.model.proxy_config import Config
from gossamer.model.snapshot import Owner, Snapshot, View
from gossamer.model.subscription import Endpoints, Inbound, Names, Outbound, Profile, Subscription, TrustBundle
from gossamer.policy.inbound import inbound

T = TypeVar("T")


def compile(view: View, subscription: Subscription) -> Config:
    """The complete answer to one question. `NotFound` and `Invalid` are answers too."""
    match subscription:
        case Inbound():
            return inbound(view, subscription)
        case Outbound():
            return outbound(view, subscription)
        case Endpoints():
            return endpoints(view, subscription)
        case Profile():
            return profile(view, subscription)
        case Names():
            return names(view, subscription)
        case TrustBundle():
            return view.mesh.bundle


class Memo:
    """The last answer to one question, and what it was made from (invariant 5).

    While everything that was read is still the identical object, the answer is the same and nothing is computed; an
    answer that is computed again and equal stays the identical object, so callers compare by `is`.
    """

    __slots__ = ("_reads", "_snapshot", "subscription", "value")

    def __init__(self, subscription: Subscription, snapshot: Snapshot) -> None:
        self.subscription = subscription
        self._snapshot = snapshot
        reads = _Reads(snapshot)
        self.value = compile(reads, subscription)
        self._reads = reads.seen

    def update(self, snapshot: Snapshot) -> bool:
        """Brings `value` up to date; whether it changed."""
        if snapshot is self._snapshot:
            return False
        self._snapshot = snapshot
        if all(_again(snapshot, read) is seen for read, seen in self._reads.items()):
            return False
        reads = _Reads(snapshot)
        value = compile(reads, self.subscription)
        self._reads = reads.seen
        if value == self.value:
            return False
        self.value = value
        return True


# (name of the View's method, its arguments)
_Read = tuple[str, tuple[Any, ...]]


def _again(snapshot: Snapshot, read: _Read) -> object:
    name, arguments = read
    return snapshot.mesh if name == "mesh" else getattr(snapshot, name)(*arguments)


class _Reads:
    """A View that notes what was read and what came."""

    __slots__ = ("_snapshot", "seen")

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.seen: dict[_Read, object] = {}

    @property
    def mesh(self) -> Mesh:
        self.seen[("mesh", ())] = self._snapshot.mesh
        return self._snapshot.mesh

    def get(self, kind: Kind[T], key: Key) -> T | None:
        found = self._snapshot.get(kind, key)
        self.seen[("get", (kind, key))] = found
        return found

    def within(self, kind: Kind[T], namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        found = self._snapshot.within(kind, namespace, cluster)
        self.seen[("within", (kind, namespace, cluster))] = found
        return found

    def about(self, kind: Kind[T], facet: Facet, namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        found = self._snapshot.about(kind, facet, namespace, cluster)
        self.seen[("about", (kind, facet, namespace, cluster))] = found
        return found

    def all(self, kind: Kind[T]) -> Mapping[tuple[str, str], Mapping[str, T]]:
        found = self._snapshot.all(kind)
        self.seen[("all", (kind,))] = found
        return found

    def at(self, address: IPAddress) -> Owner | None:
        found = self._snapshot.at(address)
        self.seen[("at", (address,))] = found
        return found

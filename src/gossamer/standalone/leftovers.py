"""What nobody looks after any more in a store that may fail in the middle of things: addresses without their workload,
and words of replicas that have gone for good. The leader's to sweep; a sweep may be late, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from gossamer.ports import Conflict, Leadership, Store, Write
from gossamer.standalone.addresses import ADDRESSES, OWNERS
from gossamer.standalone.advertised import OWNERS as ADVERTISES
from gossamer.standalone.advertised import PLACES as ADVERTISED
from gossamer.standalone.replicas import PREFIX as REPLICAS
from gossamer.standalone.told import PREFIX as TOLD

WORKLOAD = "workload/"
# A workload's address is stored a moment before the workload. Seconds.
ORPHAN = 120.0
# A replica that is away for so long does not come back, or begins anew.
GONE = 24 * 3600.0


class Leftovers:
    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        workloads: Callable[[], Collection[str]],
        alive: Callable[[], Collection[str]],
    ) -> None:
        """`workloads`: the owners of addresses that are registered, `workload/NAMESPACE/NAME`; `alive`: replicas."""
        self._store = store
        self._leadership = leadership
        self._workloads = workloads
        self._alive = alive
        # When each was first seen to belong to nobody.
        self._since: dict[str, float] = {}

    def sweep(self, now: float) -> list[str]:
        """Removes what has long been nobody's, by name; for the leader, nothing for others. Raises `Unavailable`."""
        if not self._leadership.held():
            self._since.clear()
            return []
        found = {**self._owners(), **self._replicas()}
        self._since = {name: self._since.get(name, now) for name in found}
        removed = []
        for name, (writes, patience) in found.items():
            if now - self._since[name] < patience:
                continue
            try:
                self._leadership.store.commit(writes)
            except Conflict:
                continue  # somebody has just taken it up
            removed.append(name)
        return removed

    def _owners(self) -> dict[str, tuple[list[Write], float]]:
        known = self._workloads()
        found = {}
        for owners, places in ((OWNERS, ADDRESSES), (ADVERTISES, ADVERTISED)):
            for entry in self._store.scan(owners + WORKLOAD):
                if entry.key.removeprefix(owners) not in known:
                    gone = [Write(entry.key, None, entry.version), Write(places + entry.value.decode(), None)]
                    found[entry.key] = (gone, ORPHAN)
        return found

    def _replicas(self) -> dict[str, tuple[list[Write], float]]:
        alive = self._alive()
        found = {}
        for entry in self._store.scan(REPLICAS):
            replica = entry.key.removeprefix(REPLICAS)
            if replica not in alive:
                told = [Write(one.key, None) for one in self._store.scan(f"{TOLD}{replica}/")]
                found[entry.key] = ([Write(entry.key, None, entry.version), *told], GONE)
        return found

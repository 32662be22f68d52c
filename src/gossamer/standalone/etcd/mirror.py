"""What one replica knows of the shared store: fed by a watch, and by this replica's own writes before the watch tells.

Pure; whoever uses it from two threads holds a lock. The law: whatever the order in which own writes and news of them
arrive, a key ends in its newest state and is never seen to go back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gossamer.ports import Entry


@dataclass(frozen=True, slots=True)
class News:
    """A key in a new state; `value` None: deleted at `version`."""

    key: str
    value: bytes | None
    version: int


class Mirror:
    def __init__(self) -> None:
        self._held: dict[str, Entry] = {}
        # Deleted by this replica at a revision that the watch has not reached.
        self._gone: dict[str, int] = {}
        self.revision = 0
        """Everything up to here has been heard."""

    def read(self, key: str) -> Entry | None:
        return self._held.get(key)

    def scan(self, prefix: str) -> list[Entry]:
        return [self._held[key] for key in sorted(self._held) if key.startswith(prefix)]

    def wrote(self, news: Iterable[News]) -> None:
        """Of this replica's own commit, once etcd has said that it is done: the watch may have been quicker."""
        self.heard(news, 0)

    def heard(self, news: Iterable[News], revision: int) -> list[News]:
        """From the watch, in the order of versions; returns what was new here. `revision` 0: more of it follows."""
        # What is not newer than what was heard has been heard.
        new = [one for one in news if one.version > self.revision and self._take(one)]
        if revision > self.revision:
            self.revision = revision
            self._gone = {key: version for key, version in self._gone.items() if version > revision}
        return new

    def replaced(self, entries: Iterable[Entry], revision: int) -> list[News]:
        """Everything, read at one revision; returns what was new here."""
        found = {entry.key: entry for entry in entries}
        gone = [
            News(key, None, revision)
            for key, entry in self._held.items()
            if key not in found and entry.version <= revision
        ]
        return self.heard([*gone, *(News(one.key, one.value, one.version) for one in found.values())], revision)

    def _take(self, one: News) -> bool:
        held = self._held.get(one.key)
        if one.version <= max(held.version if held else 0, self._gone.get(one.key, 0)):
            return False
        if one.value is None:
            if one.version > self.revision:
                self._gone[one.key] = one.version
            return self._held.pop(one.key, None) is not None
        self._gone.pop(one.key, None)
        self._held[one.key] = Entry(one.key, one.value, one.version)
        return True

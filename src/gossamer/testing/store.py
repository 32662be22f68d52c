"""The `Store` port in memory, with the same compare-and-swap as the real ones."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.ports import Conflict, Entry, Write


class MemoryStore:
    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._version = 0

    def read(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def scan(self, prefix: str) -> list[Entry]:
        return [self._entries[key] for key in sorted(self._entries) if key.startswith(prefix)]

    def commit(self, writes: Sequence[Write]) -> None:
        if not writes:
            return
        after = dict(self._entries)
        for write in writes:
            current = after.get(write.key)
            if write.expected is not None and write.expected != (current.version if current else 0):
                raise Conflict(write.key)
            if write.value is None:
                after.pop(write.key, None)
            else:
                after[write.key] = Entry(write.key, write.value, self._version + 1)
        self._version += 1
        self._entries = after

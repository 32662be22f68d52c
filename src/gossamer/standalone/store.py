"""The `Store` port on SQLite: one table of small values, changed by compare-and-swap.

Must not know what the values mean. Used from one thread; a second process may read and write beside it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gossamer.ports import Conflict, Entry, Unavailable, Write

# Kept in SQLite's user_version. A newer one is refused: it may mean what this program cannot know (seams §32).
SCHEMA = 1
# A key in a table bounds nothing; a value does.
LARGEST_VALUE = 4 * 1024 * 1024

_CREATE = """
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (version INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""


class SqliteStore:
    """Survives the death of the process at any instruction; a power cut may take the last moments with it."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file (0600). Raises `Unavailable` in one line."""
        self._path = path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF;")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def read(self, key: str) -> Entry | None:
        rows = self._rows("SELECT key, value, version FROM entries WHERE key = ?", (key,))
        return rows[0] if rows else None

    def scan(self, prefix: str) -> list[Entry]:
        # U+10FFFF sorts behind everything a key may hold.
        return self._rows(
            "SELECT key, value, version FROM entries WHERE key >= ? AND key < ? ORDER BY key",
            (prefix, prefix + "\U0010ffff"),
        )

    def commit(self, writes: Sequence[Write]) -> None:
        if not writes:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                (version,) = self._db.execute("UPDATE counter SET version = version + 1 RETURNING version").fetchone()
                for write in writes:
                    self._write(write, version)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from error

    def _write(self, write: Write, version: int) -> None:
        row = self._db.execute("SELECT version FROM entries WHERE key = ?", (write.key,)).fetchone()
        current = row[0] if row else 0
        if write.expected is not None and write.expected != current:
            raise Conflict(write.key)
        if write.value is None:
            self._db.execute("DELETE FROM entries WHERE key = ?", (write.key,))
            return
        if len(write.value) > LARGEST_VALUE:
            raise Unavailable(f"{write.key}: larger than {LARGEST_VALUE} bytes")
        self._db.execute(
            "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET value = ?2, version = ?3",
            (write.key, write.value, version),
        )

    def _rows(self, query: str, arguments: tuple[str, ...]) -> list[Entry]:
        try:
            return [Entry(*row) for row in self._db.execute(query, arguments)]
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from error

    def _migrate(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > SCHEMA:
            raise Unavailable(
                f"{self._path}: written by a newer Gossamer (schema {found}, this one knows {SCHEMA}); "
                "upgrade, or use another --mesh"
            )
        if found == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_CREATE} PRAGMA user_version = {SCHEMA}; COMMIT;")

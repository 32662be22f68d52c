"""The issuance log on disk, appended to and never rewritten, and what is remembered of it: certificates still valid.

When the file is full it becomes `issuance.log.1`, and so on up to `KEPT`; the chain of hashes goes through all of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from gossamer.identity.issuance import BEGINNING, Entry, Issued, digest, line, parse
from gossamer.ports import Unavailable

MOST_BYTES = 16 << 20
KEPT = 8
# Valid certificates remembered; the oldest are forgotten first.
REMEMBERED = 200_000

_log = logging.getLogger("gossamer.identity")


class IssuanceLog:
    def __init__(self, path: Path, now: float, most_bytes: int = MOST_BYTES) -> None:
        """Reads what there is. Raises `Unavailable` when the file cannot be opened."""
        self._path = path
        self._most = most_bytes
        self._before = BEGINNING
        self._valid: dict[str, Entry] = {}
        for text in self.lines():
            try:
                entry = parse(text)
            except ValueError as error:
                _log.warning("%s: a line is left out: %s", path, error)
                continue
            if entry.not_after > now:
                self._remember(entry)
            self._before = digest(text)
        self._file = self._opened()

    def append(self, issued: Issued) -> None:
        """Raises `Unavailable`: a certificate nobody knows of must not leave."""
        text = line(issued, self._before)
        try:
            if os.write(self._file, text) != len(text):
                raise OSError("the disk is full")
            if os.fstat(self._file).st_size > self._most:
                self._turn()
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror or error}") from error
        self._before = digest(text)
        self._remember(parse(text))

    def find(self, serial: str) -> Entry | None:
        """A certificate that was valid when it was last heard of."""
        return self._valid.get(serial)

    def of(self, identity: str, now: float) -> Iterator[Entry]:
        """Every valid certificate of an identity."""
        return (one for one in tuple(self._valid.values()) if one.identity == identity and one.not_after > now)

    def forget(self, now: float) -> None:
        for serial in [serial for serial, one in self._valid.items() if one.not_after <= now]:
            del self._valid[serial]

    def lines(self) -> Iterator[bytes]:
        """All that is kept, oldest first; a last line that was cut off by a crash is left out."""
        for path in (*(self._numbered(number) for number in range(KEPT, 0, -1)), self._path):
            try:
                with path.open("rb") as file:
                    yield from (text for text in file if text.endswith(b"\n"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise Unavailable(f"{path}: {error.strerror or error}") from error

    def close(self) -> None:
        os.close(self._file)

    def _opened(self) -> int:
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self._path, flags, 0o600)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                os.write(file, b"\n")
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror or error}") from error
        return file

    def _turn(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        os.close(self._file)
        self._file = self._opened()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _remember(self, entry: Entry) -> None:
        self._valid[entry.serial] = entry
        if len(self._valid) > REMEMBERED:
            del self._valid[next(iter(self._valid))]

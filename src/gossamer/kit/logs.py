"""One line per event, plain or JSON, whatever is in it: control characters are escaped, so nobody can forge a line.

Must not be given secrets: there is no redaction here.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

Format = Literal["plain", "json"]

# Of a log file; as much again is kept beside it.
MOST_BYTES = 1 << 20

# C0, DEL, C1, and what some terminals and parsers take for the end of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def setup(level: str, format: Format = "plain", stream: TextIO | None = None, file: Path | None = None) -> None:
    """Sends every record of this process to `stream` (stderr). `level`: a name such as "info".

    `file`: where whoever started this process may have led `stream`; if so, that file is kept small.
    """
    handler = _Handler(stream or sys.stderr, file)
    handler.setFormatter(_Json() if format == "json" else _Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def bound(file: Path) -> bool:
    """Moves the end of a file that has grown beyond `MOST_BYTES` to `FILE.1` and begins it anew; whether it did.

    It is cut in place, for those who have it open for appending. What others write at this moment may be lost. Raises
    OSError; the file is cut nevertheless.
    """
    try:
        log = file.open("rb+")
    except FileNotFoundError:
        return False
    with log:
        size = os.fstat(log.fileno()).st_size
        if size <= MOST_BYTES:
            return False
        try:
            log.seek(size - MOST_BYTES)
            previous(file).write_bytes(log.read(MOST_BYTES))
        finally:
            log.truncate(0)
    return True


def previous(file: Path) -> Path:
    """Where `bound` leaves what was in the file before."""
    return file.with_name(f"{file.name}.1")


class _Handler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, file: Path | None) -> None:
        super().__init__(stream)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self._file is None:
            return
        try:
            written = os.fstat(self.stream.fileno())
            if written.st_size > MOST_BYTES and os.path.samestat(written, self._file.stat()):
                bound(self._file)
        except OSError:
            self.handleError(record)


def escaped(text: str) -> str:
    """`text` with every control character as \\xNN or \\uNNNN."""
    return _CONTROL.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text} | {self.formatException(record.exc_info)}"
        return f"{_time(record)} {record.levelname:<7} {record.name}: {escaped(text)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "target": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event)

"""One line per event, plain or JSON, whatever is in it: control characters are escaped, so nobody can forge a line.

Must not be given secrets: there is no redaction here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

Format = Literal["plain", "json"]

# C0, DEL, C1, and what some terminals and parsers take for the end of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def setup(level: str, format: Format = "plain", stream: TextIO | None = None) -> None:
    """Sends every record of this process to `stream` (stderr). `level`: a name such as "info"."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


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

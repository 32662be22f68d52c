"""A request's target, read once as the sidecar reads it (docs/decisions/how-policy-reads-a-request.md). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEGMENTS = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-F]{2})*)+")
# Printable and no fragment: a query decides nothing unless a rule asks for it.
_QUERY = re.compile(r'[!"$-~]*')
_ENCODED = re.compile(r"%([0-9A-F]{2})")
# What normalisation decodes, and where servers disagree.
_NEVER_ENCODED = re.compile(r"[A-Za-z0-9._~/\\\x00-\x1f\x7f-]")


@dataclass(frozen=True, slots=True)
class Path:
    """Without its query."""

    text: str
    query: str | None = None

    @property
    def is_path(self) -> bool:
        return self.text.startswith("/") or (self.text == "*" and self.query is None)

    @property
    def is_canonical(self) -> bool:
        """Whether every server reads the same resource from it."""
        if self.text == "*":
            return self.query is None
        parts = self.text.split("/")[1:]
        # An empty last segment is a trailing slash.
        if not _SEGMENTS.fullmatch(self.text) or any(not part for part in parts[:-1]):
            return False
        if any(part in (".", "..") for part in parts) or not _QUERY.fullmatch(self.query or ""):
            return False
        decoded = [int(one, 16) for one in _ENCODED.findall(self.text)]
        return not any(_NEVER_ENCODED.match(chr(byte)) for byte in decoded if byte < 128) and _is_utf8(self.text)

    @property
    def grpc(self) -> tuple[str, str] | None:
        """Service and method of the only form that a gRPC request may have."""
        parts = self.text.split("/")
        if not self.is_canonical or self.query is not None or len(parts) != 3 or not parts[1] or not parts[2]:
            return None
        return parts[1], parts[2]


def read(target: str) -> Path:
    text, mark, query = target.partition("?")
    return Path(text, query if mark else None)


def _is_utf8(text: str) -> bool:
    """Whether what is encoded is UTF-8, run by run: a character is never half encoded."""
    for run in re.findall(r"(?:%[0-9A-F]{2})+", text):
        try:
            bytes.fromhex(run.replace("%", "")).decode()
        except UnicodeDecodeError:
            return False
    return True

"""The issuance log's lines: one per certificate, each holding the hash of the line before it. Values only.

Who can change the file can leave lines out at its end, but not in its middle: `broken` finds where the chain does not
hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gossamer.identity.authority import Leaf, from_timestamp

BEGINNING = "0" * 64


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and to whom it went. `proof`: "token" or "certificate"; `parent`: the serial that was shown.

    `workload` ("default/web-0") and `session` (its registration's) are "" where they could not be known. `when`: epoch
    seconds.
    """

    leaf: Leaf
    when: float
    proof: str
    parent: str = ""
    workload: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line as it was read. `serial` is lower-case hexadecimal without leading zeros."""

    when: float
    identity: str
    serial: str
    key_sha256: str
    not_after: float
    proof: str
    parent: str
    workload: str
    session: str
    before: str


def line(issued: Issued, before: str) -> bytes:
    """`before`: the hash of the previous line, `BEGINNING` for the first."""
    leaf = issued.leaf
    document = {
        "time": _text(from_timestamp(issued.when)),
        "identity": leaf.identity,
        "serial": f"{leaf.serial:x}",
        "key_sha256": leaf.key_sha256,
        "not_after": _text(leaf.not_after),
        "proof": issued.proof,
        "parent": issued.parent,
        "workload": issued.workload,
        "session": issued.session,
        "before": before,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def digest(text: bytes) -> str:
    """Of a line with its end."""
    return hashlib.sha256(text).hexdigest()


def parse(text: bytes) -> Entry:
    """Raises ValueError for what is no line of an issuance log."""
    document = json.loads(text)
    try:
        return Entry(
            when=_seconds(document["time"]),
            identity=document["identity"],
            serial=document["serial"],
            key_sha256=document["key_sha256"],
            not_after=_seconds(document["not_after"]),
            proof=document["proof"],
            parent=document["parent"],
            workload=document["workload"],
            session=document["session"],
            before=document["before"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a line of an issuance log: {error}") from error


def broken(lines: Iterable[bytes]) -> int | None:
    """The number (from 1) of the first line that does not follow from the one before it; None when all do."""
    before: str | None = None
    for number, text in enumerate(lines, 1):
        try:
            entry = parse(text)
        except ValueError:
            return number
        if before is not None and entry.before != before:
            return number
        before = digest(text)
    return None


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()

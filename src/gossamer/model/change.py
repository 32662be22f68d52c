"""What a source says about its resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind


@dataclass(frozen=True, slots=True)
class Put:
    """This resource exists, and is so."""

    resource: Object


@dataclass(frozen=True, slots=True)
class Remove:
    """The source has it no longer. Not an error when it never had."""

    kind: Kind[Any]
    key: Key


@dataclass(frozen=True, slots=True)
class Replace:
    """Everything the source has: whatever it had and is not here is gone. Also says `Synced`."""

    resources: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Synced:
    """The source has delivered its first full list."""


Change = Put | Remove | Replace | Synced

"""What is wrong with a document, said so that its author can mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Where:
    """A document's place. `line` is 1-based, of its first key; 0 when unknown."""

    source: str
    line: int = 0
    # JSON path below the document → line, as far as they are known.
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def at(self, path: str) -> int:
        """The line of a field, or of the nearest thing around it whose line is known."""
        while path:
            if path in self.lines:
                return self.lines[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[: max(cut, 0)]
        return self.line


class InvalidResource(Exception):
    """A document that cannot be accepted. Someone with the file in hand can fix it.

    `field` is a JSON path below the document ("spec.rules[0].matches[1].path.type"), or "" for all of it; `line` is
    that field's; `remedy` says what to write instead.
    """

    def __init__(self, where: Where, field: str, message: str, remedy: str = "") -> None:
        super().__init__(where, field, message, remedy)
        self.where = where
        self.field = field
        self.line = where.at(field)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where.source}:{self.line}" if self.line else self.where.source
        text = f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        return f"{text}; {self.remedy}" if self.remedy else text

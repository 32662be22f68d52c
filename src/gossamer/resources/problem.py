"""What is wrong with a document, said so that its author can mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A document's place. `line` is 1-based, of its first key; 0 when unknown."""

    source: str
    line: int = 0


class InvalidResource(Exception):
    """A document that cannot be accepted. Someone with the file in hand can fix it.

    `field` is a JSON path below the document ("spec.rules[0].matches[1].path.type"), or "" for all of it;
    `remedy` says what to write instead.
    """

    def __init__(self, where: Where, field: str, message: str, remedy: str = "") -> None:
        super().__init__(where, field, message, remedy)
        self.where = where
        self.field = field
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where.source}:{self.where.line}" if self.where.line else self.where.source
        text = f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        return f"{text}; {self.remedy}" if self.remedy else text

"""Typed reading of one object of a document, naming the field in every refusal.

Used as a context manager: what nobody asked for by the end is unknown, and refused (as `kubectl --validate=strict`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from gossamer.resources.problem import InvalidResource, Where

T = TypeVar("T")
MAX_ITEMS = 4096


class Reader:
    """`lenient`: unknown fields say nothing, as in what an API server has admitted already."""

    def __init__(self, value: Any, path: str, where: Where, lenient: bool = False) -> None:
        self.path = path
        self.where = where
        self.lenient = lenient
        if not isinstance(value, dict):
            raise InvalidResource(where, path, f"must be an object, not {_named(value)}")
        self.value: dict[str, Any] = value
        self._known: set[str] = set()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or self.lenient:
            return
        for name in self.value:
            if name not in self._known:
                close = difflib.get_close_matches(name, sorted(self._known), 1, 0.6)
                remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(self._known))}"
                self.refuse(name, "unknown field", remedy)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, message: str, remedy: str = "") -> NoReturn:
        raise InvalidResource(self.where, self.at(name) if name else self.path, message, remedy)

    def ignore(self, *names: str) -> None:
        """Fields that Kubernetes has and that mean nothing to a mesh."""
        self._known.update(names)

    def unsupported(self, *names: str) -> None:
        """Fields that would mean something: refused rather than left without effect."""
        for name in names:
            if self._take(name) is not None and not self.lenient:
                self.refuse(name, "not supported", "remove it")

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def object(self, name: str) -> Reader | None:
        value = self._take(name)
        return None if value is None else Reader(value, self.at(name), self.where, self.lenient)

    def required(self, name: str) -> Reader:
        return self.object(name) or self._missing(name)

    def objects(self, name: str) -> list[Reader]:
        return [
            Reader(value, f"{self.at(name)}[{index}]", self.where, self.lenient)
            for index, value in enumerate(self.items(name))
        ]

    def items(self, name: str) -> list[Any]:
        value = self._take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, f"must be a list, not {_named(value)}")
        if len(value) > MAX_ITEMS:
            self.refuse(name, f"{len(value)} items are more than {MAX_ITEMS}")
        return value

    def text(self, name: str) -> str | None:
        value = self._take(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, f"must be text, not {_named(value)}", f'write "{value}"')
        return value

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            self._missing(name)
        if not value:
            self.refuse(name, "must not be empty")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.items(name)
        for index, value in enumerate(found):
            if not isinstance(value, str):
                self.refuse(f"{name}[{index}]", f"must be text, not {_named(value)}", f'write "{value}"')
        return tuple(found)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, f"must be a whole number, not {_named(value)}")
        if not low <= value <= high:
            self.refuse(name, f"{value} is not between {low} and {high}")
        return value

    def port(self, name: str) -> int | None:
        return self.integer(name, 1, 65_535)

    def required_port(self, name: str) -> int:
        return self.port(name) or self._missing(name)

    def boolean(self, name: str, default: bool) -> bool:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, f"must be true or false, not {_named(value)}")
        return value

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        value = self.text(name)
        allowed = tuple(choices)
        if value is not None and value not in allowed:
            close = difflib.get_close_matches(value.lower(), [one.lower() for one in allowed], 1, 0.6)
            meant = [one for one in allowed if close and one.lower() == close[0]]
            remedy = f"did you mean {meant[0]}?" if meant else f"one of {', '.join(allowed)}"
            self.refuse(name, f"{value!r} is not known", remedy)
        return value

    def parsed(self, name: str, parse: Callable[[str], T], expected: str) -> T | None:
        """`parse` of a text; its ValueError means that the text is not `expected`."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError:
            self.refuse(name, f"{value!r} is not {expected}")

    def strings(self, name: str) -> dict[str, str]:
        """An object of texts, such as labels."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(name, f"must be an object, not {_named(value)}")
        for key, one in value.items():
            if not isinstance(one, str):
                self.refuse(f"{name}.{key}", f"must be text, not {_named(one)}", f'write "{one}"')
        return dict(value)

    def raw(self, name: str) -> Any:
        return self._take(name)

    def _take(self, name: str) -> Any:
        self._known.add(name)
        return self.value.get(name)

    def _missing(self, name: str) -> NoReturn:
        close = difflib.get_close_matches(name, [one for one in self.value if one not in self._known], 1, 0.6)
        self.refuse(name, "is required", f"{close[0]} is not known here" if close else "")


def _named(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return "a list"
        case _:
            return "an object"

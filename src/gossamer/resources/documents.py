"""YAML or JSON text → documents with the line of every field.

Scalars are read as JSON would (`no`, `on` and `12:30:45` are text), aliases are refused, nothing recurses: hostile
text costs its length and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from gossamer.resources.problem import InvalidResource, Where

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_DOCUMENTS = 10_000
# Keys and values of one file: what a control plane may spend on it without being missed.
MAX_NODES = 250_000
MAX_KEY = 1_024
# Of a field's path; what lies deeper is said to be where this ends.
MAX_PATH = 512

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_ITEM = re.compile(r"items\[([0-9]{1,9})\]\.")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Document:
    value: dict[str, Any]
    where: Where


def load(text: bytes, source: str) -> list[Document]:
    """The documents of one file, `kind: List` taken apart and empty ones left out.

    Raises InvalidResource for the whole file: half a file is never accepted.
    """
    if len(text) > MAX_BYTES:
        raise InvalidResource(
            Where(source), "", f"{len(text)} bytes are more than {MAX_BYTES >> 20} MiB", "split the file"
        )
    try:
        return [one for value, where in _parse(text, source) for one in _taken_apart(value, where)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The end of the text counts as the line behind the last one.
        where = Where(source, min(mark.line + 1, len(text.splitlines())) if mark else 0)
        raise InvalidResource(where, "", f"not valid YAML: {error.problem or error.context}", _hint(error)) from None
    except yaml.YAMLError as error:
        # Text that is not UTF-8, or holds control characters.
        raise InvalidResource(Where(source), "", f"not valid YAML: {str(error).splitlines()[0]}") from None


def _hint(error: yaml.MarkedYAMLError) -> str:
    return "indent with spaces" if "\\t" in str(error.problem) else ""


def _taken_apart(value: Any, where: Where) -> Iterator[Document]:
    if value is None:
        return
    if not isinstance(value, dict):
        raise InvalidResource(where, "", "a document must be an object", "begin it with apiVersion and kind")
    if value.get("kind") != "List" or not isinstance(value.get("items"), list):
        yield Document(value, where)
        return
    lines = _by_item(where.lines)
    for index, item in enumerate(value["items"]):
        if not isinstance(item, dict):
            raise InvalidResource(where, f"items[{index}]", "an item must be an object")
        yield Document(item, Where(where.source, where.at(f"items[{index}]"), lines.get(index, {})))


def _by_item(lines: Mapping[str, int]) -> dict[int, dict[str, int]]:
    """The lines of a List's fields, by item and with the item's own paths."""
    found: dict[int, dict[str, int]] = {}
    for path, line in lines.items():
        match = _ITEM.match(path)
        if match is not None:
            found.setdefault(int(match[1]), {})[path[match.end() :]] = line
    return found


@dataclass(slots=True)
class _Open:
    """A list or object that is being read. `line` is that of its field."""

    value: Any
    path: str
    line: int
    key: str | None = None


def _parse(text: bytes, source: str) -> Iterator[tuple[Any, Where]]:
    """Builds values from the parser's events; a `Where` is that of the document the events are in."""
    lines: dict[str, int] = {}
    stack: list[_Open] = []
    root: Any = None
    first = documents = nodes = 0
    for event in yaml.parse(text, Loader=_Parser):
        kind = type(event)
        if kind in _ENDS:
            stack.pop()
            continue
        line = (event.start_mark.line if event.start_mark else 0) + 1
        if kind in _NODES:
            nodes += 1
            if nodes > MAX_NODES:
                raise InvalidResource(Where(source, line), "", f"more than {MAX_NODES} values", "split the file")
            outermost = not stack
            value = _node(event, stack, lines, line, source)
            if outermost:
                root = value
        elif isinstance(event, yaml.AliasEvent):
            raise InvalidResource(Where(source, line), "", f"alias *{event.anchor} is not accepted", "write it out")
        elif kind is yaml.DocumentStartEvent:
            lines, root, first, documents = {}, None, line, documents + 1
            if documents > MAX_DOCUMENTS:
                raise InvalidResource(Where(source, line), "", f"more than {MAX_DOCUMENTS} documents", "split the file")
        elif kind is yaml.DocumentEndEvent:
            yield root, Where(source, next(iter(lines.values()), first), lines)


_ENDS = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent})
_NODES = frozenset({yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent})


def _node(event: Any, stack: list[_Open], lines: dict[str, int], line: int, source: str) -> Any:
    """A key, or a value, which is returned: put where it belongs, and opened when it holds others."""
    inside = stack[-1] if stack else None
    if inside is not None and inside.key is None and type(inside.value) is dict:
        _key(inside, event, Where(source, line))
        lines.setdefault(_below(inside.path, f".{inside.key}"), line)
        return None
    value = _scalar(event.value) if _is_plain(event) else _value(event, Where(source, line))
    opens = type(event) is not yaml.ScalarEvent
    path = ""
    if inside is not None:
        if type(inside.value) is list:
            # Of a list on one line the line of its field is enough.
            if opens or line != inside.line:
                path = _below(inside.path, f"[{len(inside.value)}]")
                lines.setdefault(path, line)
            inside.value.append(value)
        else:
            path = _below(inside.path, f".{inside.key}")
            inside.value[inside.key] = value
            inside.key = None
    if opens:
        if len(stack) >= MAX_DEPTH:
            raise InvalidResource(Where(source, line), "", f"nested more than {MAX_DEPTH} deep", "flatten it")
        stack.append(_Open(value, path, line))
    return value


def _below(path: str, part: str) -> str:
    """Bounded, so that no text can make the paths of its fields much longer than itself."""
    return (path + part).removeprefix(".") if len(path) < MAX_PATH else path


def _is_plain(event: Any) -> bool:
    return type(event) is yaml.ScalarEvent and event.tag is None and event.implicit[0]


def _key(inside: _Open, event: yaml.Event, where: Where) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise InvalidResource(where, inside.path, "a key must be text")
    if len(event.value) > MAX_KEY:
        raise InvalidResource(where, inside.path, f"a key is longer than {MAX_KEY} characters")
    if event.value in inside.value:
        raise InvalidResource(where, inside.path, f"key {event.value!r} is there twice", "keep one of them")
    inside.key = event.value


def _value(event: yaml.Event, where: Where) -> Any:
    if isinstance(event, yaml.MappingStartEvent):
        return _untagged(event.tag, "map", {}, where)
    if isinstance(event, yaml.SequenceStartEvent):
        return _untagged(event.tag, "seq", [], where)
    assert isinstance(event, yaml.ScalarEvent)
    return _scalar(event.value) if _is_plain(event) else _untagged(event.tag, "str", event.value, where)


def _untagged(tag: str | None, allowed: str, value: Any, where: Where) -> Any:
    if tag not in (None, "!", f"tag:yaml.org,2002:{allowed}"):
        raise InvalidResource(where, "", f"tag {tag} is not accepted", "leave it out")
    return value


def _scalar(text: str) -> Any:
    """A plain scalar by the JSON schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number is None or len(text) > 32:
        return text
    return float(text) if number[2] or number[3] else int(text)

"""YAML or JSON text → documents with the line of every field.

Scalars are read as JSON would (`no`, `on` and `12:30:45` are text), aliases are refused, nothing recurses: hostile
text costs its length and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from gossamer.resources.problem import InvalidResource, Where

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_DOCUMENTS = 10_000

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
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
    for index, item in enumerate(value["items"]):
        prefix = f"items[{index}]"
        if not isinstance(item, dict):
            raise InvalidResource(where, prefix, "an item must be an object")
        lines = {path[len(prefix) + 1 :]: line for path, line in where.lines.items() if path.startswith(prefix + ".")}
        yield Document(item, Where(where.source, where.at(prefix), lines))


@dataclass(slots=True)
class _Open:
    """A list or object that is being read."""

    value: Any
    path: str
    key: str | None = None


def _parse(text: bytes, source: str) -> Iterator[tuple[Any, Where]]:
    """Builds values from the parser's events; a `Where` is that of the document the events are in."""
    lines: dict[str, int] = {}
    stack: list[_Open] = []
    root: Any = None
    first = 0
    count = 0
    for event in yaml.parse(text, Loader=_Parser):
        line = (event.start_mark.line if event.start_mark else 0) + 1
        if isinstance(event, yaml.DocumentStartEvent):
            lines, root, first, count = {}, None, line, count + 1
            if count > MAX_DOCUMENTS:
                raise InvalidResource(Where(source, line), "", f"more than {MAX_DOCUMENTS} documents", "split the file")
            continue
        if isinstance(event, yaml.DocumentEndEvent):
            yield root, Where(source, next(iter(lines.values()), first), lines)
            continue
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            continue
        if isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent):
            continue
        where = Where(source, first, lines)
        if isinstance(event, yaml.AliasEvent):
            raise InvalidResource(Where(source, line), "", f"alias *{event.anchor} is not accepted", "write it out")
        if stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
            _key(stack[-1], event, Where(source, line))
            lines[_path(stack[-1])] = line
            continue
        value = _value(event, Where(source, line))
        path = _path(stack[-1]) if stack else ""
        if stack:
            _put(stack[-1], value)
            lines.setdefault(path, line)
        else:
            root = value
        if not isinstance(event, yaml.ScalarEvent):
            if len(stack) >= MAX_DEPTH:
                raise InvalidResource(where, "", f"nested more than {MAX_DEPTH} deep", "flatten it")
            stack.append(_Open(value, path))


def _path(inside: _Open) -> str:
    if isinstance(inside.value, list):
        return f"{inside.path}[{len(inside.value)}]"
    return f"{inside.path}.{inside.key}" if inside.path else str(inside.key)


def _put(inside: _Open, value: Any) -> None:
    if isinstance(inside.value, list):
        inside.value.append(value)
    else:
        inside.value[inside.key] = value
        inside.key = None


def _key(inside: _Open, event: yaml.Event, where: Where) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise InvalidResource(where, inside.path, "a key must be text")
    if event.value in inside.value:
        raise InvalidResource(where, inside.path, f"key {event.value!r} is there twice", "keep one of them")
    inside.key = event.value


def _value(event: yaml.Event, where: Where) -> Any:
    if isinstance(event, yaml.MappingStartEvent):
        return _untagged(event.tag, "map", {}, where)
    if isinstance(event, yaml.SequenceStartEvent):
        return _untagged(event.tag, "seq", [], where)
    assert isinstance(event, yaml.ScalarEvent)
    if event.tag is not None or not event.implicit[0]:
        return _untagged(event.tag, "str", event.value, where)
    return _scalar(event.value)


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

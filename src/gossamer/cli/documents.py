"""`-f FILE|-|DIR`: the documents in files, each with the place where it stands.

Only YAML and JSON are understood here; what a document means is the control plane's business.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from gossamer.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import ApplyResponse, Document, Problem

SUFFIXES = (".yaml", ".yml", ".json")
# Of one file; the control plane takes 4 MiB in one message.
SIZE_LIMIT = 3 * 1024 * 1024

file_option = click.option(
    "-f",
    "--filename",
    "files",
    metavar="FILE|-|DIR",
    multiple=True,
    help="A file, `-` for standard input, or a folder of .yaml, .yml and .json files.",
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML in which a date stays the text that it is in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read(files: Sequence[str]) -> list[Document]:
    """All documents of all files, in order. CliError names file and line of what cannot be read."""
    from gossamer.pb.v1.admin_pb2 import Document

    if not files:
        raise click.UsageError("say which documents: -f FILE, -f DIR or -f -")
    found = []
    for source, text in _texts(files):
        for line, value in _documents(source, text):
            try:
                encoded = json.dumps(value, separators=(",", ":"))
            except (TypeError, ValueError, RecursionError) as error:
                raise CliError(f"{source}:{line}: not a document that JSON could hold: {error}") from error
            found.append(Document(source=source, line=line, json=encoded.encode()))
    if not found:
        raise CliError(f"no documents in {', '.join(files)}")
    return found


def say_problems(problems: Sequence[Problem]) -> None:
    """`policy.yaml:3: spec.port: …; remedy`, one line each, then the sentence that nothing was done."""
    for problem in problems:
        click.echo(problem_line(problem), err=True)
    count = len(problems)
    raise CliError(f"{count} problem{'s' if count > 1 else ''}; nothing was changed", Exit.FAILED)


def problem_line(problem: Problem) -> str:
    place = f"{problem.source}:{problem.line}" if problem.line else problem.source
    parts = [place, problem.field, problem.message]
    text = ": ".join(part for part in parts if part)
    return f"{text}; {problem.remedy}" if problem.remedy else text


def say_results(response: ApplyResponse, dry_run: bool = False) -> None:
    """`server.policy.linkerd.io/web created`, as kubectl."""
    if response.problems:
        say_problems(response.problems)
    for result in response.results:
        suffix = " (dry run)" if dry_run else ""
        click.echo(f"{result.kind.lower()}/{result.name} {result.action}{suffix}")


def _texts(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in files:
        if name == "-":
            yield "standard input", _limited("standard input", sys.stdin.buffer.read(SIZE_LIMIT + 1))
            continue
        path = Path(name)
        try:
            paths = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES) if path.is_dir() else [path]
            for one in paths:
                with one.open("rb") as file:
                    yield str(one), _limited(str(one), file.read(SIZE_LIMIT + 1))
        except OSError as error:
            raise CliError(f"{error.filename or name}: {error.strerror}") from error


def _limited(source: str, data: bytes) -> str:
    if len(data) > SIZE_LIMIT:
        raise CliError(f"{source}: larger than {SIZE_LIMIT // 1024 // 1024} MiB; split it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CliError(f"{source}: not UTF-8 at byte {error.start}") from error


def _documents(source: str, text: str) -> Iterator[tuple[int, Any]]:
    """(line of the first key, value) of each document; the items of a `kind: List` one by one."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            value = loader.construct_document(node)
            if value is None:
                continue
            if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and "items" in value:
                yield from _items(source, node, line, value["items"])
            else:
                yield line, value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark is not None else source
        raise CliError(f"{place}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CliError(f"{source}: not YAML: {error}") from error
    finally:
        loader.dispose()


def _items(source: str, node: yaml.Node, line: int, items: Any) -> Iterator[tuple[int, Any]]:
    if not isinstance(items, list):
        raise CliError(f"{source}:{line}: items: expected a list")
    assert isinstance(node, yaml.MappingNode)
    nodes = next((value for key, value in node.value if key.value == "items"), None)
    lines = [one.start_mark.line + 1 for one in nodes.value] if isinstance(nodes, yaml.SequenceNode) else []
    for index, item in enumerate(items):
        yield (lines[index] if index < len(lines) else line), item

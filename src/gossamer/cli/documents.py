"""`-f FILE|-|DIR`: the documents in files, each with the place where it stands.

Only YAML and JSON are understood here; what a document means is the control plane's business.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import ApplyResponse, Document, Problem

SUFFIXES = (".yaml", ".yml", ".json")
# Of one file; more than the reader accepts, so that it is the reader that refuses.
READ_LIMIT = 5 * 1024 * 1024

file_option = click.option(
    "-f",
    "--filename",
    "files",
    metavar="FILE|-|DIR",
    multiple=True,
    help="A file, `-` for standard input, or a folder of .yaml, .yml and .json files.",
)


def read(files: Sequence[str]) -> list[Document]:
    """All documents of all files, in order. CliError names file and line of what cannot be read."""
    from gossamer.pb.v1.admin_pb2 import Document
    from gossamer.resources.documents import load
    from gossamer.resources.problem import InvalidResource

    if not files:
        raise click.UsageError("say which documents: -f FILE, -f DIR or -f -")
    found = []
    try:
        for source, text in _texts(files):
            for document in load(text, source):
                where = document.where
                encoded = json.dumps(document.value, separators=(",", ":")).encode()
                found.append(Document(source=source, line=where.line, json=encoded, lines=where.lines))
    except InvalidResource as error:
        raise CliError(str(error)) from error
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


def _texts(files: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in files:
        if name == "-":
            yield "standard input", sys.stdin.buffer.read(READ_LIMIT)
            continue
        if "://" in name:
            raise CliError(f"{name}: only files are read; fetch it, look at it, then give the file")
        path = Path(name)
        try:
            paths = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES) if path.is_dir() else [path]
            for one in paths:
                with one.open("rb") as file:
                    yield str(one), file.read(READ_LIMIT)
        except OSError as error:
            raise CliError(f"{error.filename or name}: {error.strerror}") from error

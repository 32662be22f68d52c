"""How commands print: aligned columns for people, JSON and YAML for programs.

The columns are plain text in kubectl's manner; `rich` is used by live tables only, in their own modules.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "wide", "json", "yaml")
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """`wide`: shown by `-o wide` only. `right`: numbers."""

    title: str
    text: Callable[[T], str]
    wide: bool = False
    right: bool = False


def format_option(function: F) -> F:
    """Adds `-o table|wide|json|yaml` as the argument `output`."""
    return click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print."
    )(function)


def emit(output: str, document: Any, columns: Sequence[Column[T]], rows: Iterable[T], empty: str = "") -> None:
    """Prints `document` as JSON or YAML, or `rows` as a table; `empty` says on stderr that there are none."""
    if output in ("json", "yaml"):
        structured(output, document)
        return
    found = list(rows)
    if not found and empty:
        click.echo(empty, err=True)
        return
    click.echo(table(columns, found, wide=output == "wide"))


def structured(output: str, document: Any) -> None:
    if output == "json":
        click.echo(json.dumps(document, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


def table(columns: Sequence[Column[T]], rows: Sequence[T], wide: bool = False) -> str:
    """Columns as wide as their longest cell, three blanks apart, no blanks at the end of a line."""
    shown = [column for column in columns if wide or not column.wide]
    lines = [[column.title for column in shown], *([column.text(row) for column in shown] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(shown))]
    return "\n".join(
        "   ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, shown, strict=True)
        ).rstrip()
        for line in lines
    )


def coloured(stream: Any = None) -> bool:
    """Colours go to terminals only, and not where NO_COLOR is set (https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    return click.style(text, fg=colour) if coloured() else text


def milliseconds(value: float | None) -> str:
    """`0.8ms`, `12ms`, `1.3s`, or `-`."""
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value / 1000:.1f}s"
    return f"{value:.1f}ms" if value < 10 else f"{value:.0f}ms"


def percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    # 99.996 % is not 100 %.
    return f"{int(value * 10_000) / 100:.2f}%"


def rate(value: float) -> str:
    return f"{value:.1f}/s" if value < 100 else f"{value:.0f}/s"


def size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1000
    raise AssertionError


def age(seconds: float) -> str:
    """kubectl's: `45s`, `12m`, `5h12m`, `3d4h`."""
    seconds = max(0, int(seconds))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if hours < 2:
        return f"{minutes}m"
    if days < 2:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"


def short_identity(identity: str) -> str:
    """`web.default` for `web.default.serviceaccount.identity…` (as Linkerd shows them); others whole."""
    account, _, rest = identity.partition(".")
    namespace, found, _ = rest.partition(".serviceaccount.identity.")
    return f"{account}.{namespace}" if found else identity or NOTHING

"""The option `--namespace` of every command that looks somewhere: checked before anything is asked.

Must not say what no namespace means; each command's help does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def namespace_option(help: str, default: str | None = None) -> Callable[[F], F]:
    """Adds `-n NAME` as the argument `namespace`; what cannot be a namespace's name ends the command."""
    return click.option(
        "-n", "--namespace", default=default, show_default=default is not None, callback=_checked, help=help
    )


def _checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from gossamer.agent.ports import InvalidOption, name

    try:
        return name(value, "--namespace")
    except InvalidOption as error:
        raise click.UsageError(str(error), ctx) from error

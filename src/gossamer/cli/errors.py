"""How commands end when they do not succeed: one line that says what to do, and a documented exit code."""

from __future__ import annotations

from enum import IntEnum

import click


class Exit(IntEnum):
    """Exit codes of every command but `run`, which ends as its program does."""

    OK = 0
    # A check failed, a document was refused, something asked about is in a bad way.
    FAILED = 1
    # The command line itself was wrong.
    USAGE = 2
    # No control plane answers.
    UNREACHABLE = 3
    # What was named does not exist.
    NOT_FOUND = 4
    # `run` could not start the program.
    NOT_STARTED = 125
    INTERRUPTED = 130


class CliError(click.ClickException):
    """Printed as `gossamer: MESSAGE`; the message says what to do."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = int(code)  # type: ignore[misc] # click reads it from the instance, too

"""The progress of a rotation of trust anchors: redrawn in place on a terminal, a line per change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError
from gossamer.cli.output import age

if TYPE_CHECKING:
    from gossamer.cli.lifecycle import Lifecycle
    from gossamer.pb.v1 import lifecycle_pb2 as pb

PERIOD = 0.3
MOST_NAMED = 8
STEPS = ("prepare", "activate", "steady")
WORDS = {
    "prepare": "prepare: every sidecar is told of the new trust anchor",
    "activate": "activate: certificates move to the new trust anchor",
    "steady": "done: nothing is trusted that is not used",
}


def sentence(shown: pb.ShowResponse) -> str:
    return WORDS.get(shown.phase, shown.phase)


def waiting(shown: pb.ShowResponse, now: float) -> Iterator[str]:
    """What the next step waits for, sidecars by name."""
    for one in list(shown.waiting)[:MOST_NAMED]:
        heard = f", last heard {age(now - one.heard)} ago" if one.heard else ""
        yield f"  waiting for {one.name}: {one.why}{heard}" if one.name else f"  waiting: {one.why}"
    if len(shown.waiting) > MOST_NAMED:
        yield f"  and {len(shown.waiting) - MOST_NAMED} more"


def follow(control: Lifecycle, seconds: float, output: str) -> pb.ShowResponse:
    """Shows the rotation until it has ended, or waits for a word. Raises CliError when it takes longer."""
    deadline = time.monotonic() + seconds
    drawn = _Drawn() if output == "table" and sys.stdout.isatty() else _Lines(quiet=output != "table")
    with drawn:
        while True:
            shown = control.show()
            drawn.show(shown)
            held = shown.by_hand and not any(one.name for one in shown.waiting) and shown.waiting
            if shown.phase == "steady" or held:
                return shown
            if time.monotonic() > deadline:
                names = ", ".join(one.name or one.why for one in list(shown.waiting)[:MOST_NAMED])
                raise CliError(f"the rotation goes on, but not within {age(seconds)}; it waits for {names or 'time'}")
            time.sleep(PERIOD)


class _Lines:
    """For pipes and files: what has not been said yet."""

    def __init__(self, quiet: bool = False) -> None:
        self._said = ""
        self._quiet = quiet

    def show(self, shown: pb.ShowResponse) -> None:
        text = "\n".join((sentence(shown), *(f"  waiting for {one.name or one.why}" for one in shown.waiting)))
        if text != self._said and not self._quiet:
            click.echo(text)
        self._said = text

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Drawn(_Lines):
    """For a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        from gossamer.cli import live

        super().__init__()
        self._live = live.follow(Console())

    def show(self, shown: pb.ShowResponse) -> None:
        from rich.text import Text

        now = time.time()
        at = STEPS.index(shown.phase) if shown.phase in STEPS else 0
        text = Text()
        for number, step in enumerate(STEPS):
            done = number < at or shown.phase == "steady"
            text.append("√ " if done else "> " if number == at else "  ", "green" if done else "yellow")
            text.append(f"{WORDS[step]}\n", "" if number <= at else "dim")
        current = [one for one in shown.leaves if one.generation >= shown.generation]
        text.append(f"  {len(current)} of {len(shown.leaves)} sidecars know generation {shown.generation}\n", "dim")
        for line in waiting(shown, now):
            text.append(f"{line}\n", "yellow")
        self._live.update(text, refresh=True)

    def __enter__(self) -> _Drawn:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

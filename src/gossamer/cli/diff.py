"""`gossamer diff`: predict what applying files would change."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli import documents
from gossamer.cli.errors import Exit
from gossamer.cli.output import format_option, paint, structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import ConfigChange, DiffResponse


@click.command("diff", cls=Command, short_help="Predict what applying files would change.")
@documents.file_option
@click.option("--quiet", is_flag=True, help="Only say which configurations change, not how.")
@format_option
@click.pass_obj
def command(settings: Settings, files: tuple[str, ...], quiet: bool, output: str) -> None:
    """Predict what applying files would change: configurations of sidecars, and observed traffic that would be refused.

    Nothing is applied. Exits with 0 when nothing changes and 1 when something does, as `kubectl diff`.
    """
    found = settings.session().admin().diff(documents.read(files))
    if found.problems:
        documents.say_problems(found.problems)
    if output in ("json", "yaml"):
        structured(output, document(found))
    else:
        say(found, quiet)
    if found.changes or found.denied:
        raise SystemExit(Exit.FAILED)


def document(found: DiffResponse) -> dict[str, Any]:
    return {
        "changes": [
            {"what": one.what, "subject": one.subject, "before": one.before, "after": one.after}
            for one in found.changes
        ],
        "denied": [
            {"client_id": one.client_id, "server": one.server, "port": one.port, "reason": one.reason}
            for one in found.denied
        ],
    }


def say(found: DiffResponse, quiet: bool) -> None:
    if not found.changes and not found.denied:
        click.echo("nothing would change")
        return
    for change in found.changes:
        verb = "new" if not change.before else "gone" if not change.after else "changes"
        click.echo(f"{change.what} {change.subject}: {verb}")
        if not quiet:
            for line in body(change):
                click.echo(
                    paint(line, "green")
                    if line.startswith("+")
                    else paint(line, "red")
                    if line.startswith("-")
                    else line
                )
    for edge in found.denied:
        click.echo(paint(f"WOULD BE REFUSED: {edge.client_id} → {edge.server}:{edge.port}: {edge.reason}", "red"))
    if not found.denied:
        click.echo("no traffic seen in the last ten minutes would be refused")


def body(change: ConfigChange) -> list[str]:
    """A unified diff without its header."""
    before, after = change.before.splitlines(), change.after.splitlines()
    return list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]

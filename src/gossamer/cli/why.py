"""`gossamer why`: is it the mesh or the application?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import format_option, paint, structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import Verdict

CONTROL_PLANE = "control plane"
NOBODY = "nobody"


@click.command("why", cls=Command, short_help="Is it the mesh or the application?")
@click.argument("subject", required=False)
@click.argument("server", required=False)
@namespace_option("Where they are (default: default).")
@format_option
@click.pass_obj
def command(settings: Settings, subject: str | None, server: str | None, namespace: str | None, output: str) -> None:
    """Whose fault is it? For a service or workload, for one client and server, or for everything.

    Answers from failures of the last five minutes: the application, the mesh on the client's or the server's side,
    policy, or the control plane; with one sentence, the evidence, and what to do. Exits with 1 when something is
    wrong.

    \b
      gossamer why
      gossamer why web
      gossamer why front web
    """
    session = settings.session()
    client, asked = (subject or "", server) if server else ("", subject or "")
    try:
        found = [verdict_json(one) for one in session.admin().why(asked, namespace or "", client).verdicts]
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        found = [unreachable(asked or "the mesh", session.unreachable())]
    failures = [one for one in found if one["author"] != NOBODY]
    if output in ("json", "yaml"):
        structured(output, {"subject": asked, "client": client, "failures": failures, "verdicts": found})
    else:
        say(found)
    if failures:
        raise SystemExit(Exit.UNREACHABLE if failures[0]["reason"] == "unreachable" else Exit.FAILED)


def verdict_json(one: Verdict) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "author": one.author,
        "reason": one.reason,
        "sentence": one.sentence,
        "evidence": list(one.evidence),
        "remedy": one.remedy,
    }


def unreachable(subject: str, message: str) -> dict[str, Any]:
    """The verdict nobody but us can give: the one who would answer is not there."""
    return {
        "subject": subject,
        "author": CONTROL_PLANE,
        "reason": "unreachable",
        "sentence": message,
        "evidence": [
            f"asked at {time.strftime('%H:%M:%S')}; running workloads keep the configuration and certificates they have"
        ],
        "remedy": "start it with `gossamer up`; nothing else has to be restarted",
    }


def say(found: Sequence[dict[str, Any]]) -> None:
    colours = {NOBODY: "green", "application": "yellow"}
    for number, verdict in enumerate(found):
        if number:
            click.echo()
        author = verdict["author"]
        click.echo(f"{paint(author, colours.get(author, 'red'))}: {verdict['sentence']}")
        if author != NOBODY:
            click.echo(
                f"  edge      {verdict['subject']}"
                if "→" in verdict["subject"]
                else f"  about     {verdict['subject']}"
            )
        for line in verdict["evidence"]:
            click.echo(f"  evidence  {line}")
        if verdict["remedy"]:
            click.echo(f"  do        {verdict['remedy']}")

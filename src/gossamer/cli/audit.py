"""`gossamer audit`: let through, for a while, what policy would refuse."""

from __future__ import annotations

import time

import click

from gossamer.cli.namespace import namespace_option
from gossamer.cli.root import Command, Settings
from gossamer.cli.up import seconds


@click.command("audit", cls=Command, short_help="Let through, for a while, what policy would refuse.")
@click.option("--workload", metavar="NAME", required=True, help="A workload, or a service for all of its workloads.")
@click.option("--for", "duration", metavar="TIME", default="15m", show_default=True, help="How long (24h at most).")
@click.option("--end", is_flag=True, help="Enforce policy again now.")
@namespace_option("Where it is (default: default).")
@click.pass_obj
def command(settings: Settings, workload: str, duration: str, end: bool, namespace: str | None) -> None:
    """Let through, for a while, what policy would refuse: still over mutual TLS, and logged. It ends by itself.

    For when a policy turns out to be wrong at night: better than taking it away.
    """
    period = 0 if end else seconds(duration)
    answer = settings.session().admin().audit(workload, namespace or "", period)
    if not period:
        click.echo(f"policy of {workload} is enforced again")
        return
    until = time.strftime("%H:%M:%S", time.localtime(answer.until))
    click.echo(
        f"policy of {workload} is audited, not enforced, until {until}; `gossamer edges -o wide` shows who uses it"
    )

"""`gossamer token`: join tokens for machines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gossamer.cli.output import NOTHING, Column, age, emit, format_option
from gossamer.cli.root import Command, Settings, common_options

if TYPE_CHECKING:
    from gossamer.pb.v1 import machines_pb2 as pb


@click.group("token", short_help="Join tokens for machines.")
def command() -> None:
    """Join tokens: each lets one machine join the mesh, once, for a short time."""


command.params.extend(common_options())


@command.command("create", cls=Command, short_help="Make a join token.")
@click.option("--machine", metavar="NAME", default="", help="The machine it is for; needed to join one again.")
@click.option(
    "--workload", "workloads", metavar="NS/SA", multiple=True, help="Let the machine run this account only; repeatable."
)
@click.option("--from", "source", metavar="CIDR", default="", help="The network it must be used from.")
@click.option("--ttl", metavar="TIME", default="15m", show_default=True, help="How long it may be used.")
@click.pass_obj
def create(settings: Settings, machine: str, workloads: tuple[str, ...], source: str, ttl: str) -> None:
    """Make a join token and print it; it is shown once, and works once.

    It is for a named machine, or for one new machine that may run what --workload names.
    """
    from gossamer.cli.machinery import ask
    from gossamer.cli.up import seconds
    from gossamer.pb.v1 import machines_pb2 as pb

    if not machine and not workloads:
        raise click.UsageError("say for which --machine NAME it is, or for which --workload NS/SA")
    asked = pb.CreateTokenRequest(machine=machine, accounts=workloads, source=source, ttl_s=seconds(ttl))
    answer = ask(settings.session(), "CreateToken", asked, pb.CreateTokenResponse)
    click.echo(answer.text)
    if answer.address:
        click.echo(f"on the machine: gossamer join {answer.address} --token-file -", err=True)
    else:
        click.echo("no machine can reach this control plane yet: `gossamer up --advertise ADDRESS`", err=True)


@command.command("list", cls=Command, short_help="Which tokens there are.")
@format_option
@click.pass_obj
def listed(settings: Settings, output: str) -> None:
    """Tokens that may be used, and those that were used or expired within a day. Their text is not kept."""
    from gossamer.cli.machinery import ask
    from gossamer.pb.v1 import machines_pb2 as pb

    answer = ask(settings.session(), "ListTokens", pb.ListTokensRequest(), pb.ListTokensResponse)
    now = time.time()
    columns: list[Column[pb.JoinToken]] = [
        Column("ID", lambda one: one.id),
        Column("MACHINE", lambda one: one.machine or NOTHING),
        Column("WORKLOADS", lambda one: ",".join(one.accounts) or "any"),
        Column("FROM", lambda one: one.source or "anywhere"),
        Column("STATE", lambda one: _state(one, now)),
    ]
    rows = sorted(answer.tokens, key=lambda one: one.created)
    emit(output, [_document(one) for one in rows], columns, rows, "no join tokens")


@command.command("revoke", cls=Command, short_help="Take a token back.")
@click.argument("ident", metavar="ID")
@click.pass_obj
def revoke(settings: Settings, ident: str) -> None:
    """Take back a token that nobody has used yet. What a machine got by it stays: see `gossamer machines remove`."""
    from gossamer.cli.machinery import ask
    from gossamer.pb.v1 import machines_pb2 as pb

    ask(settings.session(), "RevokeToken", pb.RevokeTokenRequest(id=ident), pb.RevokeTokenResponse)
    click.echo(f"token {ident} revoked")


def _state(one: pb.JoinToken, now: float) -> str:
    if one.used:
        return f"used {age(now - one.used)} ago by {one.used_by}"
    if one.expires <= now:
        return f"expired {age(now - one.expires)} ago"
    return f"for {age(one.expires - now)}"


def _document(one: pb.JoinToken) -> dict[str, object]:
    return {
        "id": one.id,
        "machine": one.machine,
        "workloads": list(one.accounts),
        "from": one.source,
        "created": one.created,
        "expires": one.expires,
        "used": one.used,
        "usedBy": one.used_by,
    }

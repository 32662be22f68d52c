"""`gossamer machines`: the machines that have joined."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gossamer.cli.output import NOTHING, Column, age, emit, format_option
from gossamer.cli.root import Command, Settings, common_options

if TYPE_CHECKING:
    from gossamer.pb.v1 import machines_pb2 as pb


class Machines(click.Group):
    """Without a word it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        asked_help = any(word in ("--help", "-h") for word in args)
        if not ctx.resilient_parsing and not asked_help and not (words and words[0] in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("machines", cls=Machines, short_help="Machines that have joined the mesh.")
def command() -> None:
    """Machines that have joined the mesh: where they are, when they were heard of, what they run."""


command.params.extend(common_options())


@command.command("list", cls=Command, short_help="Which machines there are.")
@format_option
@click.pass_obj
def listed(settings: Settings, output: str) -> None:
    """Every machine with its address, its place and its state."""
    from gossamer.cli.machinery import ask
    from gossamer.pb.v1 import machines_pb2 as pb

    answer = ask(settings.session(), "ListMachines", pb.ListMachinesRequest(), pb.ListMachinesResponse)
    now = time.time()
    columns: list[Column[pb.Machine]] = [
        Column("NAME", lambda one: one.name),
        Column("ADDRESS", lambda one: one.address or NOTHING),
        Column("NODE", lambda one: one.node or NOTHING),
        Column("ZONE", lambda one: one.zone or NOTHING),
        Column("WORKLOADS", lambda one: str(one.workloads), right=True),
        Column("STATE", lambda one: _state(one, now)),
        Column("JOINED", lambda one: age(now - one.joined), wide=True),
        Column("MAY RUN", lambda one: ",".join(one.accounts) or "any", wide=True),
    ]
    emit(output, [_document(one) for one in answer.machines], columns, answer.machines, "no machine has joined")


@command.command("remove", cls=Command, short_help="Make a machine leave.")
@click.argument("name")
@click.pass_obj
def remove(settings: Settings, name: str) -> None:
    """Make a machine leave: its identity is revoked, its workloads are endpoints no longer."""
    from gossamer.cli.machinery import ask
    from gossamer.pb.v1 import machines_pb2 as pb

    ask(settings.session(), "RemoveMachine", pb.RemoveMachineRequest(name=name), pb.RemoveMachineResponse)
    click.echo(f"machine {name} removed; what runs there can no longer be reached through the mesh")


def _state(one: pb.Machine, now: float) -> str:
    state = f"silent for {age(now - one.last_heard)}" if one.silent else "up"
    if one.doubted:
        state += f", another machine used its identity {age(now - one.doubted)} ago"
    return state


def _document(one: pb.Machine) -> dict[str, object]:
    return {
        "name": one.name,
        "address": one.address,
        "node": one.node,
        "zone": one.zone,
        "workloads": one.workloads,
        "silent": one.silent,
        "joined": one.joined,
        "lastHeard": one.last_heard,
        "doubted": one.doubted,
        "mayRun": list(one.accounts),
    }

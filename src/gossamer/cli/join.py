"""`gossamer join`: make this machine one of a mesh whose control plane is elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.settings import Paths

LONGEST_TOKEN = 4096
ENDING = 10.0


@click.command("join", cls=Command, short_help="Make this machine one of a mesh.")
@click.argument("address", metavar="ADDRESS[:PORT]")
@click.option("--token", metavar="TOKEN", help="The join token; others here can read it: better --token-file.")
@click.option("--token-file", metavar="FILE", help="File with the join token, `-` for standard input.")
@click.option("--name", metavar="NAME", default="", help="This machine's name, where the token leaves it open.")
@click.option("--advertise", metavar="ADDRESS", default="", help="Where other machines reach it, if not as it calls.")
@click.option("--advertise-range", metavar="CIDR", default="", help="Network of its own with an address per workload.")
@click.option("--node", metavar="NODE", default="", help="Node label of its workloads (default: the host's name).")
@click.option("--zone", metavar="ZONE", default="", help="Zone label of its workloads.")
@click.option("--systemd", is_flag=True, help="Install a systemd unit that starts the agent at each boot.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground, for service managers.")
@click.pass_obj
def command(
    settings: Settings,
    address: str,
    token: str | None,
    token_file: str | None,
    name: str,
    advertise: str,
    advertise_range: str,
    node: str,
    zone: str,
    systemd: bool,
    foreground: bool,
) -> None:
    """Make this machine one of the mesh whose control plane is at ADDRESS; no root is needed.

    The token comes from `gossamer token create` there. Afterwards `gossamer run` works here as it does there. The
    machine's key is made here and never leaves it; the token is needed once, not after a reboot.

      gossamer join 10.9.0.1 --token-file - < token
    """
    from gossamer.agent.joining import NotJoined, Wish, join
    from gossamer.agent.membership import Folder
    from gossamer.settings import InvalidSetting, label_value, machine_network, reachable_address
    from gossamer.standalone import join_token
    from gossamer.standalone.advertised import FRONT_PORT

    paths = settings.session().local("join")
    _free(paths)
    try:
        parsed = join_token.decode(_token(token, token_file))
    except join_token.NotAToken as error:
        raise CliError(str(error), Exit.USAGE) from None
    for flag, value, check in (
        ("--advertise", advertise, reachable_address),
        ("--advertise-range", advertise_range, machine_network),
        ("--node", node, label_value),
        ("--zone", zone, label_value),
    ):
        try:
            if value:
                check(value)
        except ValueError as error:
            raise CliError(f"{flag} {value}: expected {error}", Exit.USAGE) from None
    host, colon, _ = address.rpartition(":")
    control = address if colon and host else f"{address}:{FRONT_PORT}"
    try:
        made = join(Wish(control, parsed, name, advertise, advertise_range, node, zone), Folder(paths))
    except (NotJoined, InvalidSetting) as error:
        raise CliError(str(error)) from None
    click.echo(f"machine {made.name} joined mesh {made.trust_domain} at {control}, reached at {made.address}", err=True)
    _start(paths, systemd, foreground)


def _token(token: str | None, file: str | None) -> str:
    if (token is None) == (file is None):
        raise click.UsageError("give the join token with --token-file FILE (`-`: standard input) or with --token")
    if token is not None:
        return token
    try:
        if file == "-":
            return sys.stdin.read(LONGEST_TOKEN)
        with Path(str(file)).open("rb") as opened:
            return opened.read(LONGEST_TOKEN).decode("ascii", "replace")
    except OSError as error:
        raise CliError(f"--token-file {file}: {error.strerror or error}") from error


def _free(paths: Paths) -> None:
    """No control plane of this machine's own serves the mesh; an agent of an earlier join ends. Raises CliError."""
    from gossamer.agent import controlplane
    from gossamer.agent.membership import joined

    if not joined(paths) and (controlplane.serving(paths) or paths.store.exists()):
        raise CliError(
            f"this machine has a mesh {paths.mesh} of its own; join the other as `gossamer join --mesh NAME`"
        )
    process = controlplane.holder(paths)
    if process is not None:
        process.end()


def _start(paths: Paths, systemd: bool, foreground: bool) -> None:
    from gossamer.agent import controlplane, unit

    try:
        if systemd:
            click.echo(unit.install(paths), err=True)
            return
        if foreground:
            controlplane.prepare(paths)
            program = controlplane.command(paths, [])
            os.execv(program[0], program)  # noqa: S606 - no shell is wanted
        controlplane.start(paths)
    except (controlplane.NotStarted, unit.NotInstalled) as error:
        raise CliError(str(error)) from error
    flag = "" if paths.mesh == "default" else f"--mesh {paths.mesh} "
    click.echo(f"its agent runs; at each boot: {unit.hint(paths)}", err=True)
    click.echo(f"next: gossamer run {flag}--service NAME -- CMD...")

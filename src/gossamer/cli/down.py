"""`gossamer down`: stop the control plane of a mesh on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.settings import Paths

STOP_SECONDS = 15.0


@click.command("down", cls=Command, short_help="Stop the control plane.")
@click.pass_obj
def command(settings: Settings) -> None:
    """Stop the control plane of a mesh on this machine, and its front.

    Programs started with `gossamer run` go on, with the configuration and certificates they have. Does nothing when
    no control plane runs.
    """
    from gossamer.agent import controlplane

    session = settings.session()
    paths = session.local("down")
    if controlplane.joined(paths):
        _end_agent(paths)
        return
    if not controlplane.accepts(paths.admin_socket):
        click.echo(f"no control plane runs for mesh {paths.mesh}")
        return
    admin = session.admin()
    try:
        status = admin.status()
        process = controlplane.Process(status.pid)
        admin.shutdown()
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        _end(paths)
        return
    if not process.ended(within=STOP_SECONDS):
        raise CliError(f"the control plane (process {status.pid}) has not ended; its log is {paths.log}")
    click.echo(f"the control plane of mesh {paths.mesh} has stopped")
    running = [one for one in status.workloads if one.connected]
    if running:
        names = ", ".join(f"{workload.namespace}/{workload.name}" for workload in running[:5])
        more = f" and {len(running) - 5} more" if len(running) > 5 else ""
        click.echo(f"still running: {names}{more} (they keep working until their certificates expire)")


def _end_agent(paths: Paths) -> None:
    """Ends the agent of a joined machine."""
    from gossamer.agent import controlplane

    process = controlplane.holder(paths)
    if process is None:
        click.echo(f"no agent runs for mesh {paths.mesh}")
        return
    process.end()
    click.echo(f"the agent of mesh {paths.mesh} has stopped; programs that it registered are not reached while it is")


def _end(paths: Paths) -> None:
    """Ends a control plane that accepts calls and does not answer them."""
    from gossamer.agent import controlplane

    process = controlplane.holder(paths)
    if process is None or process.ended():
        click.echo(f"no control plane runs for mesh {paths.mesh}")
        return
    process.end()
    click.echo(f"the control plane of mesh {paths.mesh} (process {process.pid}) did not answer and was ended")

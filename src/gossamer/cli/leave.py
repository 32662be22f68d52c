"""`gossamer leave`: this machine is no longer one of the mesh."""

from __future__ import annotations

import click

from gossamer.cli.errors import CliError
from gossamer.cli.root import Command, Settings


@click.command("leave", cls=Command, short_help="Take this machine out of the mesh it joined.")
@click.pass_obj
def command(settings: Settings) -> None:
    """Take this machine out of the mesh it joined: its agent ends, its key and certificate are deleted.

    The control plane is told if it can be reached; else `gossamer machines remove NAME` there does it.
    """
    from gossamer.agent import controlplane
    from gossamer.agent.control import Control
    from gossamer.agent.joining import SERVICE
    from gossamer.agent.membership import Folder
    from gossamer.kit.grpc.status import Status
    from gossamer.pb.v1 import machines_pb2 as pb

    paths = settings.session().local("leave")
    folder = Folder(paths)
    membership = folder.membership()
    if membership is None:
        raise CliError(f"this machine has not joined mesh {paths.mesh}")
    process = controlplane.holder(paths)
    if process is not None:
        process.end()
    try:
        with Control(membership.control, membership.control_name, folder.anchors(), folder.identity) as control:
            control.call(f"{SERVICE}/Leave", pb.LeaveRequest(session=membership.session), pb.LeaveResponse)
        told = "the control plane has forgotten it"
    except Status as status:
        told = f"the control plane was not told ({status.message}): `gossamer machines remove {membership.name}` there"
    folder.forget()
    click.echo(f"machine {membership.name} has left mesh {paths.mesh}; {told}")

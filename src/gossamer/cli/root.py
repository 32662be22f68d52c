"""The root command: which commands there are, in which order they are shown, and what is common to all.

A command's module is imported when it is called, never for `--help`: the table below holds its one-line help.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gossamer.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from gossamer.cli.session import Session


class Entry(NamedTuple):
    name: str
    help: str


MAIN = (
    Entry("up", "Start the control plane."),
    Entry("down", "Stop the control plane."),
    Entry("run", "Start a program in the mesh."),
    Entry("demo", "Watch a small mesh at work."),
    Entry("apply", "Create or change resources from files."),
    Entry("get", "List resources and workloads."),
    Entry("delete", "Delete resources."),
    Entry("check", "Check the mesh and this machine."),
    Entry("edges", "Who talks to whom, and how securely."),
    Entry("stat", "Success rate, request rate and latency."),
    Entry("describe", "Everything about one workload."),
    Entry("why", "Is it the mesh or the application?"),
)
MORE = (
    Entry("logs", "Logs of a workload's sidecar or of the control plane."),
    Entry("diff", "Predict what applying files would change."),
    Entry("authz", "Who may call what, and why."),
    Entry("audit", "Let through, for a while, what policy would refuse."),
    Entry("backup", "Write the mesh's state and keys to a file."),
    Entry("restore", "Bring a mesh back from a backup."),
    Entry("identity", "Certificates: trust anchors, issuers, leaves."),
    Entry("token", "Join tokens for machines."),
    Entry("join", "Make this machine one of a mesh."),
    Entry("leave", "Take this machine out of the mesh it joined."),
    Entry("machines", "Machines that have joined the mesh."),
    Entry("diagnostics", "What the control plane answers to sidecars."),
    Entry("version", "Versions of the command, the sidecar and the control plane."),
    Entry("completion", "Completion script for a shell."),
)

EPILOG = (
    "Exit codes: 0 done; 1 a check failed or something was refused; 2 wrong usage; 3 no control plane answers; "
    "4 not found; 130 interrupted. `run` ends as its program does, 125 when it could not start it."
)


@dataclass
class Settings:
    """The options common to all commands, wherever on the line they stand."""

    mesh: str | None = None
    context: str | None = None
    _session: Session | None = field(default=None, repr=False)

    def session(self) -> Session:
        """Where this invocation's control plane is; made when first asked for."""
        if self._session is None:
            from gossamer.cli.session import open_session

            self._session = open_session(self.mesh, self.context)
        return self._session


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        setattr(ctx.ensure_object(Settings), param.name or "", value)


def common_options() -> list[click.Parameter]:
    """`--mesh` and `--context`, accepted before and after the command's name."""
    return [
        click.Option(
            ["--mesh"],
            metavar="NAME",
            expose_value=False,
            callback=_remember,
            help="Which mesh on this machine (GOSSAMER_MESH; default: default).",
        ),
        click.Option(
            ["--context"],
            metavar="NAME",
            expose_value=False,
            callback=_remember,
            help="Which control plane (default: local, the one of this machine).",
        ),
    ]


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        import gossamer

        click.echo(f"gossamer {gossamer.__version__}")
        ctx.exit()


def version_option() -> click.Option:
    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_version,
        help="Show the version of this command and exit.",
    )


class Command(click.Command):
    """A command that also takes the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())


class Root(click.Group):
    """Finds a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in (*MAIN, *MORE)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"gossamer.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in (("Commands", MAIN), ("More", MORE)):
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.help) for entry in entries], col_spacing=4)


root = Root(
    name="gossamer",
    help="A service mesh that weighs nothing: mutual TLS, policy and metrics for programs that know nothing of it.",
    epilog=EPILOG,
    params=[*common_options(), version_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "obj": None},
    no_args_is_help=True,
)


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits the process."""
    try:
        code = root.main(arguments, prog_name="gossamer", standalone_mode=False, obj=Settings())
    except click.exceptions.NoArgsIsHelpError as help_asked:
        click.echo(help_asked.format_message())
        sys.exit(Exit.USAGE)
    except click.UsageError as error:
        _say(error.format_message(), error.ctx)
        sys.exit(Exit.USAGE)
    except CliError as error:
        _say(error.format_message())
        sys.exit(error.code)
    except click.ClickException as error:
        _say(error.format_message())
        sys.exit(Exit.FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has seen enough (`| head`).
        sys.stderr.close()
        sys.exit(Exit.OK)
    sys.exit(code if isinstance(code, int) else Exit.OK)


def _say(message: str, ctx: click.Context | None = None) -> None:
    hint = f" (see `{ctx.command_path} --help`)" if ctx is not None else ""
    click.echo(f"gossamer: {' '.join(message.split())}{hint}", err=True)

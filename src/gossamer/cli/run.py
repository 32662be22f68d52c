"""`gossamer run`: start a program in the mesh."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.agent.explicit import Forward
    from gossamer.agent.lease import Registration
    from gossamer.cli.session import Session

# Between two looks at a control plane that is away.
PAUSE = 0.5

EPILOG = (
    "The program's input, output, exit code, signals and environment are as if it had been started directly. "
    "Without --port, its ports are those it listens on."
)


@click.command(
    "run",
    cls=Command,
    short_help="Start a program in the mesh.",
    epilog=EPILOG,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option("-s", "--service", metavar="NAME", help="The service it belongs to (default: the program's name).")
@click.option("-p", "--port", "ports", metavar="[NAME=]PORT[:TARGET]", multiple=True, help="A port the service offers.")
@click.option("--opaque-port", "opaque", metavar="N", multiple=True, help="A port whose bytes are not looked at.")
@click.option("-n", "--namespace", metavar="NS", default="default", show_default=True, help="Its namespace.")
@click.option("--service-account", metavar="SA", help="Its identity (default: the service's name).")
@click.option("-l", "--label", "labels", metavar="K=V", multiple=True, help="A label, for selectors.")
@click.option("--replica", metavar="NAME", help="A stable name among the service's replicas.")
@click.option("--host-port", "host_ports", metavar="N", multiple=True, help="Let it reach 127.0.0.1:N of this machine.")
@click.option("--publish", metavar="[ADDR:]PORT", multiple=True, help="Also serve a port to programs outside the mesh.")
@click.option(
    "--ready",
    "ready_url",
    metavar="URL",
    help="Take traffic once this answers 200, e.g. http://localhost:8080/healthz; `none`: at once.",
)
@click.option("--explicit", is_flag=True, help="Capture nothing; for machines without user namespaces (see below).")
@click.option(
    "--connect", "connects", metavar="SERVICE:PORT[=LOCAL]", multiple=True, help="With --explicit: a local port for it."
)
@click.option(
    "--wait",
    "patience",
    metavar="TIME",
    help="Give up after this when the control plane cannot take it now: 30s, 5m; 0: at once (default: wait).",
)
@click.argument("command_line", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(
    settings: Settings,
    service: str | None,
    ports: tuple[str, ...],
    opaque: tuple[str, ...],
    namespace: str,
    service_account: str | None,
    labels: tuple[str, ...],
    replica: str | None,
    host_ports: tuple[str, ...],
    publish: tuple[str, ...],
    ready_url: str | None,
    explicit: bool,
    connects: tuple[str, ...],
    patience: str | None,
    command_line: tuple[str, ...],
) -> None:
    """Start a program in the mesh.

    All its TCP connections, in and out, go through a sidecar that encrypts, authorizes, balances and counts them.
    No root is needed, and the program knows nothing of it.

      gossamer run --service web -- python3 -m http.server 8080

      gossamer run -- curl http://web:8080/

    Where user namespaces are not allowed, --explicit captures nothing: name the program's ports with --port (it must
    listen on all addresses), and what it calls with --connect; it finds that on 127.0.0.1, at the ports in
    SERVICE_SERVICE_PORT.

      gossamer run --explicit --connect web:8080=18080 -- curl http://127.0.0.1:18080/
    """
    from gossamer.agent import ports as words
    from gossamer.agent.lease import Registration
    from gossamer.cli.up import seconds

    waiting = _Waiting(None if patience is None else 0 if patience in ("0", "0s") else seconds(patience))
    try:
        opaque_ports = tuple(words.port_number(text, f"--opaque-port {text}: expected a port") for text in opaque)
        offered = tuple(words.port(text, opaque_ports) for text in ports)
        service = words.name(service, "--service") if service else words.service_from(command_line[0])
        registration = Registration(
            namespace=words.name(namespace, "--namespace"),
            service=service,
            service_account=words.name(service_account or service, "--service-account"),
            labels={"app": service} | dict(words.label(text) for text in labels),
            replica=words.name(replica, "--replica") if replica else None,
            ports=offered,
            opaque_ports=opaque_ports,
            publish=tuple(words.publish(text, offered) for text in publish),
            host_ports=tuple(words.port_number(text, f"--host-port {text}: expected a port") for text in host_ports),
            ready=words.ready(ready_url, offered) if ready_url else None,
            pid=os.getpid(),
        )
    except words.InvalidOption as error:
        raise CliError(str(error), Exit.USAGE) from error
    if connects and not explicit:
        raise click.UsageError("--connect belongs to --explicit; captured programs call services by name")
    _run(settings, registration, command_line, connects if explicit else None, waiting)


class _Waiting:
    """Until the control plane can take a program: says once why, and gives up after `seconds`; None: never."""

    def __init__(self, seconds: float | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._said = False

    def on(self, why: str) -> None:
        """A pause. CliError when there is no time left."""
        if self._until is not None and time.monotonic() >= self._until:
            raise CliError(why, Exit.NOT_STARTED)
        if not self._said:
            click.echo(f"gossamer: waiting: {why} (Ctrl-C gives up)", err=True)
            self._said = True
        time.sleep(PAUSE)


def _run(
    settings: Settings,
    registration: object,
    command_line: tuple[str, ...],
    connects: tuple[str, ...] | None,
    waiting: _Waiting,
) -> None:
    """Becomes the launcher or, with `connects`, stays beside the program. Returns only by raising."""
    from gossamer.agent import controlplane
    from gossamer.agent.lease import Later, NoControlPlane, Refused, Registration
    from gossamer.agent.start import inside_a_mesh, start
    from gossamer.binary import ProxyNotFound

    assert isinstance(registration, Registration)
    session = settings.session()
    paths = session.local("run")
    try:
        if inside_a_mesh():
            raise Refused("this program is already in the mesh; `run` cannot be nested")
        tried = False
        while True:
            try:
                if connects is None:
                    start(registration, paths.agent_socket, command_line)
                raise SystemExit(_explicit(session, registration, command_line, connects))
            except Later as error:
                waiting.on(str(error))
            except NoControlPlane:
                if controlplane.of_several(paths):
                    # One of several replicas is started by whoever looks after it, not by each program.
                    waiting.on(session.unreachable())
                    continue
                if tried:
                    raise
                tried = True
                if controlplane.ensure(paths):
                    what = "agent" if controlplane.joined(paths) else "control plane"
                    said = f"gossamer: started the {what} of mesh {paths.mesh} (end it with `gossamer down`)"
                    click.echo(said, err=True)
    except (Refused, ProxyNotFound, controlplane.NotStarted) as error:
        raise CliError(str(error), Exit.NOT_STARTED) from error
    except NoControlPlane as error:
        raise CliError(session.unreachable(), Exit.NOT_STARTED) from error
    except OSError as error:
        raise CliError(f"{error.filename or sys.argv[0]}: {error.strerror}", Exit.NOT_STARTED) from error


def _explicit(
    session: Session, registration: Registration, command_line: tuple[str, ...], connects: tuple[str, ...]
) -> int:
    from gossamer.agent import controlplane, explicit

    if connects:
        # Services are asked for before the program is registered, so a control plane is needed already.
        controlplane.ensure(session.paths)
    forwards = [_forward(session, registration.namespace, text) for text in connects]
    for one in forwards:
        click.echo(f"gossamer: {one.service}:{one.port} is at 127.0.0.1:{one.local}", err=True)
    return explicit.run(registration, session.paths.agent_socket, command_line, forwards)


def _forward(session: Session, namespace: str, text: str) -> Forward:
    """`SERVICE[.NAMESPACE]:PORT[=LOCAL]`."""
    from gossamer.agent import explicit
    from gossamer.agent.ports import InvalidOption, port_number

    remote, _, local = text.partition("=")
    name, _, number = remote.rpartition(":")
    service, _, elsewhere = name.partition(".")
    try:
        port, own = port_number(number, text), port_number(local, text) if local else explicit.free_port()
    except InvalidOption as error:
        raise CliError(f"--connect {text}: expected SERVICE:PORT or SERVICE:PORT=LOCAL", Exit.USAGE) from error
    addresses = session.admin().describe(f"svc/{service}", elsewhere or namespace).addresses
    if not addresses:
        raise CliError(f"--connect {text}: {service} has no address of its own", Exit.NOT_STARTED)
    return explicit.Forward(service, own, addresses[0], port)

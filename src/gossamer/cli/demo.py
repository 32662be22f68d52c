"""`gossamer demo`: a small mesh at work, to watch or to check."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.output import structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.cli.session import Session
    from gossamer.cli.stage import Stage
    from gossamer.pb.v1.admin_pb2 import MeshEdge

ONCE_SECONDS = 15.0
# However late the first answer came, this much traffic is looked at.
LEAST_SECONDS = 5.0
WINDOW_SECONDS = 10


@click.command("demo", cls=Command, short_help="Watch a small mesh at work.")
@click.option("--once", is_flag=True, help="Run 15 s, print what was seen, and exit with 0 only if all was well.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table", help="How to print.")
@click.pass_context
def command(ctx: click.Context, once: bool, output: str) -> None:
    """Watch a small mesh at work: six programs that know nothing of it, one of whom is not let in.

    A web front asks a gRPC service (two replicas, one slower) and a cache; a load generator asks the front; an
    intruder tries to. The mesh is thrown away afterwards, unless --mesh names one. Ctrl-C ends it and leaves nothing
    behind.
    """
    settings = ctx.find_object(Settings)
    assert settings is not None
    _needs()
    began = process_start()
    given = settings.mesh or os.environ.get("GOSSAMER_MESH") or settings.context
    if not given:
        settings.mesh = f"demo-{os.getpid()}"
    session = settings.session()
    session.local("demo")
    once = once or output != "table" or not sys.stdout.isatty()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    raise SystemExit(_play(session, throwaway=not given, once=once, output=output, began=began))


def process_start() -> float:
    """When this process was started, on the monotonic clock: the interpreter's own start counts."""
    ticks = os.sysconf("SC_CLK_TCK")
    with suppress(OSError, ValueError, IndexError):
        # Field 22 (proc(5)), counted after the name, which may hold anything.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / ticks - _suspended()
    return time.monotonic()


def _suspended() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def _needs() -> None:
    from importlib.util import find_spec

    if find_spec("grpc") is None:
        raise CliError("the demo's gRPC service needs grpcio: pip install 'gossamer[demo]'")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _play(session: Session, throwaway: bool, once: bool, output: str, began: float) -> int:
    from gossamer.cli import play
    from gossamer.cli.stage import Stage

    quiet = output != "table"
    with Stage(session, throwaway) as stage:
        try:
            stage.begin(lambda text: None if quiet else click.echo(f"demo: {text}", err=True))
            edges = _once(stage, began) if once else _live(stage, began)
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        first = stage.first_success()
        startup = None if first is None else first - began
        status = session.admin().status()
        identity = f".{play.NAMESPACE}.serviceaccount.identity.gossamer.{status.trust_domain}"
        wrong = [*play.problems(edges, identity), *_seen_by_load(stage)]
    if quiet:
        structured(output, play.summary(edges, startup))
    else:
        _say(edges, startup, live=not once)
    for problem in wrong:
        click.echo(f"gossamer: demo: {problem}", err=True)
    return Exit.FAILED if wrong else Exit.OK


def _once(stage: Stage, began: float) -> Sequence[MeshEdge]:
    """What is seen at the end of the fifteenth second."""
    end = max(began + ONCE_SECONDS, time.monotonic() + LEAST_SECONDS)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(0.25, left))
        stage.check()
    return list(stage.session.admin().edges(WINDOW_SECONDS).edges)


def _live(stage: Stage, began: float) -> Sequence[MeshEdge]:
    """Draws the table every second until Ctrl-C; what was seen last."""
    from rich.console import Console, Group
    from rich.text import Text

    from gossamer.cli import live
    from gossamer.cli.play import NAMESPACE

    edges: Sequence[MeshEdge] = []
    console = Console()
    with live.follow(console) as display, suppress(KeyboardInterrupt):
        for response in stage.session.admin().watch_edges(1000, WINDOW_SECONDS):
            stage.check()
            edges = list(response.edges)
            first = stage.first_success()
            note = (
                "waiting for the first answer" if first is None else f"first meshed answer after {first - began:.1f} s"
            )
            caption = Text(f"mesh {stage.session.mesh}, {note}. Ctrl-C ends the demo.", "dim")
            table = live.edges_view(edges, console.width, NAMESPACE, "Who talks to whom")
            display.update(Group(table, caption), refresh=True)
    return edges


def _seen_by_load(stage: Stage) -> list[str]:
    counted = stage.counted()
    if not counted.get("sent"):
        return ["load: no request was answered"]
    return [f"load: {counted['failed']:.0f} of {counted['sent']:.0f} requests failed"] if counted["failed"] else []


def _say(edges: Sequence[MeshEdge], startup: float | None, live: bool) -> None:
    from rich.console import Console

    from gossamer.cli.live import edges_view
    from gossamer.cli.play import NAMESPACE

    if not live:
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(edges_view(edges, console.width, NAMESPACE))
    if startup is not None and not live:
        click.echo(f"First meshed answer {startup:.1f} s after the command.")
    name = own_name()
    click.echo("\nYour own programs, over mutual TLS, in two terminals:\n")
    click.echo(f"  {name} run --service hello -- python3 -m http.server 8080")
    click.echo(f"  {name} run -- curl http://hello:8080/\n")


def own_name() -> str:
    """How the reader can call us: by name where PATH has it, else by the path that was typed."""
    script = Path(sys.argv[0])
    found = shutil.which("gossamer")
    if found and Path(found).resolve() == script.resolve():
        return "gossamer"
    return str(script) if script.name == "gossamer" else f"{sys.executable} -m gossamer"

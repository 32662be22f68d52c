"""`gossamer logs`: what a sidecar or the control plane wrote."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.namespace import namespace_option
from gossamer.cli.root import Command, Settings

POLL_SECONDS = 0.2


@click.command("logs", cls=Command, short_help="Logs of a workload's sidecar or of the control plane.")
@click.argument("workload", required=False)
@click.option("--control-plane", is_flag=True, help="The control plane's own log.")
@click.option("--front", is_flag=True, help="The log of the control plane's front sidecar.")
@namespace_option("Where the workload is (default: default).")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), default=200, show_default=True, help="How many lines.")
@click.pass_obj
def command(
    settings: Settings,
    workload: str | None,
    control_plane: bool,
    front: bool,
    namespace: str | None,
    follow: bool,
    tail: int,
) -> None:
    """What a workload's sidecar wrote, or the control plane. The program's own output is where you started it."""
    paths = settings.session().local("logs")
    if control_plane or front:
        files = {"": paths.front_log if front else paths.log}
    elif workload:
        files = _files(settings, workload, namespace or "")
    else:
        raise click.UsageError("say whose: WORKLOAD, --control-plane or --front")
    prefixes = {name: f"[{name}] " if len(files) > 1 else "" for name in files}
    for name, file in files.items():
        for line in last_lines(file, tail):
            click.echo(f"{prefixes[name]}{line}")
    if follow:
        for name, line in _followed(files):
            click.echo(f"{prefixes[name]}{line}")


def _files(settings: Settings, workload: str, namespace: str) -> dict[str, Path]:
    """The logs of a workload, or of all of a service. Files outlive their workload until the next start."""
    session = settings.session()
    try:
        found = session.admin().describe(workload, namespace).workloads
    except CliError as error:
        if error.code not in (Exit.UNREACHABLE, Exit.NOT_FOUND):
            raise
        folder = session.paths.runtime / "logs"
        left = sorted(folder.glob(f"{namespace or 'default'}.{workload}*.log"))
        if not left:
            raise
        return {file.stem: file for file in left}
    files = {one.name: Path(one.log_file) for one in found if one.log_file}
    if not files:
        raise CliError(f"{workload} has no log on this machine", Exit.NOT_FOUND)
    return files


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a file and of the one before it; none when there is no file (yet)."""
    lines: deque[str] = deque(maxlen=count)
    for part in (file.with_name(f"{file.name}.1"), file):
        try:
            with part.open(errors="replace") as text:
                lines.extend(line.rstrip("\n") for line in text)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CliError(f"{part}: {error.strerror}") from error
    return list(lines)


def _followed(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """New lines of all files, as they are written; a file that was begun anew is read from its start."""
    offsets = {name: file.stat().st_size if file.exists() else 0 for name, file in files.items()}
    while True:
        for name, file in files.items():
            size = file.stat().st_size if file.exists() else 0
            if size < offsets[name]:
                offsets[name] = 0
            if size > offsets[name]:
                with file.open("rb") as log:
                    log.seek(offsets[name])
                    text, cut, _ = log.read(size - offsets[name]).rpartition(b"\n")
                offsets[name] += len(text) + len(cut)
                for line in text.decode(errors="replace").splitlines() if cut else ():
                    yield name, line
        time.sleep(POLL_SECONDS)

"""`gossamer version`: which versions are at work."""

from __future__ import annotations

from typing import Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.output import format_option, structured
from gossamer.cli.root import Command, Settings


@click.command("version", cls=Command, short_help="Versions of the command, the sidecar and the control plane.")
@click.option("--client", "client_only", is_flag=True, help="Do not ask the control plane.")
@format_option
@click.pass_obj
def command(settings: Settings, output: str, client_only: bool) -> None:
    """Versions of this command, of the sidecar installed with it and of the running control plane."""
    found: dict[str, Any] = {"client": own_version(), "proxy": proxy_version()}
    if not client_only:
        found["server"] = _server_version(settings)
    if output in ("json", "yaml"):
        structured(output, found)
        return
    titles = {"client": "Client version", "proxy": "Sidecar version", "server": "Control plane version"}
    for name, value in found.items():
        version = value.get("version") if isinstance(value, dict) else value
        click.echo(f"{titles[name]}: {version or 'unavailable'}")


def own_version() -> str:
    import gossamer

    return gossamer.__version__


def proxy_version() -> str | None:
    """What the installed `gossamer-proxy --version` says; None when there is none."""
    import subprocess

    from gossamer.binary import ProxyNotFound, find_proxy

    try:
        done = subprocess.run([find_proxy(), "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (ProxyNotFound, OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    return words[-1] if done.returncode == 0 and words else None


def _server_version(settings: Settings) -> dict[str, Any] | None:
    try:
        status = settings.session().admin(timeout=2.0).status()
    except CliError as error:
        if error.code is Exit.UNREACHABLE:
            return None
        raise
    return {"version": status.version, "pid": status.pid, "mesh": status.mesh, "started": status.started}

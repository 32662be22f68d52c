"""`gossamer backup`: the state and the keys of a mesh in one file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.root import Command, Settings

FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


@click.command("backup", cls=Command, short_help="Write the mesh's state and keys to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--passphrase-file", metavar="FILE", type=FILE, help="Its first line is the passphrase; else it is asked."
)
@click.option("--unencrypted", is_flag=True, help="Anybody who gets the file can issue certificates of this mesh.")
@click.option("--with-anchor-key", is_flag=True, help="Also the trust anchor's own key, where it is on this machine.")
@click.pass_obj
def command(
    settings: Settings, file: Path, passphrase_file: Path | None, unencrypted: bool, with_anchor_key: bool
) -> None:
    """Write the mesh's state and keys to a file, encrypted with a passphrase.

    The control plane may run or not. `gossamer restore FILE` puts everything back on a machine where there is nothing,
    or into another store. Join tokens are left out: what could be used once is not usable again.
    """
    from gossamer.ports import Unavailable
    from gossamer.standalone import archive, backup

    paths = settings.session().local("backup")
    if unencrypted and passphrase_file:
        raise click.UsageError("--unencrypted and --passphrase-file contradict each other")
    if file.exists():
        raise CliError(f"{file}: exists; choose another name, nothing is overwritten")
    secret = None if unencrypted else passphrase(passphrase_file, new=True)
    try:
        contents = backup.taken(paths, time.time(), anchor_key=with_anchor_key)
        backup.write_new(file, archive.pack(contents, secret, os.urandom))
    except Unavailable as error:
        raise CliError(str(error)) from error
    click.echo(f"{file}: {len(contents.entries)} entries and {len(contents.files)} key files of mesh {paths.mesh}")
    if unencrypted:
        click.echo(f"gossamer: {file} holds the issuer's key in the clear: keep it like a password", err=True)


def passphrase(file: Path | None, *, new: bool) -> bytes:
    """From the file's first line, or asked for on a terminal; `new`: twice, and not too short."""
    from gossamer.standalone.archive import SHORTEST_PASSPHRASE

    if file is not None:
        try:
            text = (file.read_text().splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{file}: {error}", Exit.USAGE) from error
    elif sys.stdin.isatty():
        text = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    else:
        other = " or --unencrypted" if new else ""
        raise CliError(f"a passphrase is needed: --passphrase-file FILE{other}", Exit.USAGE)
    if new and len(text) < SHORTEST_PASSPHRASE:
        raise CliError(f"the passphrase is shorter than {SHORTEST_PASSPHRASE} characters", Exit.USAGE)
    return text.encode()

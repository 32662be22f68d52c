"""`gossamer restore`: a mesh from a backup, where there is none."""

from __future__ import annotations

from pathlib import Path

import click

from gossamer.cli.backup import FILE, passphrase
from gossamer.cli.errors import CliError
from gossamer.cli.root import Command, Settings
from gossamer.cli.stores import given, store_options


@click.command("restore", cls=Command, short_help="Bring a mesh back from a backup.")
@click.argument("file", type=FILE)
@click.option(
    "--passphrase-file", metavar="FILE", type=FILE, help="Its first line is the passphrase; else it is asked."
)
@store_options
@click.pass_obj
def command(settings: Settings, /, file: Path, passphrase_file: Path | None, **store: str | Path | None) -> None:
    """Bring a mesh back from a file that `gossamer backup` wrote, then start it with `gossamer up`.

    Workloads that still run find it again: identities, addresses and resources are what they were. Where there is a
    mesh already, nothing is changed. --store moves a mesh from SQLite to etcd, or back.
    """
    from gossamer.ports import Unavailable
    from gossamer.standalone import archive, backup
    from gossamer.standalone.opening import Choice

    paths = settings.session().local("restore")
    try:
        if file.stat().st_size > archive.LARGEST:
            raise archive.Unreadable(f"larger than {archive.LARGEST} bytes, which no backup is")
        data = file.read_bytes()
        secret = passphrase(passphrase_file, new=False) if archive.needs_passphrase(data) else None
        contents = archive.unpack(data, secret)
        backup.put_back(contents, Choice(**given(store)), paths)
    except archive.Unreadable as error:
        raise CliError(f"{file}: {error}") from error
    except OSError as error:
        raise CliError(f"{file}: {error.strerror or error}") from error
    except Unavailable as error:
        raise CliError(str(error)) from error
    about = contents.about
    click.echo(f"restored {len(contents.entries)} entries of mesh {about.mesh}; start it with `gossamer up`")

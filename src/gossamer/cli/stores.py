"""The flags that say where a mesh's state is: of `up` and of `restore`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)
NEW_FILE = click.Path(dir_okay=False, path_type=Path, resolve_path=True)

_OPTIONS = (
    click.option(
        "--store",
        metavar="PLACE",
        help="Where its state is: sqlite, or etcd://HOST:PORT[,HOST:PORT][/PREFIX], etcds:// for TLS; remembered.",
    ),
    click.option("--store-ca", metavar="FILE", type=FILE, help="Whom to trust as etcd (PEM)."),
    click.option("--store-cert", metavar="FILE", type=FILE, help="The certificate to show to etcd (PEM)."),
    click.option("--store-key", metavar="FILE", type=FILE, help="Its key (PEM)."),
    click.option("--store-login", metavar="FILE", type=FILE, help="A file with USER:PASSWORD for etcd."),
    click.option(
        "--store-secret",
        metavar="FILE",
        type=NEW_FILE,
        help="The secret that seals keys in etcd; made by the first replica, copied to the others.",
    ),
)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; they arrive as `**store`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(store: dict[str, str | Path | None]) -> dict[str, str]:
    """Those that were given, by the names of their settings."""
    return {name: str(value) for name, value in store.items() if value is not None}

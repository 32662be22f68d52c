"""Which store a mesh is on, and opening it: SQLite in the state folder, or etcd where `up --store` says so.

What `up` was told of a store is kept in the state folder, so that whatever starts the control plane again (a reboot, a
service manager, `gossamer up` alone) finds the same one: a mesh must not begin anew beside itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from gossamer.kit.etcd.client import Place
from gossamer.ports import Leadership, Store, Unavailable
from gossamer.settings import ControllerSettings, Paths
from gossamer.standalone.etcd.place import parse, place
from gossamer.standalone.etcd.store import EtcdLeadership, EtcdStore
from gossamer.standalone.keys import read_private, write_private
from gossamer.standalone.lock import Lock, Sole
from gossamer.standalone.store import SqliteStore

SQLITE = "sqlite"
# Stored while a restore is under way: whoever finds it alone finds half a mesh.
RESTORING = "mesh/restoring"


@dataclass(frozen=True, slots=True)
class Choice:
    """`up`'s flags about the store, as text; None where they were not given."""

    store: str = SQLITE
    store_ca: str | None = None
    store_cert: str | None = None
    store_key: str | None = None
    store_login: str | None = None
    store_secret: str | None = None

    @property
    def shared(self) -> bool:
        return self.store != SQLITE

    def file(self, name: str) -> Path | None:
        value = getattr(self, name)
        return Path(value) if value else None


@dataclass(frozen=True, slots=True)
class Opened:
    """`replica` is this one's id among those of the store, "" where it is the only one; `etcd` None likewise."""

    store: Store
    leadership: Leadership
    choice: Choice
    replica: str = ""
    etcd: EtcdStore | None = None


def open_store(settings: ControllerSettings, files: Paths, lock: Lock) -> tuple[Opened, Callable[[], None]]:
    """The store and what closes it. Raises `Unavailable` in one line."""
    choice = chosen(settings, files)
    if not choice.shared:
        sqlite = SqliteStore(files.store)
        _check_whole(sqlite)
        remember(choice, files)
        return Opened(sqlite, Sole(lock, sqlite), choice), sqlite.close
    replica = replica_id(files)
    etcd = open_etcd(choice, settings.mesh, replica)
    _check_whole(etcd)
    remember(choice, files)
    return Opened(etcd, EtcdLeadership(etcd), choice, replica, etcd), etcd.close


def _check_whole(store: SqliteStore | EtcdStore) -> None:
    if store.read(RESTORING) is not None:
        store.close()
        raise Unavailable("a restore of this mesh has not been finished; run `gossamer restore FILE` again")


def open_etcd(choice: Choice, mesh: str, replica: str) -> EtcdStore:
    where, prefix = place_of(choice, mesh)
    return EtcdStore(where, prefix, replica, choice.store)


def place_of(choice: Choice, mesh: str) -> tuple[Place, str]:
    """Where the mesh's etcd is, and the prefix of its keys there. Raises `Unavailable` in one line."""
    try:
        address = parse(choice.store, mesh)
    except ValueError as error:
        raise Unavailable(f"--store {choice.store}: expected {error}") from None
    names = ("store_ca", "store_cert", "store_key", "store_login")
    ca, cert, key, login = (choice.file(name) for name in names)
    return place(address, ca, cert, key, login), address.prefix


def chosen(settings: ControllerSettings, files: Paths) -> Choice:
    """What this start was told, else what an earlier one was. Raises `Unavailable` where they contradict."""
    held = remembered(files)
    if settings.store is None:
        return held
    files_given = {one.name: getattr(settings, one.name) for one in fields(Choice) if one.name != "store"}
    choice = Choice(settings.store, **{name: str(value) for name, value in files_given.items() if value is not None})
    if files.store.exists() and choice.shared and not held.shared:
        raise Unavailable(
            f"mesh {files.mesh} has its state in {files.store}; move it: `gossamer backup FILE`, `gossamer down`, "
            f"`gossamer restore FILE --store {choice.store}`, `gossamer up`"
        )
    if held.shared and not choice.shared:
        raise Unavailable(
            f"mesh {files.mesh} has its state in {held.store}; move it: `gossamer backup FILE`, `gossamer down`, "
            "`gossamer restore FILE`, `gossamer up`"
        )
    return choice


def remembered(files: Paths) -> Choice:
    try:
        document = json.loads(read_private(files.shared_store))
        known = {one.name for one in fields(Choice)}
        return Choice(**{name: value for name, value in document.items() if name in known})
    except Unavailable:
        if files.shared_store.exists():
            raise
        return Choice()
    except (ValueError, TypeError, AttributeError) as error:
        raise Unavailable(f"{files.shared_store}: {error}; remove it and give --store again") from None


def remember(choice: Choice, files: Paths) -> None:
    if not choice.shared:
        files.shared_store.unlink(missing_ok=True)
        return
    document = {one.name: value for one in fields(Choice) if (value := getattr(choice, one.name)) is not None}
    write_private(files.shared_store, json.dumps(document, indent=1).encode() + b"\n")


def replica_id(files: Paths) -> str:
    """This machine's own among the replicas: made once, kept in the state folder."""
    file = files.state / "replica"
    if not file.exists():
        write_private(file, os.urandom(5).hex().encode() + b"\n")
    return read_private(file).decode().strip()

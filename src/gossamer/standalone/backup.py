"""Taking a mesh's state and keys out of their places, and putting them into empty ones.

Reads and writes the places themselves: a backup is wanted when nothing runs, too. What proves something once (join
tokens) is left out, so that a restored mesh accepts nothing a second time; so is what replicas say of themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gossamer.ports import Entry, Store, Unavailable, Write
from gossamer.settings import Paths
from gossamer.standalone import sealed
from gossamer.standalone.archive import About, Contents
from gossamer.standalone.etcd.store import entries_of
from gossamer.standalone.join_tokens import PREFIX as JOIN_TOKENS
from gossamer.standalone.keys import private_directory, read_private, write_private
from gossamer.standalone.lock import Lock
from gossamer.standalone.opening import RESTORING, Choice, open_etcd, place_of, remember, remembered, replica_id
from gossamer.standalone.replicas import BEGUN_BY
from gossamer.standalone.replicas import PREFIX as REPLICAS
from gossamer.standalone.sealed import CURRENT, SHARED, SharedKeys
from gossamer.standalone.store import SqliteStore
from gossamer.standalone.tokens import PREFIX as TOKENS
from gossamer.standalone.told import PREFIX as TOLD
from gossamer.standalone.trust_store import KEY as TRUST

LEFT_OUT = (TOKENS, JOIN_TOKENS, REPLICAS, TOLD, BEGUN_BY, sealed.KEY)
ANCHOR_KEY = "anchor/key.pem"
# Of one commit.
MOST_WRITES = 100
MOST_BYTES = 500_000
# Sidecars believe the newer of two bundles. What is restored is the truth, though they may have heard later news.
GENERATIONS = 1_000


def taken(files: Paths, now: float, *, anchor_key: bool) -> Contents:
    """What a backup holds. Raises `Unavailable` in one line."""
    choice = remembered(files)
    names = (*SHARED, ANCHOR_KEY) if anchor_key else SHARED
    while True:
        before = _key_files(files.ca, names)
        entries = _entries(choice, files)
        if _key_files(files.ca, names) == before:
            break
    if not set(before) >= set(CURRENT) or not entries:
        raise Unavailable(f"mesh {files.mesh} has no state on this machine ({files.state}); nothing to back up")
    if anchor_key and ANCHOR_KEY not in before:
        raise Unavailable(f"{files.ca / ANCHOR_KEY}: the trust anchor's key is not on this machine")
    kept = {one.key: one.value for one in entries if not one.key.startswith(LEFT_OUT)}
    domain = kept.get("mesh/trust-domain", b"").decode()
    return Contents(About(files.mesh, domain, int(now)), kept, before)


def put_back(contents: Contents, choice: Choice, files: Paths) -> None:
    """Into places that hold nothing. Raises `Unavailable` in one line, having changed nothing or said that it has."""
    foreign = sorted(contents.files.keys() - {*SHARED, ANCHOR_KEY})
    if foreign:
        raise Unavailable(f"the backup holds files that no mesh has ({foreign[0][:80]!r}): it is not one of Gossamer's")
    for folder in (files.state, files.runtime.parent, files.runtime):
        private_directory(folder)
    with _lock(files):
        # The anchor's own key may well be here and not in the backup.
        held = _key_files(files.ca, SHARED)
        if held and held != {name: data for name, data in contents.files.items() if name in SHARED}:
            raise Unavailable(
                f"{files.ca}: holds other keys; a mesh is not overwritten. Use another --mesh, or move them"
            )
        store = open_etcd(choice, files.mesh, replica_id(files)) if choice.shared else SqliteStore(files.store)
        try:
            _check_empty(store, choice, files)
            _write_keys(contents.files, files.ca)
            _write_entries(contents.entries, store)
            if choice.shared:
                secret = choice.file("store_secret") or files.state / "store-secret"
                SharedKeys(store, files.ca, secret).share()
            remember(choice, files)
        finally:
            store.close()


def _lock(files: Paths) -> Lock:
    try:
        return Lock(files.lock)
    except Unavailable as error:
        raise Unavailable(
            f"{error}, and a living mesh is not overwritten: `gossamer down`, or another --mesh"
        ) from error


def _entries(choice: Choice, files: Paths) -> list[Entry]:
    if choice.shared:
        return entries_of(*place_of(choice, files.mesh), choice.store)
    if not files.store.exists():
        return []
    store = SqliteStore(files.store)
    try:
        return store.scan("")
    finally:
        store.close()


def _key_files(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: read_private(folder / name) for name in names if (folder / name).exists()}


def _check_empty(store: Store, choice: Choice, files: Paths) -> None:
    """Half a restore may be done again."""
    held = [one for one in store.scan("") if not one.key.startswith(LEFT_OUT)]
    if not held:
        return
    if store.read(RESTORING) is None:
        where = choice.store if choice.shared else files.store
        raise Unavailable(f"{where}: holds a mesh already, which is not overwritten; use another --mesh or prefix")
    for some in _batches([Write(one.key, None) for one in held if one.key != RESTORING]):
        store.commit(some)


def _write_keys(held: Mapping[str, bytes], folder: Path) -> None:
    """The issuer's key last: where it is, everything is."""
    private_directory(folder)
    for name in sorted(held, key=lambda name: name == "issuer.key"):
        private_directory((folder / name).parent)
        write_private(folder / name, held[name])


def _write_entries(entries: Mapping[str, bytes], store: Store) -> None:
    store.commit([Write(RESTORING, b"")])
    for some in _batches([Write(key, _newer(key, value), 0) for key, value in sorted(entries.items())]):
        store.commit(some)
    store.commit([Write(RESTORING, None)])


def _newer(key: str, value: bytes) -> bytes:
    if key != TRUST:
        return value
    document = json.loads(value)
    return json.dumps({**document, "generation": document["generation"] + GENERATIONS}).encode()


def _batches(writes: list[Write]) -> Iterator[list[Write]]:
    some: list[Write] = []
    size = 0
    for write in writes:
        more = len(write.key) + len(write.value or b"")
        if some and (len(some) == MOST_WRITES or size + more > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append(write)
        size += more
    if some:
        yield some


def write_new(file: Path, data: bytes) -> None:
    """A file of mode 0600 that was not there, whole or not at all. Raises `Unavailable` in one line."""
    part = file.with_name(f".{file.name}.part")
    try:
        if file.exists():
            raise Unavailable(f"{file}: exists; choose another name, nothing is overwritten")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(descriptor)
        os.link(part, file)
        part.unlink()
    except OSError as error:
        raise Unavailable(f"{file}: {error.strerror or error}") from error

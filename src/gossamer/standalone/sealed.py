"""Keys that every replica signs with, in the shared store: sealed under a secret that each machine has in a file.

What is shared is the folder `CA` without anything an anchor's key is in (seams §5): whoever reads the store reads
nothing of use, whoever may write it can destroy but not sign. AES-256-GCM under a key derived from the secret; the name
of the entry is authenticated with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gossamer.ports import Conflict, Store, Unavailable, Write
from gossamer.standalone.keys import KeyFiles, private_directory, read_private, write_private

KEY = "ca/sealed"
# Below the folder of keys. `next` is where a new anchor's issuer waits for its turn. No anchor's key is here.
CURRENT = ("anchors.pem", "issuer.pem", "issuer.key")
NEXT = ("next/anchor.pem", "next/issuer.pem", "next/issuer.key")
SHARED = CURRENT + NEXT
_PURPOSE = b"gossamer: keys in the store, version 1"

Files = Mapping[str, bytes]


def secret(file: Path, *, make: bool) -> bytes:
    """What is in the file; a new one where there is none and `make`. Raises `Unavailable` in one line."""
    if not file.exists():
        if not make:
            raise Unavailable(
                f"{file}: this mesh's keys are sealed in the store; copy that file from a machine that runs a replica "
                "(mode 0600), or name it with --store-secret FILE"
            )
        write_private(file, b64encode(os.urandom(32)) + b"\n")
    found = read_private(file).strip()
    if len(found) < 32:
        raise Unavailable(f"{file}: too short for a secret; 32 random bytes in base64 are expected")
    return found


def seal(files: Files, secret: bytes, nonce: bytes) -> bytes:
    plain = json.dumps({name: b64encode(data).decode() for name, data in sorted(files.items())}).encode()
    sealed = AESGCM(_derived(secret)).encrypt(nonce, plain, KEY.encode())
    return json.dumps({"version": 1, "nonce": b64encode(nonce).decode(), "sealed": b64encode(sealed).decode()}).encode()


def unseal(value: bytes, secret: bytes, secret_file: Path) -> dict[str, bytes]:
    """Raises `Unavailable` in one line."""
    try:
        document = json.loads(value)
        if document["version"] != 1:
            raise Unavailable(f"{KEY}: sealed by a newer Gossamer; upgrade this one")
        plain = AESGCM(_derived(secret)).decrypt(
            b64decode(document["nonce"]), b64decode(document["sealed"]), KEY.encode()
        )
        return {name: b64decode(text) for name, text in json.loads(plain).items() if name in SHARED}
    except InvalidTag:
        raise Unavailable(
            f"{secret_file}: not the secret that this mesh's keys are sealed with; copy it from a running replica"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the store's {KEY} cannot be read: {error}") from error


class SharedKeys:
    """The folder of keys and the entry in the store, kept equal: whichever was changed last is copied to the other."""

    def __init__(self, store: Store, folder: Path, secret_file: Path) -> None:
        """Takes what is in the store, if there is anything: it is the mesh's. Raises `Unavailable`."""
        self._store = store
        self._folder = folder
        self._file = secret_file
        self._agreed = ""
        entry = store.read(KEY)
        self._version = 0
        self._secret = secret(secret_file, make=entry is None)
        if entry is not None:
            self.take()

    def take(self) -> bool:
        """From the store, where that is newer; whether files were changed. Raises `Unavailable`."""
        entry = self._store.read(KEY)
        if entry is None or entry.version == self._version:
            return False
        files = unseal(entry.value, self._secret, self._file)
        self._version = entry.version
        before = self._read()
        self._agreed = _digest(files)
        if before == files:
            return False
        self._write(before, files)
        return True

    def share(self) -> bool:
        """Into the store, where the files were changed; whether they were. Another's change wins."""
        files = self._read()
        digest = _digest(files)
        if digest == self._agreed or not files.keys() >= set(CURRENT):
            return False
        value = seal(files, self._secret, os.urandom(12))
        try:
            self._store.commit([Write(KEY, value, expected=self._version)])
        except Conflict:
            self.take()
            return False
        entry = self._store.read(KEY)
        self._version = entry.version if entry is not None else 0
        self._agreed = digest
        return True

    def _read(self) -> dict[str, bytes]:
        """Files that are missing are left out: someone may be replacing them."""
        return {name: read_private(self._folder / name) for name in SHARED if (self._folder / name).exists()}

    def _write(self, before: Files, files: Files) -> None:
        """The issuer's key is written last: where it is, everything is."""
        private_directory(self._folder)
        keys = KeyFiles(self._folder)
        waiting = [files.get(name) for name in NEXT]
        if all(waiting) and waiting != [before.get(name) for name in NEXT]:
            keys.keep_next(*(data or b"" for data in waiting))
        elif not all(waiting) and NEXT[1] in before:
            # Where the new anchor was made is its key, too, which nothing but a rotation's end needs.
            used = before[NEXT[1]] == files.get("issuer.pem")
            keys.adopt_next() if used else keys.drop_next()
        for name in CURRENT:
            if name in files and before.get(name) != files[name]:
                write_private(self._folder / name, files[name])


def _derived(secret: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret)


def _digest(files: Files) -> str:
    whole = hashlib.sha256()
    for name, data in sorted(files.items()):
        whole.update(f"{name} {len(data)}\n".encode() + data)
    return whole.hexdigest()

"""Key material in files: made on first start, or brought; the `KeyStore` port.

    CA/anchors.pem      what the mesh trusts
    CA/issuer.pem       the issuer's certificate, then intermediates
    CA/issuer.key       the issuer's key
    CA/anchor/key.pem   the anchor's own key: made in another process, never opened by the one that serves (seams §5);
                        move it off the machine, it is needed again only to make another issuer

Directories are 0700, files 0600; anything wider is refused.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import gossamer
from gossamer.ports import Unavailable

LARGEST = 256 * 1024


class KeyFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def exist(self) -> bool:
        return (self._folder / "issuer.key").exists()

    def anchors(self) -> bytes:
        return read_private(self._folder / "anchors.pem")

    def issuer(self) -> tuple[bytes, bytes]:
        return read_private(self._folder / "issuer.pem"), read_private(self._folder / "issuer.key")

    def make(self, control_namespace: str, trust_domain: str) -> None:
        """Has a process of its own make an anchor and an issuer, so that this one never holds the anchor's key."""
        private_directory(self._folder)
        command = [sys.executable, "-m", "gossamer.standalone.first_keys", str(self._folder)]
        # It finds the package where this process found it, installed or not.
        source = str(Path(gossamer.__file__).parent.parent)
        done = subprocess.run(
            [*command, control_namespace, trust_domain],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"{self._folder}: the keys could not be made: {last_line(done.stderr)}")

    def bring(self, anchors: bytes, issuer: bytes, key: bytes) -> None:
        """Takes over material that was checked. An anchor made here earlier keeps its key file."""
        private_directory(self._folder)
        write_private(self._folder / "anchors.pem", anchors)
        write_private(self._folder / "issuer.pem", issuer)
        write_private(self._folder / "issuer.key", key)


def private_directory(path: Path) -> None:
    """Makes a directory of mode 0700, or checks the one there is. Raises `Unavailable` in one line."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Unavailable(f"{path}: is not a directory of this user's; move it away or use another --mesh")
    if found.st_mode & 0o077:
        raise Unavailable(f"{path}: others may enter it; run: chmod 700 {path}")


def write_private(path: Path, data: bytes) -> None:
    """Replaces a file at once, mode 0600. Raises `Unavailable` in one line."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from error


def write_anchors(path: Path, pem: bytes, generation: int) -> None:
    """What sidecars begin with, and fall back to. The first line tells the file's age from what a stream says."""
    write_private(path, b"# generation: %d\n%b" % (generation, pem))


def read_private(path: Path) -> bytes:
    """A file that only its owner may read. Raises `Unavailable` in one line."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise Unavailable(f"{path}: others may read it; run: chmod 600 {path}")
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise Unavailable(f"{path}: larger than {LARGEST} bytes, which no key or certificate is")
    return data


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"

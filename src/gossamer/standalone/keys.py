"""Key material in files: made on first start, or brought; the `KeyStore` port.

    CA/anchors.pem      what the mesh trusts
    CA/issuer.pem       the issuer's certificate, then intermediates
    CA/issuer.key       the issuer's key
    CA/anchor/key.pem   the anchor's own key: made in another process, never opened by the one that serves (seams §5);
                        move it off the machine, it is needed again only to make another issuer
    CA/last.pem         the issuer last signed with, chain and key in one file, in case the files above are damaged
    CA/next/            while anchors rotate: the new anchor, its key, an issuer under it
    CA/request.key      of a signing request that has not been answered yet (`gossamer identity csr`)

Directories are 0700, files 0600; anything wider is refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import gossamer
from gossamer.ports import Unavailable
from gossamer.standalone.issuer_files import IssuerFiles

LARGEST = 256 * 1024
# Seconds after which a process that makes keys hangs.
MAKING = 60.0


class KeyFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def exist(self) -> bool:
        return (self._folder / "issuer.key").exists()

    @property
    def files(self) -> IssuerFiles:
        """What a person may replace while the mesh runs."""
        return IssuerFiles(self._folder / "anchors.pem", self._folder / "issuer.pem", self._folder / "issuer.key")

    def anchors(self) -> bytes:
        return read_private(self._folder / "anchors.pem")

    def issuer(self) -> tuple[bytes, bytes]:
        return read_private(self._folder / "issuer.pem"), read_private(self._folder / "issuer.key")

    def make(self, control_namespace: str, trust_domain: str, *lifetimes: float) -> None:
        """Has a process of its own make an anchor and an issuer, so that this one never holds the anchor's key.

        `lifetimes`: of the anchor and of the issuer, in seconds, where they are not the usual ones.
        """
        private_directory(self._folder)
        command = [sys.executable, "-m", "gossamer.standalone.first_keys", str(self._folder)]
        done = subprocess.run(
            [*command, control_namespace, trust_domain, *map(str, lifetimes)],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=MAKING,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"{self._folder}: the keys could not be made: {last_line(done.stderr)}")

    @property
    def anchor_key(self) -> bool:
        """Whether the anchor's key is on this machine. Nothing here opens it."""
        return (self._folder / "anchor" / "key.pem").exists()

    async def new_issuer(self, name: str, seconds: float) -> bytes:
        """Has a process of its own sign another issuer: its certificate and key, PEM. Raises `Unavailable`."""
        if not self.anchor_key:
            raise Unavailable(
                "the trust anchor's key is not on this machine: `gossamer identity csr`, have that signed where the "
                "key is, then `gossamer identity install FILE`"
            )
        return await self._new("issuer", name, str(seconds))

    async def new_anchor(self, control_namespace: str, trust_domain: str, seconds: float, issuer: float) -> None:
        """Has a process of its own make CA/next. Raises `Unavailable`."""
        await self._new("anchor", control_namespace, trust_domain, str(seconds), str(issuer))

    async def _new(self, what: str, *arguments: str) -> bytes:
        command = [sys.executable, "-m", "gossamer.standalone.new_keys", what, str(self._folder), *arguments]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            made, said = await asyncio.wait_for(process.communicate(), MAKING)
        except TimeoutError:
            process.kill()
            raise Unavailable(f"making a new {what} took longer than {MAKING:.0f} s") from None
        if process.returncode != 0:
            raise Unavailable(last_line(said.decode(errors="replace")))
        return made

    def next(self) -> tuple[bytes, bytes, bytes] | None:
        """The anchor, issuer and issuer's key of CA/next, None when there is none."""
        folder = self._folder / "next"
        if not folder.exists():
            return None
        return (
            read_private(folder / "anchor.pem"),
            read_private(folder / "issuer.pem"),
            read_private(folder / "issuer.key"),
        )

    def keep_next(self, anchor: bytes, certificate: bytes, key: bytes) -> None:
        """An anchor of somebody else's with an issuer under it, until it is the one in use. All or nothing."""
        unfinished = self._folder / ".next.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        private_directory(unfinished)
        for name, data in (("anchor.pem", anchor), ("issuer.pem", certificate), ("issuer.key", key), ("foreign", b"")):
            write_private(unfinished / name, data)
        self.drop_next()
        unfinished.rename(self._folder / "next")

    def adopt_next(self) -> None:
        """The new anchor's key takes the old one's place, which nothing trusts any more; there may be none here."""
        anchor = self._folder / "anchor"
        private_directory(anchor)
        made = self._folder / "next" / "anchor.key"
        own = anchor / "key.pem"
        if made.exists():
            made.replace(own)
        elif own.exists() and (self._folder / "next" / "foreign").exists():
            # The new anchor's key is somewhere else; the old one's signs for nobody any more.
            own.replace(anchor / "former.pem")
        self.drop_next()

    def drop_next(self) -> None:
        shutil.rmtree(self._folder / "next", ignore_errors=True)

    def keep_anchors(self, anchors: bytes) -> None:
        write_private(self._folder / "anchors.pem", anchors)

    def keep_issuer(self, certificate: bytes, key: bytes) -> None:
        """The one file first: whatever is interrupted, it holds a certificate and the key that belongs to it."""
        private_directory(self._folder)
        write_private(self._folder / "last.pem", certificate + key)
        write_private(self._folder / "issuer.key", key)
        write_private(self._folder / "issuer.pem", certificate)

    def last(self) -> bytes | None:
        """The issuer last signed with: its chain and its key in one PEM."""
        path = self._folder / "last.pem"
        return read_private(path) if path.exists() else None

    def request_key(self) -> bytes | None:
        path = self._folder / "request.key"
        return read_private(path) if path.exists() else None

    def keep_request_key(self, key: bytes) -> None:
        private_directory(self._folder)
        write_private(self._folder / "request.key", key)

    def drop_request_key(self) -> None:
        (self._folder / "request.key").unlink(missing_ok=True)

    def bring(self, anchors: bytes, issuer: bytes, key: bytes) -> None:
        """Takes over material that was checked. An anchor made here earlier keeps its key file."""
        private_directory(self._folder)
        write_private(self._folder / "anchors.pem", anchors)
        write_private(self._folder / "issuer.pem", issuer)
        write_private(self._folder / "issuer.key", key)


def _environment() -> dict[str, str]:
    """A child finds the package where this process found it, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(gossamer.__file__).parent.parent)}


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

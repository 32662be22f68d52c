"""Anchors and an issuer in files that somebody else writes: cert-manager, Vault's agent, a person.

A folder holds `tls.crt`, `tls.key` and `ca.crt`, as Kubernetes writes a TLS secret: replaced by swapping the symbolic
link `..data`, or file by file. What is read is one state of all files, or nothing. Whether it can be used is for
`identity.material` to say.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from gossamer.ports import Unavailable

LARGEST = 256 * 1024

Signature = tuple[tuple[int, ...], ...]
"""Equal for equal contents: device, inode, size and times of each file, () for one that is not there."""


class Moving(Exception):
    """The files are being replaced at this moment: look again."""


@dataclass(frozen=True, slots=True)
class Brought:
    """PEM. `where` names the files, for messages."""

    anchors: bytes
    certificate: bytes
    key: bytes
    where: str

    @property
    def digests(self) -> tuple[str, str]:
        """Of the anchors and of the issuer."""
        return hashlib.sha256(self.anchors).hexdigest(), hashlib.sha256(self.certificate + self.key).hexdigest()


@dataclass(frozen=True, slots=True)
class IssuerFiles:
    anchors: Path
    certificate: Path
    key: Path

    @classmethod
    def folder(cls, path: Path) -> IssuerFiles:
        return cls(path / "ca.crt", path / "tls.crt", path / "tls.key")

    @property
    def where(self) -> str:
        return str(self.certificate)

    def signature(self) -> Signature:
        return tuple(_signature(path) for path in (self.anchors, self.certificate, self.key))

    def read(self) -> Brought:
        """Raises `Moving`, or `Unavailable` in one line."""
        before = self.signature()
        found = Brought(_read(self.anchors), _read(self.certificate), _read(self.key, secret=True), self.where)
        if self.signature() != before:
            raise Moving
        return found


def _signature(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


def _read(path: Path, *, secret: bool = False) -> bytes:
    """Links are followed: that is how these files are swapped. A key may be its owner's and its group's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if secret and os.fstat(descriptor).st_mode & 0o007:
                raise Unavailable(f"{path}: everybody may read this key; run: chmod o-rwx {path}")
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise Unavailable(f"{path}: larger than {LARGEST} bytes, which no key or certificate is")
    if not data.strip():
        raise Unavailable(f"{path}: empty")
    return data

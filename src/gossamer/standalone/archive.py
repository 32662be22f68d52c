"""A backup as a file: magic line, a line of JSON that describes it, the contents, and a SHA-256 over all of that.

    gossamer-backup 1
    {"created": …, "mesh": …, "trust_domain": …, "encrypted": {"kdf": "scrypt", …, "nonce": …} or null}
    contents: JSON of entries and key files; AES-256-GCM with both lines above authenticated, unless unencrypted
    64 hex digits

Pure but for chance, which is an argument. Reads nothing and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

VERSION = 1
LARGEST = 1024 * 1024 * 1024
SHORTEST_PASSPHRASE = 8
# RFC 7914; 64 MiB and a fifth of a second here.
_SCRYPT = {"n": 2**16, "r": 8, "p": 1}
# What a file may ask of this machine's memory.
_MOST_MEMORY = 256 * 1024 * 1024
_MAGIC = b"gossamer-backup "
_DIGEST = 64


class Unreadable(Exception):
    """The file is no backup, was damaged, or the passphrase is another; one line."""


@dataclass(frozen=True, slots=True)
class About:
    """`created`: seconds since the epoch."""

    mesh: str
    trust_domain: str
    created: int


@dataclass(frozen=True, slots=True)
class Contents:
    """Entries of the store by key, files of the folder of keys by name."""

    about: About
    entries: Mapping[str, bytes]
    files: Mapping[str, bytes]


def pack(contents: Contents, passphrase: bytes | None, random: Callable[[int], bytes]) -> bytes:
    """`passphrase` None: unencrypted."""
    plain = json.dumps({"entries": _texts(contents.entries), "files": _texts(contents.files)}).encode()
    about = {
        "created": contents.about.created,
        "mesh": contents.about.mesh,
        "trust_domain": contents.about.trust_domain,
    }
    if passphrase is None:
        head = _head({**about, "encrypted": None})
        return _digested(head + plain)
    salt, nonce = random(16), random(12)
    terms = {"kdf": "scrypt", **_SCRYPT, "salt": b64encode(salt).decode(), "nonce": b64encode(nonce).decode()}
    head = _head({**about, "encrypted": terms})
    return _digested(head + AESGCM(_key(passphrase, terms)).encrypt(nonce, plain, head))


def needs_passphrase(data: bytes) -> bool:
    """Raises `Unreadable` for what is no backup, is damaged, or was written by a newer version."""
    return _opened(data)[1]["encrypted"] is not None


def unpack(data: bytes, passphrase: bytes | None) -> Contents:
    """Raises `Unreadable`."""
    head, document, body = _opened(data)
    terms = document["encrypted"]
    try:
        if terms is not None:
            body = AESGCM(_key(passphrase or b"", terms)).decrypt(b64decode(terms["nonce"]), body, head)
        inside = json.loads(body)
        return Contents(
            About(str(document["mesh"]), str(document["trust_domain"]), int(document["created"])),
            _bytes(inside["entries"]),
            _bytes(inside["files"]),
        )
    except InvalidTag:
        raise Unreadable("the passphrase is another one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"the backup cannot be understood: {error}") from error


def _opened(data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    """The two lines, the second as JSON, and what follows."""
    first, _, rest = data.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise Unreadable("not a backup of Gossamer's")
    if first != _MAGIC + b"%d" % VERSION:
        raise Unreadable("written by a newer Gossamer; upgrade this one")
    whole, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(whole).hexdigest().encode() != digest:
        raise Unreadable("damaged: its contents are not what was written")
    second, _, body = rest.partition(b"\n")
    try:
        document = json.loads(second)
        document["encrypted"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"the backup cannot be understood: {error}") from error
    return first + b"\n" + second + b"\n", document, body[:-_DIGEST]


def _head(document: Mapping[str, Any]) -> bytes:
    return b"%b%d\n%b\n" % (_MAGIC, VERSION, json.dumps(document).encode())


def _digested(data: bytes) -> bytes:
    return data + hashlib.sha256(data).hexdigest().encode()


def _key(passphrase: bytes, terms: Mapping[str, Any]) -> bytes:
    n, r, p = (int(terms[name]) for name in ("n", "r", "p"))
    if terms["kdf"] != "scrypt" or min(n, r, p) < 1 or p > 4 or 128 * n * r > _MOST_MEMORY:
        raise ValueError("unknown terms of encryption")
    return Scrypt(salt=b64decode(terms["salt"]), length=32, n=n, r=r, p=p).derive(passphrase)


def _texts(values: Mapping[str, bytes]) -> dict[str, str]:
    return {key: b64encode(value).decode() for key, value in values.items()}


def _bytes(values: Mapping[str, str]) -> dict[str, bytes]:
    return {key: b64decode(text) for key, text in values.items()}

"""Where a mesh's etcd is, from what `up` was told: `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`, or `etcds://` for TLS.

What proves this machine to etcd is in files, never in the address: an address is shown, logged and remembered.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from gossamer.kit.etcd.client import Place, members
from gossamer.ports import Unavailable
from gossamer.standalone.keys import read_private

SCHEMES = ("etcd://", "etcds://")


@dataclass(frozen=True, slots=True)
class Address:
    """`text` as it was written; `prefix` begins every key."""

    text: str
    members: tuple[tuple[str, int], ...]
    prefix: str
    tls: bool


def parse(text: str, mesh: str) -> Address:
    """The prefix of a mesh is `gossamer/MESH` unless it is written. ValueError says what is wrong."""
    scheme, separator, rest = text.partition("://")
    if scheme + separator not in SCHEMES:
        raise ValueError("sqlite, or etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS")
    hosts, _, prefix = rest.partition("/")
    if "@" in hosts:
        raise ValueError("no user or password in the address; write USER:PASSWORD into a file for --store-login")
    prefix = prefix.strip("/") or f"gossamer/{mesh}"
    if not re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", prefix):
        raise ValueError("a prefix of letters, digits, dots, dashes and slashes")
    return Address(text, tuple(members(hosts)), prefix, scheme == "etcds")


def place(address: Address, ca: Path | None, cert: Path | None, key: Path | None, login: Path | None) -> Place:
    """With what the files hold. Raises `Unavailable` naming the file."""
    if not address.tls and (ca or cert or key):
        raise Unavailable("--store-ca, --store-cert and --store-key are for etcds://; write --store etcds://…")
    if bool(cert) != bool(key):
        raise Unavailable("--store-cert and --store-key belong together")
    if address.tls is False and login is not None and not all(_loopback(host) for host, _ in address.members):
        raise Unavailable("--store-login would send the password in the clear; write --store etcds://…")
    user, password = _login(login) if login is not None else ("", "")
    return Place(address.members, _context(ca, cert, key) if address.tls else None, user, password)


def _context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None and key is not None:
            read_private(key)  # refuses one that others may read
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(file) for file in (ca, cert, key) if file is not None)
        raise Unavailable(f"{named}: {error.strerror or error}") from error
    return context


def _login(file: Path) -> tuple[str, str]:
    user, colon, password = read_private(file).decode(errors="replace").strip().partition(":")
    if not (user and colon and password):
        raise Unavailable(f"{file}: expected USER:PASSWORD on one line")
    return user, password


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")

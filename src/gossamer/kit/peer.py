"""Who is at the other end of a Unix socket, and whether it lives in the namespaces this process lives in.

The uid alone proves little: a meshed program runs under the same one (seams §9). Its user and network namespaces are
others, which /proc tells; a process that cannot be read this way (not dumpable, or gone) is "unknown", never "own".
"""

from __future__ import annotations

import os
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Namespaces = Literal["own", "foreign", "unknown"]

_SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The process that connected, as it was then (SO_PEERCRED). A uid that has no name here is the overflow uid."""

    pid: int
    uid: int
    gid: int
    namespaces: Namespaces = "unknown"


def credentials(connection: socket.socket) -> Credentials:
    """Raises OSError for anything but a connected Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    found = namespaces(pid)
    if found == "own" and not _alive(connection):
        found = "unknown"  # the pid may have been another process's when it was looked at
    return Credentials(pid, uid, gid, found)


def namespaces(pid: int) -> Namespaces:
    """Compares /proc/PID/ns/{user,net} with this process's own."""
    if pid <= 0:
        return "foreign"  # a process that this pid namespace cannot name
    try:
        same = all(_namespace(pid, kind) == _namespace("self", kind) for kind in ("user", "net"))
    except OSError:
        return "unknown"
    return "own" if same else "foreign"


def _namespace(pid: int | str, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def _alive(connection: socket.socket) -> bool:
    """Whether the very process that connected still runs. Kernels before 6.5 cannot say: then it is believed."""
    try:
        pidfd = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4), "little")
    except OSError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(pidfd)

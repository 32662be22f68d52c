"""Listening on a Unix socket file, safely."""

from __future__ import annotations

import os
import socket
from pathlib import Path

# sockaddr_un.sun_path, with its terminating zero.
LONGEST = 107


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """A non-blocking listening socket at `path`, mode 0600. A file left by a dead process is replaced; whoever calls
    holds a lock against a living one. Raises OSError with a message to show."""
    if len(os.fsencode(path)) > LONGEST:
        raise OSError(f"{path}: longer than the {LONGEST} bytes a socket path may have; choose a shorter directory")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise OSError(f"{path}: {error.strerror or error}") from error
    return listener

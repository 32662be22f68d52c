"""What each process is told at start: one dataclass per process, one field per setting.

Must not read the environment by itself: callers pass a mapping, so that tests need no process state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# sun_path holds 108 bytes including its end.
SOCKET_PATH_LIMIT = 107


class InvalidSetting(ValueError):
    """A setting that cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a mesh keeps its files on this machine. Nothing here creates or reads any."""

    mesh: str
    # Survives a reboot: keys, the store.
    state: Path
    # Gone after a reboot: sockets, logs, locks. 0700.
    runtime: Path

    @property
    def control_socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def admin_socket(self) -> Path:
        return self.runtime / "admin.sock"

    @property
    def agent_socket(self) -> Path:
        return self.runtime / "agent.sock"

    @property
    def lock(self) -> Path:
        return self.runtime / "lock"

    @property
    def ready(self) -> Path:
        """Holds the controller's process id once it serves."""
        return self.runtime / "ready"

    @property
    def log(self) -> Path:
        return self.runtime / "controller.log"

    @property
    def trust_anchors(self) -> Path:
        """PEM; what sidecars watch."""
        return self.runtime / "trust-anchors.pem"

    @property
    def store(self) -> Path:
        return self.state / "store.sqlite"

    @property
    def ca(self) -> Path:
        """Folder of the issuer's certificate and key."""
        return self.state / "ca"


def paths(mesh: str, environ: Mapping[str, str], uid: int, home: Path) -> Paths:
    """The folders of `mesh` (contract of `--mesh`, seams 11).

    Raises InvalidSetting when the name cannot be a folder or a socket's path would be too long.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", mesh):
        raise InvalidSetting(
            f"--mesh {mesh!r}: use 1 to 32 lower-case letters, digits and dashes, beginning and ending with no dash"
        )
    state = _folder(environ, "XDG_STATE_HOME") or home / ".local" / "state"
    runtime = _folder(environ, "XDG_RUNTIME_DIR")
    found = Paths(
        mesh,
        state / "gossamer" / mesh,
        runtime / "gossamer" / mesh if runtime else Path(f"/tmp/gossamer-{uid}") / mesh,  # noqa: S108 - 0700, owner checked
    )
    longest = max(len(str(path)) for path in (found.control_socket, found.admin_socket, found.agent_socket))
    if longest > SOCKET_PATH_LIMIT:
        raise InvalidSetting(
            f"{found.runtime}: too long for a socket's path ({longest} bytes, at most {SOCKET_PATH_LIMIT}); "
            "set XDG_RUNTIME_DIR to a shorter folder or choose a shorter --mesh"
        )
    return found


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    """An absolute path from the environment; as the XDG specification says, a relative one counts as unset."""
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else None

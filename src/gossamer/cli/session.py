"""Where an invocation's control plane is, and how to talk to it.

The local context is the mesh of this machine (`--mesh`). Other contexts are named in
`$XDG_CONFIG_HOME/gossamer/contexts.toml`: `[NAME]` with `mesh = "…"` (another mesh of this machine) or
`socket = "/path/admin.sock"` (forwarded, for example by ssh).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.cli.errors import CliError, Exit
from gossamer.settings import InvalidSetting, Paths, paths

if TYPE_CHECKING:
    from gossamer.cli.admin import Admin
    from gossamer.cli.lifecycle import Lifecycle

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Session:
    """`remote` is the socket of a control plane that is not this machine's `mesh`; None for local ones."""

    mesh: str
    context: str
    paths: Paths
    remote: Path | None = None

    @property
    def socket(self) -> Path:
        return self.remote or self.paths.admin_socket

    def admin(self, timeout: float = 10.0) -> Admin:
        """A connection to the control plane. CliError(UNREACHABLE) comes from its first call."""
        from gossamer.cli.admin import Admin

        return Admin(self.socket, timeout, self.unreachable())

    def lifecycle(self, timeout: float = 10.0) -> Lifecycle:
        """The same for certificates."""
        from gossamer.cli.lifecycle import Lifecycle

        return Lifecycle(self.socket, timeout, self.unreachable())

    def unreachable(self) -> str:
        """What to say when nothing answers."""
        if self.remote is not None:
            return f"no control plane answers at {self.remote} (context {self.context})"
        flag = "" if self.mesh == "default" else f" --mesh {self.mesh}"
        away = self._control_elsewhere()
        if away:
            return f"this machine has joined mesh {self.mesh}, whose control plane is at {away}; run this command there"
        return f"no control plane runs for mesh {self.mesh}; start it with `gossamer up{flag}`"

    def _control_elsewhere(self) -> str:
        """Where the control plane of a joined machine is; "" for one that has not joined."""
        import json

        try:
            return str(json.loads((self.paths.machine / "membership.json").read_text())["control"][0])
        except (OSError, ValueError, LookupError):
            return ""

    def local(self, what: str) -> Paths:
        """The files of a mesh of this machine, for commands that start or stop things here."""
        if self.remote is not None:
            raise CliError(f"{what} works on this machine's meshes only; drop --context {self.context}", Exit.USAGE)
        return self.paths


def open_session(mesh: str | None, context: str | None) -> Session:
    """What the common options and the environment mean. Raises CliError(USAGE)."""
    name = context or os.environ.get("GOSSAMER_CONTEXT") or LOCAL
    entry = {} if name == LOCAL else _entry(name)
    remote = entry.get("socket")
    mesh = mesh or entry.get("mesh") or os.environ.get("GOSSAMER_MESH") or "default"
    return Session(mesh, name, mesh_paths(mesh), Path(remote).expanduser() if remote else None)


def mesh_paths(mesh: str) -> Paths:
    try:
        return paths(mesh, os.environ, os.getuid(), Path.home())
    except InvalidSetting as error:
        raise CliError(str(error), Exit.USAGE) from error


def _entry(name: str) -> dict[str, str]:
    import tomllib

    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    file = folder / "gossamer" / "contexts.toml"
    try:
        known = tomllib.loads(file.read_text())
    except FileNotFoundError:
        known = {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CliError(f"{file}: {error}", Exit.USAGE) from error
    entry = known.get(name)
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        names = ", ".join([LOCAL, *known])
        raise CliError(
            f"--context {name}: not in {file} (known: {names}); add [{name}] with socket or mesh", Exit.USAGE
        )
    return entry

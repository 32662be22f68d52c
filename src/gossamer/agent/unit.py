"""The systemd unit that starts a joined machine's agent: the system's for root, else the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gossamer.settings import Paths

PATIENCE = 30


class NotInstalled(Exception):
    """One line."""


def name(paths: Paths) -> str:
    return f"gossamer-agent-{paths.mesh}.service"


def text(paths: Paths) -> str:
    """Folders are written out: a service has another environment than the person who joined."""
    program = f"{sys.executable} -m gossamer.agent.machine --mesh {paths.mesh}"
    state, runtime = paths.state.parent.parent, paths.runtime.parent.parent
    kept = [f"Environment=XDG_STATE_HOME={state}"]
    if paths.runtime.parent.name == "gossamer":
        kept.append(f"Environment=XDG_RUNTIME_DIR={runtime}")
    lines = [
        "[Unit]",
        f"Description=Gossamer agent of mesh {paths.mesh}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        f"ExecStart={program}",
        *kept,
        # The programs beside it are not its own.
        "KillMode=process",
        "Restart=always",
        "RestartSec=1",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if os.getuid() == 0 else 'default.target'}",
    ]
    return "\n".join(lines) + "\n"


def file(paths: Paths) -> Path:
    if os.getuid() == 0:
        return Path("/etc/systemd/system") / name(paths)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user" / name(paths)


def install(paths: Paths) -> str:
    """Writes and starts the unit; what to tell the person. Raises `NotInstalled`."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").exists():
        raise NotInstalled(f"systemd does not run here; start the agent at each boot with: {' '.join(start(paths))}")
    place = file(paths)
    scope = [] if os.getuid() == 0 else ["--user"]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text(paths))
        for words in (["daemon-reload"], ["enable", "--now", name(paths)]):
            done = subprocess.run(["systemctl", *scope, *words], capture_output=True, text=True, timeout=PATIENCE)
            if done.returncode != 0:
                raise NotInstalled(f"systemctl {' '.join(words)}: {' '.join(done.stderr.split())}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{place}: {error}") from error
    linger = "" if os.getuid() == 0 else f"; at boot without a login: loginctl enable-linger {os.getuid()}"
    return f"{place} installed and started{linger}"


def start(paths: Paths) -> list[str]:
    return [sys.executable, "-m", "gossamer.agent.machine", "--mesh", paths.mesh]


def hint(paths: Paths) -> str:
    """How to have it started at each boot."""
    return f"`gossamer join … --systemd`, or start `{' '.join(start(paths))}`"

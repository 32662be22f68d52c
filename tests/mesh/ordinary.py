"""`python -m tests.mesh.ordinary COMMAND…`: runs a command as an ordinary user, from a root shell.

Root's home is closed to others and often holds the interpreter. In a mount namespace of our own, every folder on the
way to the interpreter and to the checkout is made passable; nothing of the machine changes. Run by an ordinary user,
it only runs the command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# An id that no account uses: nothing on the machine belongs to it.
USER = 61234


def needed() -> list[Path]:
    """Folders the user must reach: the interpreter's, the checkout and what it links to."""
    real = Path(sys.executable).resolve()
    return [Path(sys.base_prefix).resolve(), real.parents[1], ROOT]


def closed(path: Path) -> Path | None:
    """The first folder on the way to `path` that others may not enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


def shell_lines(paths: list[Path], aside: str) -> list[str]:
    """Commands that cover each closed folder by an open, empty one, with the needed folders bound back in."""
    lines = []
    for number, path in enumerate(dict.fromkeys(paths)):
        door = closed(path)
        if door is None:
            continue
        lines += [f"mkdir -p {aside}/{number}", f"mount --bind {path} {aside}/{number}"]
    covered = dict.fromkeys(door for path in paths if (door := closed(path)))
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {door}" for door in covered]
    for number, path in enumerate(dict.fromkeys(paths)):
        if closed(path) is not None:
            lines += [f"mkdir -p {path}", f"mount --bind {aside}/{number} {path}"]
    return lines


@contextmanager
def user(number: int = USER) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What to put before a command to run it as user `number`, and the environment it needs; root only."""
    home, aside = tempfile.mkdtemp(prefix="gossamer-home-"), tempfile.mkdtemp(prefix="gossamer-way-")
    os.chown(home, number, number)
    account = Path(aside) / "passwd"
    account.write_text(f"{Path('/etc/passwd').read_text()}ordinary:x:{number}:{number}::{home}:/bin/sh\n")
    lines = ["set -e", "mount --make-rprivate /", f"mount --bind {account} /etc/passwd", *shell_lines(needed(), aside)]
    drop = f'exec setpriv --reuid={number} --regid={number} --clear-groups --inh-caps=-all "$@"'
    try:
        yield ["unshare", "--mount", "sh", "-c", "; ".join([*lines, f"cd {ROOT}", drop]), "sh"], of(home, os.environ)
    finally:
        for folder in (home, aside):
            shutil.rmtree(folder)


def of(home: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a user with this home: nothing in it leads to root's folders."""
    kept = {name: value for name, value in environment.items() if name not in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    return {**kept, "HOME": home, "USER": "ordinary", "PYTHONDONTWRITEBYTECODE": "1"}


def main(command: list[str]) -> int:
    if os.geteuid() != 0:
        os.execvp(command[0], command)
    with user() as (prefix, environment):
        return subprocess.run([*prefix, *command], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

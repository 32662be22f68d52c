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


def main() -> None:
    command = sys.argv[1:]
    if os.geteuid() != 0:
        os.execvp(command[0], command)
    home, aside = tempfile.mkdtemp(prefix="gossamer-home-"), tempfile.mkdtemp(prefix="gossamer-way-")
    os.chown(home, USER, USER)
    account = Path(aside) / "passwd"
    account.write_text(f"{Path('/etc/passwd').read_text()}ordinary:x:{USER}:{USER}::{home}:/bin/sh\n")
    lines = ["set -e", "mount --make-rprivate /", f"mount --bind {account} /etc/passwd", *shell_lines(needed(), aside)]
    setup = "; ".join(lines)
    drop = f'exec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all "$@"'
    environment = {**os.environ, "HOME": home, "USER": "ordinary", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        environment.pop(name, None)
    arguments = ["unshare", "--mount", "sh", "-c", f"{setup}; cd {ROOT}; {drop}", "sh", *command]
    code = subprocess.run(arguments, env=environment, check=False).returncode
    for folder in (home, aside):
        shutil.rmtree(folder)
    sys.exit(code)


if __name__ == "__main__":
    main()

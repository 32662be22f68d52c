"""Starting the control plane of a mesh on this machine, and knowing whether one runs.

Must stay light: `run` imports it. The control plane itself is another process, `python -m gossamer.controller`.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gossamer.settings import Paths

START_SECONDS = 20.0
END_SECONDS = 5.0
POLL_SECONDS = 0.01
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT")


class NotStarted(Exception):
    """The control plane did not come up; one line with what it said."""


def serving(paths: Paths) -> bool:
    """Whether somebody accepts connections where this mesh's control plane would."""
    return (joined(paths) or accepts(paths.admin_socket)) and accepts(paths.agent_socket)


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def of_several(paths: Paths) -> bool:
    """Whether this mesh's control plane is one of several on a shared store."""
    return paths.shared_store.exists()


def ensure(paths: Paths, arguments: Sequence[str] = ()) -> bool:
    """Has a control plane serve this mesh; True when it was started now. Raises NotStarted.

    `arguments` are those of `gossamer.controller`, used only when it is started.
    """
    if serving(paths):
        return False
    return start(paths, arguments)


def start(paths: Paths, arguments: Sequence[str] = ()) -> bool:
    """Starts one in the background and returns once one serves; False when somebody else's was quicker."""
    prepare(paths)
    with paths.log.open("ab") as log:
        before = log.tell()
        process = _spawn(command(paths, arguments), log.fileno())
    try:
        return _served(paths, process, before)
    except BaseException:
        # Whoever gives up waiting (Ctrl-C, too) leaves nothing behind that is half started.
        process.end()
        raise


def _served(paths: Paths, process: Process, before: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if serving(paths) and (served_by := _served_by(paths)):
            return served_by == process.pid
        # Where another one holds the mesh's lock, that one will serve.
        if process.ended() and not _locked(paths.lock):
            raise NotStarted(f"{_what(paths)} did not start: {last_words(paths.log, before)}")
        time.sleep(POLL_SECONDS)
    raise NotStarted(f"{_what(paths)} did not start within {START_SECONDS:.0f} s; its log is {paths.log}")


def command(paths: Paths, arguments: Sequence[str]) -> list[str]:
    """The program that serves here: on a joined machine its agent, which takes no arguments of a control plane."""
    if joined(paths):
        return [sys.executable, "-m", "gossamer.agent.machine", "--mesh", paths.mesh]
    return [sys.executable, "-m", "gossamer.controller", "--mesh", paths.mesh, *arguments]


def _what(paths: Paths) -> str:
    return "this machine's agent" if joined(paths) else "the control plane"


def joined(paths: Paths) -> bool:
    """Whether the control plane of this machine's mesh is on another one."""
    return (paths.machine / "membership.json").exists()


def prepare(paths: Paths) -> None:
    """Makes the runtime folder, ours and closed to others. Raises NotStarted."""
    for folder in (paths.runtime.parent, paths.runtime):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise NotStarted(
                f"{folder}: {error.strerror or error}; set XDG_RUNTIME_DIR to a folder of yours"
            ) from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise NotStarted(f"{folder}: must be a folder of yours with mode 0700; set XDG_RUNTIME_DIR to another")


def last_words(log: Path, offset: int) -> str:
    """The last line written to a log after `offset` that is no log line: why a process ended."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            # A log that grew too large has been begun anew (kit.logs).
            file.seek(max(offset if offset <= size else 0, size - 8192))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    said = [line for line in lines if not _LOGGED.match(line)]
    return said[-1] if said else f"it said nothing; its log is {log}"


def _locked(path: Path) -> bool:
    """Whether a process holds the lock, without touching it: a try would make another's fail."""
    try:
        inode = path.stat().st_ino
        held = Path("/proc/locks").read_text()
    except OSError:
        return False
    return any(line.split()[1] == "FLOCK" and line.split()[5].endswith(f":{inode}") for line in held.splitlines())


class Process:
    """A program that is nobody's child: waited for by its descriptor."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def ended(self, within: float = 0.0) -> bool:
        return self._handle is None or bool(select.select([self._handle], [], [], within)[0])

    def end(self) -> None:
        """Ends it, however long it takes to be heard."""
        for number, patience in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
            if self._handle is None or self.ended():
                return
            signal.pidfd_send_signal(self._handle, number)
            self.ended(patience)


def _spawn(program: Sequence[str], log: int) -> Process:
    """Starts a program in a session of its own, as nobody's child.

    `run` becomes the launcher, which must not find children it did not start.
    """
    import subprocess

    read, write = os.pipe()
    # From here until its number is known nothing may interrupt us.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        between = os.fork()
        if between == 0:
            try:
                for number in INTERRUPTIONS:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                process = subprocess.Popen(
                    program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
                )
                os.write(write, str(process.pid).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:  # noqa: PTH123 - a descriptor, not a path
            text = pipe.read()
        os.waitpid(between, 0)
        if not text:
            raise NotStarted(f"{program[0]} cannot be started")
        return Process(int(text))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serving_process(paths: Paths) -> Process | None:
    """The control plane that serves this mesh now."""
    pid = _served_by(paths)
    return None if pid is None else Process(pid)


def holder(paths: Paths) -> Process | None:
    """The same, while it holds the mesh's lock: the number that a dead one left may be another process's by now."""
    return serving_process(paths) if _locked(paths.lock) else None


def _served_by(paths: Paths) -> int | None:
    """The process that says it serves; None while none does."""
    try:
        return int(paths.ready.read_text())
    except (OSError, ValueError):
        return None

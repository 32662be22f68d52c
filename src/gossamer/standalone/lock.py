"""One control plane per mesh: a lock that the kernel gives back when its holder dies (seams §11)."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from gossamer.ports import Store, Unavailable


class Lock:
    """Held from construction until `release`. Raises `Unavailable` when another process holds it."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            who = f" (process {holder})" if holder.isdigit() else ""
            raise Unavailable(f"{path}: another control plane{who} serves this mesh") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def held(self) -> bool:
        return self._descriptor >= 0

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class Sole:
    """The `Leadership` port of a control plane that is alone: it leads while it holds its lock."""

    def __init__(self, lock: Lock, store: Store) -> None:
        self._lock = lock
        self.store = store

    def held(self) -> bool:
        return self._lock.held()

"""The front sidecar: a `gossamer-proxy` that ends mutual TLS and dials `control.sock` (seams §8). Started, given its
join tokens over a socket pair, and started again when it dies.

It is a child of this process and holds the other end of the pair: when this process dies, however, the pair closes and
the front ends itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gossamer.kit.backoff import pauses
from gossamer.kit.peer import Credentials
from gossamer.ports import Denied, Unavailable

LINE = 4096
# A front that ran this long may be started again at once.
STEADY = 10.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
GRACE = 3.0

_log = logging.getLogger("gossamer.front")


class Front:
    """`command` is the program and its arguments; the descriptor's variable is added to `environment`."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        token: Callable[[], str],
        rng: Callable[[], float],
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._log_file = log_file
        self._token = token
        self._rng = rng
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.ready = asyncio.Event()
        """Set once the front serves with a certificate."""
        self.starts = 0

    def admit(self, peer: Credentials) -> str | None:
        """For `control.sock`: only this process's own children may speak for others."""
        parent = _parent(peer.pid)
        return None if parent == os.getpid() else f"process {peer.pid} is not the front sidecar"

    async def run(self) -> None:
        """Supervises until cancelled; then ends the front. Raises `Unavailable` when the program cannot be started."""
        loop = asyncio.get_running_loop()
        delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, self._rng)
        try:
            while True:
                began = loop.time()
                code = await self._once()
                self.ready.clear()
                _log.warning("the front sidecar ended (status %s); see %s", code, self._log_file)
                if loop.time() - began > STEADY:
                    delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, self._rng)
                await asyncio.sleep(next(delays))
        finally:
            await self._end()

    async def _once(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            try:
                with theirs, self._log_file.open("ab") as log:
                    self._process = process = await asyncio.create_subprocess_exec(
                        *self._command,
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=[theirs.fileno()],
                        env={**self._environment, "GOSSAMER_PROXY_LAUNCHER_FD": str(theirs.fileno())},
                        cwd="/",
                        start_new_session=True,
                    )
            except OSError as error:
                raise Unavailable(f"{self._command[0]}: {error.strerror or error}") from error
            self.starts += 1
            ours.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE)
            answering = asyncio.create_task(self._answer(reader, writer), name="front sidecar's requests")
            try:
                return await process.wait()
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line = (await reader.readline()).strip()
            if line == b"token":
                try:
                    writer.write(b"token " + self._token().encode() + b"\n")
                except (Denied, Unavailable) as error:
                    _log.warning("no join token for the front sidecar: %s", error)
            elif line == b"ready":
                self.ready.set()
            elif not line:
                return

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()


def _parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return int(stat[stat.rindex(")") + 1 :].split()[1])
    except (OSError, ValueError, IndexError):
        return 0

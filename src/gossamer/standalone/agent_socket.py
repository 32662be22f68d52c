"""`agent.sock`: the lines that launchers speak. One request, one reply; the open connection is the workload's lease.

    register {JSON}    later TEXT when it cannot be stored now, else
                       ok {JSON}: name, address, identity, first join token, session, where everything is
    resume SESSION     ok
    token              ok TOKEN
    listening 80,443   ok: the endpoint is published
    withdraw           ok, after every affected stream has been written
    bye                ok: nothing is kept

A process in other namespaces than ours is a meshed program and is refused (seams §9). One whose namespaces cannot be
read (launchers are not dumpable) may only resume, which takes a secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gossamer.kit.budget import Budget, Rate
from gossamer.kit.logs import escaped
from gossamer.kit.peer import Credentials, credentials
from gossamer.kit.unix import LONGEST as SOCKET_PATH_LIMIT
from gossamer.kit.unix import listen
from gossamer.model.names import Key
from gossamer.ports import Denied, Unavailable
from gossamer.standalone.desk import Desk
from gossamer.standalone.registration import Refused

LINE = 64 * 1024
MOST_CONNECTIONS = 12_000
# A connection that registers nothing is closed after this many seconds.
GREETING = 10.0
# What cannot be stored now is tried again after so many seconds.
LATER = 0.5
# Logs of ended workloads that `gossamer logs` can still show.
KEPT_LOGS = 100
# A launcher asks when its sidecar starts or its machine wakes up.
TOKENS = Rate(30, 1)

_log = logging.getLogger("gossamer.agent")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a launcher is told beside its registration. Addresses are text as it goes into settings."""

    trust_anchors_file: Path
    control_address: str
    runtime_dir: Path
    state_dir: Path

    @property
    def logs(self) -> Path:
        return self.runtime_dir / "logs"

    def log_file(self, namespace: str, workload: str) -> Path:
        return self.logs / f"{namespace}.{workload}.log"

    def admin_socket(self, namespace: str, workload: str) -> Path:
        """Named after the workload where a socket's path may be that long, else as short as `control.sock`."""
        name = f"{namespace}.{workload}"
        path = self.runtime_dir / f"{name}.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
            return path
        return self.runtime_dir / f"{b32encode(sha256(name.encode()).digest())[:7].decode().lower()}.sock"


class AgentSocket:
    def __init__(self, desk: Desk, facts: Facts, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._facts = facts
        self._clock = clock
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.AbstractServer | None = None

    async def serve(self, path: Path) -> None:
        """Listens and returns. OSError says why it cannot."""
        self._facts.logs.mkdir(mode=0o700, exist_ok=True)
        self._desk.ended = self._tidy
        self._server = await asyncio.start_unix_server(self._connected, sock=listen(path, 4096), limit=LINE)

    def close(self) -> None:
        """Leases stay: launchers resume them with the next control plane."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._connections):
            writer.transport.abort()

    def _tidy(self, key: Key) -> None:
        """Removes the files of a workload that has ended: its socket, and the oldest logs beyond what is kept."""
        try:
            self._facts.admin_socket(key.namespace, key.name).unlink(missing_ok=True)
            logs = sorted(self._facts.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
            for path in logs[: -KEPT_LOGS - self._desk.count()]:
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("files of %s stay: %s", key, error)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer.get_extra_info("socket"))
        self._connections.add(writer)
        try:
            await self._converse(connection, reader, writer)
        except (OSError, asyncio.LimitOverrunError, asyncio.IncompleteReadError, ValueError, TimeoutError) as error:
            _log.debug("a launcher's connection ended: %s", error)
        finally:
            self._connections.discard(writer)
            # When this process is what ends, the launcher keeps its lease and resumes it.
            if connection.held is not None and self._server is not None and self._server.is_serving():
                self._desk.lost(connection.held)
            writer.transport.abort()

    async def _converse(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(self._connections) > MOST_CONNECTIONS:
            await _reply(writer, "error too many connections")
            return
        while True:
            patience = GREETING if connection.held is None else None
            line = await asyncio.wait_for(reader.readline(), patience)
            if not line.endswith(b"\n"):
                return
            try:
                answer = await self._answered(connection, line[:-1].decode(), reader)
            except (Refused, Denied, Unavailable) as error:
                later = isinstance(error, Unavailable) and line.startswith(b"register ")
                await _reply(writer, f"{'later' if later else 'error'} {_one_line(str(error))}")
                if connection.held is None:
                    return
                continue
            except UnicodeDecodeError:
                await _reply(writer, "error not UTF-8")
                return
            await _reply(writer, f"ok {answer}" if answer else "ok")
            if connection.ended:
                return

    async def _answered(self, connection: _Connection, line: str, reader: asyncio.StreamReader) -> str:
        """What a registered launcher asks for is done as soon as it can be: it waits, and does not ask twice."""
        while True:
            try:
                return await self._answer(connection, line)
            except Unavailable as error:
                if connection.held is None or reader.at_eof():
                    raise
                _log.info("%s waits: %s", connection.held.key, error)
                await asyncio.sleep(LATER)

    async def _answer(self, connection: _Connection, line: str) -> str:
        verb, _, rest = line.strip().partition(" ")
        if connection.held is None:
            if verb == "register":
                connection.check(own=True)
                return await self._register(connection, rest)
            if verb == "resume":
                connection.check(own=False)
                connection.held = await self._desk.resume(rest, connection.pid)
                return ""
            raise Refused("register or resume first")
        match verb:
            case "token":
                return await self._token(connection)
            case "listening":
                await self._desk.listening(connection.held, _ports(rest))
            case "withdraw":
                await self._desk.withdraw(connection.held)
            case "bye":
                await self._desk.end(connection.held)
                connection.held = None
                connection.ended = True
            case _:
                raise Refused(f"unknown request {verb[:32]!r}")
        return ""

    async def _register(self, connection: _Connection, text: str) -> str:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused("the registration is not JSON") from error
        held, answer = await self._desk.register(document, connection.pid)
        connection.held = held
        facts, key = self._facts, held.key
        answer |= {
            "trust_anchors_file": str(facts.trust_anchors_file),
            "control_address": facts.control_address,
            "log_file": str(facts.log_file(key.namespace, key.name)),
            "runtime_dir": str(facts.runtime_dir),
            "state_dir": str(facts.state_dir),
            "admin_socket": str(facts.admin_socket(key.namespace, key.name)),
        }
        return json.dumps(answer, separators=(",", ":"))

    async def _token(self, connection: _Connection) -> str:
        if not connection.tokens.spend(self._clock()):
            raise Refused("too many join tokens; try again in a second")
        return await self._desk.token(connection.held)


class _Connection:
    """What is known of one launcher."""

    __slots__ = ("_credentials", "ended", "held", "tokens")

    def __init__(self, agent: AgentSocket, raw: Any) -> None:
        self._credentials = _credentials(raw)
        self.held: Any = None
        self.ended = False
        self.tokens = Budget(TOKENS)

    @property
    def pid(self) -> int:
        return self._credentials.pid

    def check(self, *, own: bool) -> None:
        """Raises `Refused` for a process that has no business here."""
        peer = self._credentials
        if peer.uid not in (os.getuid(), 0):
            raise Refused("only the user who started the control plane may run programs in it; use another --mesh")
        if peer.namespaces == "foreign":
            raise Refused("this program runs in a mesh or container of its own and may not register others")
        if own and peer.namespaces != "own":
            raise Refused(f"the namespaces of process {peer.pid} cannot be read, so it may not register")


def _credentials(raw: Any) -> Credentials:
    import socket

    with socket.socket(fileno=os.dup(raw.fileno())) as connection:
        return credentials(connection)


async def _reply(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\n")
    await writer.drain()


def _ports(text: str) -> tuple[int, ...]:
    try:
        ports = tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError:
        raise Refused("listening: expected port numbers with commas between") from None
    if len(ports) > 4096 or any(not 0 < port < 65536 for port in ports):
        raise Refused("listening: at most 4096 ports from 1 to 65535")
    return ports


def _one_line(text: str) -> str:
    return escaped(" ".join(text.split()))

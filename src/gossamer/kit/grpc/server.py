"""What a gRPC server serves: methods, the context of a call, the stream a handler publishes to, and the server.

A watch is a row in its connection's table, not a coroutine: a handler returns at once, keeps the `Stream`, and calls
`publish` with the whole newest state whenever it changes. The encoder runs only when its messages can be written, with
the state last sent and the newest one, so a slow reader costs one message and no queue exists.

Handlers must not block. Nothing here knows protobuf: requests and messages are bytes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from gossamer.kit.grpc.calls import Call, Closer, Context, Encode, Method, Stream, Streaming, Unary
from gossamer.kit.grpc.limits import Limits
from gossamer.kit.grpc.protocol import Link
from gossamer.kit.grpc.status import Code, Status
from gossamer.kit.peer import Credentials
from gossamer.kit.unix import listen

__all__ = [
    "Call",
    "Closer",
    "Code",
    "Context",
    "Credentials",
    "Encode",
    "Limits",
    "Method",
    "Server",
    "Status",
    "Stream",
    "Streaming",
    "Unary",
]

BACKLOG = 4096
SWEEP = 5.0
# Turns of the loop in which what was just changed becomes what is published.
SETTLE = 3
_log = logging.getLogger("gossamer.grpc")


class Server:
    """Serves `methods` ({"/package.Service/Method": Unary(...) | Streaming(...)}) on the sockets it is given."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        limits: Limits | None = None,
        *,
        admit: Callable[[Credentials], str | None] | None = None,
        peer_header: str | None = None,
    ) -> None:
        """`admit` gets the connecting process and returns None or the reason of refusal; without it everybody who can
        open the socket is served. `peer_header` names the field that carries the caller's verified identity; give it
        only where something trustworthy in front sets it."""
        self.limits = limits or Limits()
        self.methods = {path.encode(): method for path, method in methods.items()}
        self.admit = admit
        self.peer_header = peer_header.encode() if peer_header else None
        self.links: set[Link] = set()
        self._listeners: list[asyncio.AbstractServer] = []
        self._dirty: dict[Link, None] = {}
        self._scheduled = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._draining = False

    def add(self, methods: Mapping[str, Method]) -> None:
        """Serves these too, from now on."""
        self.methods.update({path.encode(): method for path, method in methods.items()})

    async def serve_unix(self, path: Path) -> None:
        """Listens on `path` (mode 0600, replacing a dead socket file) and returns; OSError says why it cannot."""
        await self.serve(listen(path, BACKLOG))

    async def serve(self, listener: socket.socket) -> None:
        """Listens on a bound socket (tests and benchmarks use TCP)."""
        loop = asyncio.get_running_loop()
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(self._link, sock=listener, backlog=BACKLOG)
        else:
            server = await loop.create_server(self._link, sock=listener, backlog=BACKLOG)
        self._listeners.append(server)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP, self._sweep)

    async def written(self, patience: float = 1.0) -> None:
        """Returns when everything published before the call has been handed to the kernel, or cannot be because a
        peer's windows are closed; at the latest after `patience` seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        for _ in range(SETTLE):
            await asyncio.sleep(0)
        while self._unwritten() and loop.time() < give_up:  # noqa: ASYNC110 (buffers tell nobody)
            await asyncio.sleep(0 if self._dirty else 0.002)

    async def drain(self, grace: float) -> None:
        """Stops listening, sends GOAWAY, waits up to `grace` seconds for calls to end, then closes everything."""
        loop = asyncio.get_running_loop()
        self._draining = True
        for server in self._listeners:
            server.close()
        for link in self.links:
            link.go_away()
        give_up = loop.time() + grace
        while any(link.busy for link in self.links) and loop.time() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self.written(min(1.0, grace))
        self.close()

    def close(self) -> None:
        """Closes everything at once. Idempotent."""
        self._draining = True
        for server in self._listeners:
            server.close()
        self._listeners.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for link in tuple(self.links):
            link.close()

    @property
    def calls(self) -> int:
        """Open calls, for gauges."""
        return sum(link.calls for link in self.links)

    def schedule(self, link: Link) -> None:
        """One write per connection and turn: what is published in this turn goes out at its end."""
        self._dirty[link] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        dirty, self._dirty = self._dirty, {}
        for link in dirty:
            link.flush()

    def _unwritten(self) -> bool:
        return bool(self._dirty) or any(link.unwritten for link in self.links)

    def _link(self) -> Link:
        return Link(self)

    def refuse(self) -> str | None:
        """Why no further connection is taken, if so."""
        if self._draining:
            return "the server is draining"
        if len(self.links) >= self.limits.connections:
            return f"{self.limits.connections} connections are open"
        return None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for link in tuple(self.links):
            reason = link.overdue(now)
            if reason:
                _log.info("closing a connection: %s", reason)
                link.abort()
        self._sweeper = loop.call_later(SWEEP, self._sweep)

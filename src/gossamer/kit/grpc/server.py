"""What a gRPC server serves: methods, the context of a call, the stream a handler publishes to, and the server.

A watch is a row in its connection's table, not a coroutine: a handler returns at once, keeps the `Stream`, and calls
`publish` with the whole newest state whenever it changes. The encoder runs only when its messages can be written, with
the state last sent and the newest one, so a slow reader costs one message and no queue exists.

Handlers must not block. Nothing here knows protobuf: requests and messages are bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gossamer.kit.grpc.status import Status

T = TypeVar("T")
U = TypeVar("U")

Closer = Callable[[], None]
"""Called exactly once when a stream has ended, whoever ended it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The process at the other end of a Unix socket when it connected (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int
    namespaces: str = "own"
    """"own", "foreign" or "unknown": whether its user and network namespaces are this process's."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls and how. `deadline` is in the event loop's time (`loop.time()`); None without `grpc-timeout`."""

    peer: str | None
    metadata: Mapping[str, str]
    deadline: float | None
    credentials: Credentials | None


class Stream(Generic[T]):
    """One server-streaming call, as its handler sees it. Every method may be called at any time, also after the end."""

    def publish(self, state: T) -> None:
        """Replaces the state to send. Nothing is encoded before the peer can take it."""
        raise NotImplementedError

    def finish(self, status: Status | None = None) -> None:
        """Ends the stream after the newest state has been written; None means OK."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        raise NotImplementedError


UnaryHandler = Callable[[bytes, Context], bytes | Awaitable[bytes]]
StreamHandler = Callable[[bytes, Context, Stream[T]], Closer]
Encode = Callable[[T | None, T], list[bytes]]
"""(state last sent or None, newest state) -> messages, none if they say the same."""


@dataclass(frozen=True, slots=True)
class Unary:
    handle: UnaryHandler


@dataclass(frozen=True, slots=True)
class Streaming(Generic[T]):
    handle: StreamHandler[T]
    encode: Encode[T]


Method = Unary | Streaming[Any]


class Server:
    """Serves `methods` ({"/package.Service/Method": Unary(...) | Streaming(...)}) on the sockets it is given."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        admit: Callable[[Credentials], str | None] | None = None,
        peer_header: str | None = None,
    ) -> None:
        """`admit` gets the connecting process and returns None or the reason of refusal. `peer_header` names the field
        that carries the caller's verified identity; give it only where something trustworthy in front sets it."""
        raise NotImplementedError

    async def serve_unix(self, path: Path) -> None:
        """Listens on `path` (mode 0600, replacing a dead socket file) and returns; OSError says why it cannot."""
        raise NotImplementedError

    async def serve(self, listener: socket.socket) -> None:
        """Listens on a bound socket (tests and benchmarks use TCP)."""
        raise NotImplementedError

    async def written(self) -> None:
        """Returns when everything published before the call has been handed to the kernel, or cannot be (windows)."""
        raise NotImplementedError

    async def drain(self, grace: float) -> None:
        """Stops listening, sends GOAWAY, waits up to `grace` seconds for calls to end, then closes everything."""
        raise NotImplementedError


_ = asyncio

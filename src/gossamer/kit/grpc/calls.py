"""A call on the server: what its handler is given, and how its newest state becomes bytes when they can be written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gossamer.kit.grpc import message
from gossamer.kit.grpc.frames import Error, H2Stream
from gossamer.kit.grpc.status import Code, Status
from gossamer.kit.peer import Credentials

if TYPE_CHECKING:
    from gossamer.kit.grpc.protocol import Link

T = TypeVar("T")
State = TypeVar("State", contravariant=True)
_log = logging.getLogger("gossamer.grpc")

Closer = Callable[[], None]
"""Called exactly once when a stream has ended, whoever ended it."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls and how. `deadline` is in the event loop's time (`loop.time()`); None without `grpc-timeout`."""

    peer: str | None
    metadata: Mapping[str, str]
    deadline: float | None
    credentials: Credentials | None


class Stream(Protocol[State]):
    """One server-streaming call, as its handler sees it. Every method may be called at any time, also after the end."""

    def publish(self, state: State) -> None:
        """Replaces the state to send. Nothing is encoded before the peer can take it."""

    def finish(self, status: Status | None = None) -> None:
        """Ends the stream after the newest state has been written; None means OK."""

    @property
    def closed(self) -> bool:
        """Whether it has ended or been told to; what is published from now on goes nowhere."""


UnaryHandler = Callable[[bytes, Context], bytes | Awaitable[bytes]]
StreamHandler = Callable[[bytes, Context, Stream[T]], Closer]
Encode = Callable[[T | None, T], list[bytes]]
"""(state last sent or None, newest state) -> messages, none if they say the same."""


@dataclass(frozen=True, slots=True)
class Unary:
    """A handler that returns the response, or an awaitable of it; it raises `Status` for everything else."""

    handle: UnaryHandler


@dataclass(frozen=True, slots=True)
class Streaming(Generic[T]):
    """A handler that keeps the stream and returns what to call at its end; it raises `Status` to refuse."""

    handle: StreamHandler[T]
    encode: Encode[T]


Method = Unary | Streaming[Any]

_NOTHING: Any = object()


class Call:
    """A `Stream`: a row of a connection's table, from the request's head to its end."""

    __slots__ = (
        "_closer",
        "_encode",
        "_headers_sent",
        "_latest",
        "_sent",
        "_status",
        "_task",
        "_timer",
        "_waiting",
        "began",
        "body",
        "context",
        "link",
        "method",
        "row",
    )

    def __init__(self, link: Link, row: H2Stream, method: Method, context: Context, now: float) -> None:
        self.link = link
        self.row = row
        self.method = method
        self.context = context
        self.began = now
        self.body: bytearray | None = None
        self._closer: Closer | None = None
        self._encode: Encode[Any] | None = None
        self._headers_sent = False
        self._latest: Any = _NOTHING
        self._sent: Any = None
        self._status: Any = _NOTHING
        self._task: asyncio.Future[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: bytes = b""
        if context.deadline is not None:
            self._timer = link.loop.call_at(context.deadline, self._expire)

    # For handlers.

    def publish(self, state: Any) -> None:
        if self._status is _NOTHING and state is not self._latest:
            self._latest = state
            self.link.ready(self)

    def finish(self, status: Status | None = None) -> None:
        if self._status is _NOTHING:
            self._status = status
            self.link.ready(self)

    @property
    def closed(self) -> bool:
        return self._status is not _NOTHING

    # For the connection.

    def start(self, request: bytes) -> None:
        """The request is complete: runs the handler. What it raises becomes the call's status."""
        self.body = None
        try:
            if isinstance(self.method, Unary):
                answer = self.method.handle(request, self.context)
                if isinstance(answer, bytes):
                    self._answer(answer)
                else:
                    self._task = asyncio.ensure_future(answer)
                    self._task.add_done_callback(self._answered)
            else:
                self._encode = self.method.encode
                self._closer = self.method.handle(request, self.context, self)
                if self.closed:
                    self._release()
                else:
                    self.link.ready(self)  # the response headers, so that the peer knows it is being served
        except Status as status:
            self.finish(status)
        except Exception:  # noqa: BLE001 (our bug in one method must not end every other stream)
            _log.exception("a handler failed")
            self.finish(Status(Code.INTERNAL, "internal error; see the control plane's log"))

    def write(self) -> bool:
        """Writes what the windows allow. False when the connection's window is what stands in the way."""
        connection = self.link.connection
        row = self.row
        if row.local_closed:
            return True
        if not self._headers_sent and (self._latest is not _NOTHING or self._status is _NOTHING or self._waiting):
            connection.send_headers(row, message.RESPONSE, end=False)
            self._headers_sent = True
        while True:
            if self._waiting:
                sent = connection.send_data(row, self._waiting)
                self._waiting = self._waiting[sent:]
                if self._waiting:
                    return connection.window > 0
            if self._latest is _NOTHING or row.window <= 0 or connection.window <= 0:
                break
            self._next()
        if self._latest is not _NOTHING:
            return connection.window > 0
        if self._status is not _NOTHING:
            connection.send_headers(row, message.trailers(self._status, only=not self._headers_sent), end=True)
            if not row.remote_closed:
                connection.reset(row, Error.NO_ERROR)
            self.ended()
        return True

    def ended(self) -> None:
        """The stream is over, for whatever reason."""
        if self._status is _NOTHING:
            self._status = None
        self._latest = _NOTHING
        self._waiting = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._release()
        self.link.forget(self)

    def _next(self) -> None:
        """Encodes the newest state against the one last sent."""
        latest, self._latest = self._latest, _NOTHING
        if self._encode is None:
            self._waiting = latest
            return
        try:
            messages = self._encode(self._sent, latest)
        except Exception:  # noqa: BLE001 (as above)
            _log.exception("an encoder failed")
            self._status = Status(Code.INTERNAL, "internal error; see the control plane's log")
            return
        self._sent = latest
        if len(messages) == 1:
            self._waiting = message.prefixed(messages[0])
        elif messages:
            self._waiting = b"".join([message.prefixed(one) for one in messages])

    def _answer(self, answer: bytes) -> None:
        self._latest = message.prefixed(answer)
        self.finish()

    def _answered(self, task: asyncio.Future[bytes]) -> None:
        self._task = None
        if task.cancelled():
            self.finish(Status(Code.CANCELLED))
            return
        error = task.exception()
        if error is None:
            if not self.closed:
                self._answer(task.result())
        elif isinstance(error, Status):
            self.finish(error)
        else:
            _log.error("a handler failed", exc_info=error)
            self.finish(Status(Code.INTERNAL, "internal error; see the control plane's log"))

    def _expire(self) -> None:
        self._timer = None
        if not self.closed:
            self._latest = _NOTHING
        self.finish(Status(Code.DEADLINE_EXCEEDED, "the deadline passed"))
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _release(self) -> None:
        closer, self._closer = self._closer, None
        if closer is not None:
            try:
                closer()
            except Exception:  # noqa: BLE001 (as above)
                _log.exception("the end of a stream failed")

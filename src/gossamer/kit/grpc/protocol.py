"""One connection of the server: an asyncio Protocol around `connection`, with a table of calls and one write per turn.

What a request's head asks for is `request`'s to say, what a call does `calls`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, cast

from gossamer.kit.grpc import message, request
from gossamer.kit.grpc.calls import Call, Context
from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import Fields
from gossamer.kit.grpc.frames import ConnectionFailed, Data, Error, H2Stream, Headers, Reset, Writable
from gossamer.kit.grpc.plain import Plain
from gossamer.kit.grpc.status import Code, Status
from gossamer.kit.peer import Credentials, credentials

if TYPE_CHECKING:
    from gossamer.kit.grpc.server import Server

# Written in one turn of the loop before the other connections have theirs.
CHUNK = 256 * 1024
# Answers to control frames that may wait for a peer that does not read.
UNREAD = 1 << 20

_log = logging.getLogger("gossamer.grpc")


class Link(asyncio.Protocol):
    __slots__ = (
        "_buffered",
        "_credentials",
        "_dirty",
        "_going",
        "_heard",
        "_paused",
        "_pinged",
        "_plain",
        "_server",
        "_since",
        "_transport",
        "connection",
        "loop",
    )

    def __init__(self, server: Server) -> None:
        self.loop = asyncio.get_running_loop()
        self.connection = Connection(server=True, limits=server.limits)
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._credentials: Credentials | None = None
        self._dirty: dict[Call, None] = {}
        self._plain = Plain(self.connection)
        self._buffered = 0
        self._paused = False
        self._going = False
        self._since = self._heard = self._pinged = self.loop.time()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        refusal = self._server.refuse() or self._admit(transport)
        if refusal is not None:
            _log.warning("refused a connection: %s", refusal)
            self.abort()
            return
        self._server.links.add(self)
        self._server.schedule(self)

    def data_received(self, data: bytes) -> None:
        now = self._heard = self.loop.time()
        if self._going:
            return
        try:
            events = self.connection.receive(data, now)
        except ConnectionFailed as failed:
            _log.info("closing a connection: %s", failed)
            self._going = True
            self.close()
            return
        for event in events:
            if type(event) is Headers:
                self._on_headers(event.stream, event.fields, event.end, now)
            elif type(event) is Data:
                self._on_data(event.stream, event.data, event.end)
            elif type(event) is Writable:
                self._on_writable(event.stream)
            elif type(event) is Reset:
                self._plain.ended(event.stream)
                call = event.stream.user
                if call is not None:
                    call.ended()
        if self._paused and self.connection.waiting > UNREAD:
            self.abort()
        elif self.connection.pending or self._dirty or self._plain:
            self._server.schedule(self)

    def pause_writing(self) -> None:
        self._paused = True
        self._since = self.loop.time()

    def resume_writing(self) -> None:
        self._paused = False
        self._server.schedule(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._going = True
        self._transport = None
        self._server.links.discard(self)
        self._dirty.clear()
        self._plain.clear()
        for row in tuple(self.connection.streams.values()):
            call = row.user
            if call is not None:
                call.ended()
        self.connection.streams.clear()

    # The server calls these.

    @property
    def calls(self) -> int:
        return len(self.connection.streams)

    @property
    def busy(self) -> bool:
        return bool(self.connection.streams) or self.unwritten

    @property
    def unwritten(self) -> bool:
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def flush(self) -> None:
        """Writes what the peer can take, once."""
        transport = self._transport
        if transport is None or self._paused or transport.is_closing():
            return
        connection = self.connection
        dirty = self._dirty
        while dirty and connection.waiting < CHUNK:
            call = next(iter(dirty))
            if not call.write():
                break
            dirty.pop(call, None)
        if self._plain:
            self._plain.write()
        data = connection.take()
        if data:
            transport.write(data)
        if dirty and not self._paused and connection.window > 0:
            self._server.schedule(self)

    def go_away(self) -> None:
        if not self.connection.draining:
            self.connection.go_away(Error.NO_ERROR, "restarting")
            self._server.schedule(self)

    def close(self) -> None:
        """Writes what is waiting (a GOAWAY above all), then closes."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = self.connection.take()
        if data and not self._paused:
            transport.write(data)
        transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now: float) -> str | None:
        """Why the connection must be closed, if so. Sends a keep-alive PING when it has been silent."""
        limits = self._server.limits
        if self._transport is None:
            return None
        if (self._paused or self._transport.is_closing()) and now - max(self._since, self._heard) > limits.stalled:
            return "the peer reads nothing"
        if self._paused and now - self._since > limits.stalled:
            return "the peer reads nothing"
        if self.connection.incomplete and now - self._heard > limits.incomplete:
            return "the peer stopped in the middle of a frame"
        if self._pinged > self._heard and now - self._pinged > limits.idle_answer:
            return "the peer did not answer a PING"
        if now - self._heard > limits.idle and self._pinged <= self._heard:
            self._pinged = now
            self.connection.ping()
            self._server.schedule(self)
        for row in tuple(self.connection.streams.values()):
            call = row.user
            if call is not None and not row.remote_closed and now - call.began > limits.incomplete:
                call.finish(Status(Code.DEADLINE_EXCEEDED, "the request did not end"))
        if self._plain.expire(now - limits.incomplete):
            self._server.schedule(self)
        return None

    # Calls call these.

    def ready(self, call: Call) -> None:
        """The call has something to write."""
        if self._transport is not None:
            self._dirty[call] = None
            self._server.schedule(self)

    def forget(self, call: Call) -> None:
        self._dirty.pop(call, None)
        self._drop_body(call)
        call.row.user = None

    # Requests.

    def _admit(self, transport: asyncio.BaseTransport) -> str | None:
        raw = transport.get_extra_info("socket")
        if raw is None or raw.family != socket.AF_UNIX:
            return "no credentials" if self._server.admit else None
        with socket.socket(fileno=os.dup(raw.fileno())) as connection:
            self._credentials = credentials(connection)
        return self._server.admit(self._credentials) if self._server.admit else None

    def _on_headers(self, row: H2Stream, fields: Fields, end: bool, now: float) -> None:
        if row.user is not None or row.local_closed:
            if end and row.user is not None:
                self._complete(row.user)  # trailers of a request: nothing in them is for us
            return
        try:
            call = self._call(row, fields, now)
        except Status as status:
            self.connection.send_headers(row, message.trailers(status, only=True), end=True)
            if not row.remote_closed:
                self.connection.reset(row, Error.NO_ERROR)
            return
        if call is None:
            return
        row.user = call
        if end:
            self._complete(call)

    def _call(self, row: H2Stream, fields: Fields, now: float) -> Call | None:
        """The call that a request's head asks for; None when it is answered as plain HTTP. Raises `Status`."""
        asked = request.asked(fields, now, self._server.peer_header)
        if asked is None:
            self._plain.begin(row, now)
            return None
        method = self._server.methods.get(asked.path)
        if method is None:
            raise Status(Code.UNIMPLEMENTED, f"no method {asked.path.decode('latin-1')}")
        context = Context(asked.peer, asked.metadata, asked.deadline, self._credentials)
        return Call(self, row, method, context, now)

    def _on_data(self, row: H2Stream, data: bytes, end: bool) -> None:
        call = row.user
        if call is None:
            return
        if call.body is None and not call.closed:
            call.body = bytearray()
        if call.body is not None:
            call.body += data
            self._buffered += len(data)
            if self._buffered > self._server.limits.buffered:
                self._refuse(call, Status(Code.RESOURCE_EXHAUSTED, "too many unfinished requests"))
                return
        if end:
            self._complete(call)
        elif call.body is not None:
            try:
                message.unprefixed(call.body, self._server.limits.message, complete=False)
            except Status as status:
                self._refuse(call, status)

    def _complete(self, call: Call) -> None:
        body = call.body or b""
        self._drop_body(call)
        if call.closed:
            return
        try:
            whole = message.unprefixed(body, self._server.limits.message, complete=True)
        except Status as status:
            call.finish(status)
            return
        assert whole is not None
        call.start(whole)

    def _refuse(self, call: Call, status: Status) -> None:
        self._drop_body(call)
        call.finish(status)

    def _drop_body(self, call: Call) -> None:
        if call.body is not None:
            self._buffered -= len(call.body)
            call.body = None

    def _on_writable(self, row: H2Stream | None) -> None:
        if row is not None and row.user is not None:
            self._dirty[row.user] = None

"""A tiny blocking gRPC client over a Unix socket, for the command line: imports in a few milliseconds.

Not for asyncio programs. One call at a time per client; a stream iterator that is closed cancels its call.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from gossamer.kit.grpc import message
from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import Fields, encode
from gossamer.kit.grpc.frames import ConnectionFailed, Data, Error, GoAway, H2Stream, Headers, Reset
from gossamer.kit.grpc.status import Code, Status, code_of, unquote_message

READ = 64 * 1024
# The largest message taken from a server.
LARGEST = 32 * 1024 * 1024


class Client:
    """`with Client("/run/…/admin.sock") as client: client.unary("/gossamer.v1.Admin/Status", request_bytes)`.

    Raises `Status` for what the server answered and Status(UNAVAILABLE) when it cannot be reached or goes away.
    """

    def __init__(self, path: str, timeout: float = 10.0, connection: socket.socket | None = None) -> None:
        """`timeout`, in seconds, is for connecting and for unary calls that name none.

        `connection`: an open one to use, of any kind; `path` is then only what errors call it.
        """
        self._timeout = timeout
        self._connection = Connection(server=False)
        self._socket = connection or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            if connection is None:
                self._socket.connect(path)
            self._send()
        except OSError as error:
            self._socket.close()
            raise Status(Code.UNAVAILABLE, f"{path}: {error.strerror or error}") from error

    def unary(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        """The response. `timeout` None: the client's."""
        for response in self.stream(method, request, self._timeout if timeout is None else timeout):
            return response
        raise Status(Code.INTERNAL, "the server answered without a message")

    def stream(self, method: str, request: bytes, timeout: float | None = None) -> Iterator[bytes]:
        """Messages as they arrive. `timeout` bounds the whole call; None: no deadline."""
        deadline = None if timeout is None else time.monotonic() + timeout
        call = _Call(self._connection.open(encode(_head(method, timeout)), end=False))
        try:
            body = message.prefixed(request)
            sent = 0
            while sent < len(body):
                sent += self._connection.send_data(call.row, body[sent:], end=True)
                self._turn(call, deadline, wait=sent < len(body))
                if call.status is not None:
                    break
            while True:
                yield from call.messages()
                if call.status is not None:
                    if call.status.code is not Code.OK:
                        raise call.status
                    return
                self._turn(call, deadline, wait=True)
        finally:
            if call.row.id in self._connection.streams:
                self._connection.reset(call.row, Error.CANCEL)
                self._send_quietly()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn(self, call: _Call, deadline: float | None, *, wait: bool) -> None:
        """Sends what there is; with `wait`, takes in what the server says next."""
        try:
            self._send()
            if not wait:
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(READ)
        except TimeoutError:
            raise Status(Code.DEADLINE_EXCEEDED, "no answer in time") from None
        except OSError as error:
            raise Status(Code.UNAVAILABLE, str(error.strerror or error)) from error
        if not data:
            raise Status(Code.UNAVAILABLE, "the server closed the connection")
        try:
            events = self._connection.receive(data, time.monotonic())
            self._send_quietly()
        except ConnectionFailed as failed:
            self._send_quietly()
            raise Status(Code.UNAVAILABLE, str(failed)) from failed
        for event in events:
            call.take(event)

    def _send(self) -> None:
        data = self._connection.take()
        if data:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(data)

    def _send_quietly(self) -> None:
        """For what nobody waits for: acknowledgements, a cancellation, a last GOAWAY."""
        try:
            self._send()
        except OSError:
            self._socket.close()


class _Call:
    __slots__ = ("_body", "_content", "row", "status")

    def __init__(self, row: H2Stream) -> None:
        self.row = row
        self.status: Status | None = None
        self._body = bytearray()
        self._content = False

    def take(self, event: object) -> None:
        if isinstance(event, GoAway):
            if event.last < self.row.id:
                self.status = Status(Code.UNAVAILABLE, "the server is going away")
        elif isinstance(event, Headers) and event.stream is self.row:
            self._on_headers(event.fields, event.end)
        elif isinstance(event, Data) and event.stream is self.row:
            self._body += event.data
            if event.end and self.status is None:
                self.status = Status(Code.INTERNAL, "the server ended the stream without a status")
        elif isinstance(event, Reset) and event.stream is self.row and self.status is None:
            self.status = Status(Code.UNAVAILABLE, f"the server reset the call (code {event.code})")

    def messages(self) -> Iterator[bytes]:
        body = self._body
        while len(body) >= message.PREFIX:
            size = int.from_bytes(body[1 : message.PREFIX], "big")
            if body[0] or size > LARGEST:
                raise Status(Code.INTERNAL, "a message that is compressed or too large")
            if len(body) < message.PREFIX + size:
                return
            whole = bytes(body[message.PREFIX : message.PREFIX + size])
            del body[: message.PREFIX + size]
            yield whole

    def _on_headers(self, fields: Fields, end: bool) -> None:
        found = dict(fields)
        status = found.get(b":status")
        if status is not None and status.startswith(b"1"):
            return
        if status is not None and status != b"200":
            self.status = Status(Code.UNKNOWN, f"HTTP status {status.decode('latin-1')}")
        elif b"grpc-status" in found and end:
            text = unquote_message(found.get(b"grpc-message", b""))
            self.status = Status(code_of(found[b"grpc-status"]), text)
        elif end:
            self.status = Status(Code.UNKNOWN, "the server ended the stream without a status")


def _head(method: str, timeout: float | None) -> Fields:
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", method.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"user-agent", b"gossamer"),
    ]
    if timeout is not None:
        fields.append((b"grpc-timeout", b"%dm" % min(max(1, round(timeout * 1000)), 99_999_999)))
    return fields

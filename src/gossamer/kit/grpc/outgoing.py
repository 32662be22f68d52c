"""What leaves one end of an HTTP/2 connection (RFC 9113), sans I/O: streams, our windows on them, frames.

Knows no rule that a peer could break; see `connection`. Header blocks come encoded.
"""

from __future__ import annotations

import struct
from collections import deque

from gossamer.kit.grpc.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HEADER,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    STREAM_WINDOW,
    WINDOW_UPDATE,
    Error,
    H2Stream,
    frame,
)
from gossamer.kit.grpc.limits import Limits

# What we let a peer send on all streams together before it hears from us.
CONNECTION_WINDOW = 1 << 20
REMEMBERED_RESETS = 256

SETTING = struct.Struct(">HI")
PAIR = struct.Struct(">II")


class Outgoing:
    """The streams of a connection, and what is waiting to be sent on them."""

    def __init__(self, *, server: bool, limits: Limits | None = None) -> None:
        self.limits = limits = limits or Limits()
        self.server = server
        self.streams: dict[int, H2Stream] = {}
        self.window = STREAM_WINDOW
        # Small frames keep many streams fair on one connection, whatever MAX_FRAME_SIZE the peer would take.
        self.max_frame = FRAME_SIZE
        self.draining = False
        # About how many bytes `take` would return.
        self.waiting = 0
        # The window that the peer gives a new stream.
        self._initial = STREAM_WINDOW
        # The highest stream that the peer opened, the next that we open.
        self._last = 0
        self._next = 1
        self._resets: deque[int] = deque(maxlen=REMEMBERED_RESETS)
        self._out: list[bytes] = []
        self._start()

    def _start(self) -> None:
        settings = [(4, STREAM_WINDOW), (6, self.limits.header_bytes)]
        if self.server:
            settings.append((3, self.limits.streams))
        else:
            settings.append((2, 0))
            self._out.append(PREFACE)
        self._emit(frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in settings)))
        self._emit(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", CONNECTION_WINDOW - STREAM_WINDOW)))

    def take(self) -> bytes:
        """Bytes to send, once."""
        out = self._out
        if not out:
            return b""
        joined = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self.waiting = 0
        return joined

    @property
    def pending(self) -> bool:
        return bool(self._out)

    def open(self, block: bytes, *, end: bool) -> H2Stream:
        """Client: begins a request."""
        stream = H2Stream(self._next, self._initial)
        self._next += 2
        self.streams[stream.id] = stream
        self.send_headers(stream, block, end=end)
        return stream

    def send_headers(self, stream: H2Stream, block: bytes, *, end: bool) -> None:
        """`block` is an encoded header block."""
        flags = END_STREAM if end else 0
        if len(block) <= self.max_frame:
            self._emit(frame(HEADERS, flags | END_HEADERS, stream.id, block))
        else:
            pieces = [block[at : at + self.max_frame] for at in range(0, len(block), self.max_frame)]
            self._emit(frame(HEADERS, flags, stream.id, pieces[0]))
            for piece in pieces[1:-1]:
                self._emit(frame(CONTINUATION, 0, stream.id, piece))
            self._emit(frame(CONTINUATION, END_HEADERS, stream.id, pieces[-1]))
        stream.fresh = False
        if end:
            self._close_local(stream)

    def send_data(self, stream: H2Stream, data: bytes | memoryview, *, end: bool = False) -> int:
        """Sends as much as the windows allow and returns how much; END_STREAM goes out only with the last byte."""
        size = len(data)
        sent = 0
        while True:
            n = min(size - sent, stream.window, self.window, self.max_frame)
            if n <= 0 and (size > sent or not end):
                return sent
            last = end and sent + n == size
            self._out.append(HEADER.pack(n >> 8, n & 255, DATA, END_STREAM if last else 0, stream.id))
            if n:
                self._out.append(bytes(data[sent : sent + n]) if sent or n < size else bytes(data))
            sent += n
            stream.window -= n
            self.window -= n
            self.waiting += n + 9
            if last:
                self._close_local(stream)
                return sent
            if sent == size:
                return sent

    def reset(self, stream: H2Stream, code: Error) -> None:
        """Ends a stream at once, both ways."""
        if self.streams.pop(stream.id, None) is None:
            return
        stream.local_closed = stream.remote_closed = True
        self._resets.append(stream.id)
        self._emit(frame(RST_STREAM, 0, stream.id, struct.pack(">I", code)))

    def ping(self, payload: bytes = b"gossamer") -> None:
        self._emit(frame(PING, 0, 0, payload))

    def go_away(self, code: Error = Error.NO_ERROR, reason: str = "") -> None:
        """Takes no new streams; those there are may end."""
        self.draining = True
        self._emit(frame(GOAWAY, 0, 0, PAIR.pack(self._last, code) + reason.encode()[:256]))

    def _close_local(self, stream: H2Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self.streams.pop(stream.id, None)

    def _emit(self, whole: bytes) -> None:
        self._out.append(whole)
        self.waiting += len(whole)

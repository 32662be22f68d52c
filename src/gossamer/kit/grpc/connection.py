"""One end of an HTTP/2 connection (RFC 9113), sans I/O: bytes in, events and bytes out, time as an argument.

Both roles. What leaves is in `outgoing`; here are the rules that a peer can break, one method per kind of frame.
Nothing here knows gRPC, sockets or clocks. Request and response bodies are handed over as they arrive and credit goes
back at once: whoever holds them must bound what it holds.
"""

from __future__ import annotations

import struct
from typing import NoReturn

from gossamer.kit.budget import Budget
from gossamer.kit.grpc.fields import BadBlock, Decoder, Fields, TooLarge
from gossamer.kit.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HAS_PRIORITY,
    HEADER,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_WINDOW,
    WINDOW_UPDATE,
    ConnectionFailed,
    Data,
    Error,
    Event,
    GoAway,
    H2Stream,
    Headers,
    Reset,
    Writable,
    frame,
)
from gossamer.kit.grpc.limits import Limits
from gossamer.kit.grpc.outgoing import CONNECTION_WINDOW, PAIR, SETTING, Outgoing
from gossamer.kit.grpc.validate import malformed


class _StreamFailed(Exception):
    def __init__(self, code: Error, stream: int) -> None:
        super().__init__(code.name)
        self.code = code
        self.stream = stream


class Connection(Outgoing):
    """One end of one connection. Call `receive` with what arrived, then send what `take` returns."""

    def __init__(self, *, server: bool, limits: Limits | None = None) -> None:
        super().__init__(server=server, limits=limits)
        self.peer_going_away = False
        self._credit = CONNECTION_WINDOW
        self._in = b""
        self._greeted = not server
        self._settled = False
        self._block: tuple[H2Stream | None, int, int, bytearray, int] | None = None
        self._decoder = Decoder(self.limits.header_bytes)
        self._budgets: dict[str, Budget] = {}
        self._failed = False

    @property
    def incomplete(self) -> bool:
        """A preface, a frame or a header block has begun and not ended."""
        return not self._settled or bool(self._in) or self._block is not None

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Events in order. Raises `ConnectionFailed`; the events before the fault are lost with the connection."""
        if self._failed:
            return []
        events: list[Event] = []
        buffer = self._in + data if self._in else data
        at = 0
        try:
            if not self._greeted:
                if not PREFACE.startswith(buffer[: len(PREFACE)]):
                    self._fail(Error.PROTOCOL_ERROR, "not an HTTP/2 preface")
                if len(buffer) < len(PREFACE):
                    self._in = buffer
                    return events
                self._greeted = True
                at = len(PREFACE)
            while len(buffer) - at >= 9:
                high, low, kind, flags, number = HEADER.unpack_from(buffer, at)
                size = high << 8 | low
                if size > FRAME_SIZE:
                    self._fail(Error.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
                end = at + 9 + size
                if len(buffer) < end:
                    break
                try:
                    self._frame(kind, flags, number & MAX_WINDOW, buffer[at + 9 : end], now, events)
                except _StreamFailed as failed:
                    self._fail_stream(failed, now, events)
                at = end
        except ConnectionFailed:
            self._failed = True
            self._in = b""
            raise
        self._in = buffer[at:]
        return events

    def _frame(self, kind: int, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """Which frame may come when (RFC 9113 3.4, 4.3), and whose rule it is then."""
        if self._block is not None and (kind != CONTINUATION or number != self._block[1]):
            self._fail(Error.PROTOCOL_ERROR, "a header block was interrupted")
        if not self._settled:
            if kind != SETTINGS or flags & ACK:
                self._fail(Error.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settled = True
        if kind == HEADERS:
            self._on_headers(flags, number, payload, now, events)
        elif kind == DATA:
            self._on_data(flags, number, payload, now, events)
        elif kind == WINDOW_UPDATE:
            self._on_window(number, payload, now, events)
        elif kind == RST_STREAM:
            self._on_reset(number, payload, now, events)
        elif kind == SETTINGS:
            self._on_settings(flags, number, payload, now, events)
        elif kind == PING:
            self._on_ping(flags, number, payload, now)
        elif kind == CONTINUATION:
            self._on_continuation(flags, number, payload, now, events)
        elif kind == PRIORITY:
            self._on_priority(number, payload, now)
        elif kind == GOAWAY:
            if number:
                self._fail(Error.PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                self._fail(Error.FRAME_SIZE_ERROR, "GOAWAY too short")
            self.peer_going_away = True
            last, code = PAIR.unpack_from(payload)
            events.append(GoAway(last & MAX_WINDOW, code))
        elif kind == PUSH_PROMISE:
            self._fail(Error.PROTOCOL_ERROR, "PUSH_PROMISE")
        else:
            self._spend("other_frames", now)

    def _on_headers(self, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """HEADERS (6.2): a header block begins."""
        if not number:
            self._fail(Error.PROTOCOL_ERROR, "HEADERS on stream 0")
        payload = self._unpadded(flags, payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                self._fail(Error.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            if int.from_bytes(payload[:4], "big") & MAX_WINDOW == number:
                self._fail(Error.PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        stream = self.streams.get(number)
        if stream is None:
            self._check_new(number)
        elif stream.remote_closed:
            self._fail(Error.STREAM_CLOSED, "HEADERS after the end of the stream")
        if len(payload) > self.limits.header_bytes:
            self._fail(Error.ENHANCE_YOUR_CALM, "header block too large")
        if flags & END_HEADERS:
            self._on_block(stream, number, flags, payload, now, events)
        else:
            self._block = (stream, number, flags, bytearray(payload), 0)

    def _check_new(self, number: int) -> None:
        """Whether a stream we do not have may begin (5.1.1)."""
        if self.server and number > self._last:
            if not number & 1:
                self._fail(Error.PROTOCOL_ERROR, "a client's stream with an even number")
        elif number not in self._resets:
            idle = not self.server and (number & 1 == 0 or number >= self._next)
            self._fail(Error.PROTOCOL_ERROR if idle else Error.STREAM_CLOSED, "HEADERS on a closed stream")

    def _on_continuation(self, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """CONTINUATION (6.10): the block goes on."""
        if self._block is None:
            self._fail(Error.PROTOCOL_ERROR, "CONTINUATION without a header block")
        stream, number, first, block, count = self._block
        block += payload
        if len(block) > self.limits.header_bytes or count >= self.limits.continuations:
            self._fail(Error.ENHANCE_YOUR_CALM, "header block too large or in too many pieces")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(stream, number, first, bytes(block), now, events)
        else:
            self._block = (stream, number, first, block, count + 1)

    def _on_block(
        self, stream: H2Stream | None, number: int, flags: int, block: bytes, now: float, events: list[Event]
    ) -> None:
        """A whole header block, decoded whatever becomes of its stream (4.3): a head or trailers (8.1)."""
        try:
            fields = self._decoder.decode(block)
        except TooLarge as error:
            self._fail(Error.ENHANCE_YOUR_CALM, str(error))
        except BadBlock as error:
            self._fail(Error.COMPRESSION_ERROR, str(error))
        end = bool(flags & END_STREAM)
        if stream is None:
            if number in self._resets:
                return
            stream = self._new(number)
        trailers = stream.began
        if len(fields) > self.limits.header_fields:
            raise _StreamFailed(Error.ENHANCE_YOUR_CALM, number)
        if (trailers and not end) or malformed(fields, request=self.server, trailers=trailers):
            raise _StreamFailed(Error.PROTOCOL_ERROR, number)
        if self.server and not trailers:
            stream.expected = _content_length(fields)
        stream.began = self.server or trailers or not fields[0][1].startswith(b"1")
        if end:
            self._end_remote(stream)
        events.append(Headers(stream, fields, end))

    def _new(self, number: int) -> H2Stream:
        """The peer opens a stream, if it may have one more (5.1.2)."""
        self._last = number
        stream = H2Stream(number, self._initial)
        self.streams[number] = stream
        if self.draining or len(self.streams) > self.limits.streams:
            raise _StreamFailed(Error.REFUSED_STREAM, number)
        return stream

    def _on_data(self, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """DATA (6.1), within both windows (5.2), as long as was announced (8.1.1)."""
        if not number:
            self._fail(Error.PROTOCOL_ERROR, "DATA on stream 0")
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            self._fail(Error.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._credit < CONNECTION_WINDOW // 2:
            self._emit(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", CONNECTION_WINDOW - self._credit)))
            self._credit = CONNECTION_WINDOW
        data = self._unpadded(flags, payload)
        end = bool(flags & END_STREAM)
        if not data and not end:
            self._spend("empty_data", now)
        stream = self.streams.get(number)
        if stream is None or stream.remote_closed:
            self._data_on_closed(number)
            return
        stream.credit -= size
        if stream.credit < 0:
            raise _StreamFailed(Error.FLOW_CONTROL_ERROR, number)
        if stream.credit < STREAM_WINDOW // 2 and not end:
            self._emit(frame(WINDOW_UPDATE, 0, number, struct.pack(">I", STREAM_WINDOW - stream.credit)))
            stream.credit = STREAM_WINDOW
        if stream.expected is not None and self.server:
            stream.expected -= len(data)
            if stream.expected < 0:
                raise _StreamFailed(Error.PROTOCOL_ERROR, number)
        if end:
            self._end_remote(stream)
        events.append(Data(stream, data, end))

    def _data_on_closed(self, number: int) -> None:
        if number in self._resets:
            return  # sent before the peer saw our RST_STREAM
        if number > self._last if self.server else number >= self._next:
            self._fail(Error.PROTOCOL_ERROR, "DATA on an idle stream")
        raise _StreamFailed(Error.STREAM_CLOSED, number)

    def _on_window(self, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """WINDOW_UPDATE (6.9)."""
        if len(payload) != 4:
            self._fail(Error.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        self._spend("other_frames", now)
        more = int.from_bytes(payload, "big") & MAX_WINDOW
        if not number:
            if not more:
                self._fail(Error.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self.window += more
            if self.window > MAX_WINDOW:
                self._fail(Error.FLOW_CONTROL_ERROR, "the connection's window is too large")
            events.append(Writable(None))
            return
        stream = self.streams.get(number)
        if stream is None:
            self._check_known(number, "WINDOW_UPDATE")
            return
        if not more:
            raise _StreamFailed(Error.PROTOCOL_ERROR, number)
        stream.window += more
        if stream.window > MAX_WINDOW:
            raise _StreamFailed(Error.FLOW_CONTROL_ERROR, number)
        events.append(Writable(stream))

    def _on_reset(self, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """RST_STREAM (6.4)."""
        if len(payload) != 4:
            self._fail(Error.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        if not number:
            self._fail(Error.PROTOCOL_ERROR, "RST_STREAM on stream 0")
        self._spend("resets", now)
        stream = self.streams.pop(number, None)
        if stream is None:
            self._check_known(number, "RST_STREAM")
            return
        if stream.fresh and self.server:
            self._spend("early_resets", now)
        stream.local_closed = stream.remote_closed = True
        events.append(Reset(stream, int.from_bytes(payload, "big")))

    def _on_settings(self, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        """SETTINGS (6.5)."""
        if number:
            self._fail(Error.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                self._fail(Error.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            return
        if len(payload) % 6:
            self._fail(Error.FRAME_SIZE_ERROR, "SETTINGS of an odd size")
        self._spend("settings", now)
        for name, value in SETTING.iter_unpack(payload):
            if name == 2 and value > 1:
                self._fail(Error.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
            elif name == 4:
                self._on_initial_window(value, events)
            elif name == 5 and not FRAME_SIZE <= value < 1 << 24:
                self._fail(Error.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
        self._emit(frame(SETTINGS, ACK, 0))

    def _on_initial_window(self, value: int, events: list[Event]) -> None:
        """Moves the window of every stream (6.9.2)."""
        if value > MAX_WINDOW:
            self._fail(Error.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
        delta = value - self._initial
        self._initial = value
        for stream in self.streams.values():
            stream.window += delta
            if stream.window > MAX_WINDOW:
                self._fail(Error.FLOW_CONTROL_ERROR, "a stream's window is too large")
            if delta > 0:
                events.append(Writable(stream))

    def _on_ping(self, flags: int, number: int, payload: bytes, now: float) -> None:
        """PING (6.7)."""
        if number:
            self._fail(Error.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            self._fail(Error.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if not flags & ACK:
            self._spend("pings", now)
            self._emit(frame(PING, ACK, 0, payload))

    def _on_priority(self, number: int, payload: bytes, now: float) -> None:
        """PRIORITY (6.3): its scheme is deprecated, the frame must be well-formed."""
        if not number:
            self._fail(Error.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._spend("other_frames", now)
        if len(payload) != 5:
            raise _StreamFailed(Error.FRAME_SIZE_ERROR, number)
        if int.from_bytes(payload[:4], "big") & MAX_WINDOW == number:
            raise _StreamFailed(Error.PROTOCOL_ERROR, number)

    # Shared.

    def _unpadded(self, flags: int, payload: bytes) -> bytes:
        if not flags & PADDED:
            return payload
        if not payload or payload[0] >= len(payload):
            self._fail(Error.PROTOCOL_ERROR, "more padding than payload")
        return payload[1 : len(payload) - payload[0]]

    def _check_known(self, number: int, what: str) -> None:
        """A frame for a stream that is gone is late and harmless; for one that never was, a fault."""
        if number > self._last if self.server else number >= self._next:
            self._fail(Error.PROTOCOL_ERROR, f"{what} on an idle stream")

    def _end_remote(self, stream: H2Stream) -> None:
        if stream.expected and self.server:
            raise _StreamFailed(Error.PROTOCOL_ERROR, stream.id)
        stream.remote_closed = True
        if stream.local_closed:
            self.streams.pop(stream.id, None)

    def _spend(self, what: str, now: float) -> None:
        """Counts what gives us work without any use (10.5); the limits say how much is too much."""
        budget = self._budgets.get(what)
        if budget is None:
            budget = self._budgets[what] = Budget(getattr(self.limits, what))
        if not budget.spend(now):
            self._fail(Error.ENHANCE_YOUR_CALM, f"too many {what.replace('_', ' ')}")

    def _fail_stream(self, failed: _StreamFailed, now: float, events: list[Event]) -> None:
        """A stream error (5.4.2): resets it and tells its owner."""
        if failed.code is not Error.REFUSED_STREAM:
            self._spend("own_resets", now)
        stream = self.streams.pop(failed.stream, None)
        self._resets.append(failed.stream)
        self._emit(frame(RST_STREAM, 0, failed.stream, struct.pack(">I", failed.code)))
        if stream is not None:
            stream.local_closed = stream.remote_closed = True
            events.append(Reset(stream, failed.code))

    def _fail(self, code: Error, reason: str) -> NoReturn:
        """A connection error (5.4.1)."""
        self._emit(frame(GOAWAY, 0, 0, PAIR.pack(self._last, code) + reason.encode()[:256]))
        raise ConnectionFailed(code, reason)


def _content_length(fields: Fields) -> int | None:
    for name, value in fields:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 16 else None
    return None

"""The words of HTTP/2 (RFC 9113): frame types, error codes, a row of the stream table, events of a connection."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple

from gossamer.kit.grpc.fields import Fields

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = 2**31 - 1
FRAME_SIZE = 16_384
STREAM_WINDOW = 65_535

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER = struct.Struct(">HBBBI")


class Error(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class ConnectionFailed(Exception):
    """The connection is over. A GOAWAY that says so is in the output already."""

    def __init__(self, code: Error, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class Headers(NamedTuple):
    stream: H2Stream
    fields: Fields
    end: bool
    """True for trailers and for a request without a body."""


class Data(NamedTuple):
    stream: H2Stream
    data: bytes
    end: bool


class Reset(NamedTuple):
    """The peer, or we for what the peer did, ended the stream."""

    stream: H2Stream
    code: int


class Writable(NamedTuple):
    """The window of one stream (or of the connection: None) has opened."""

    stream: H2Stream | None


class GoAway(NamedTuple):
    last: int
    code: int


Event = Headers | Data | Reset | Writable | GoAway


class H2Stream:
    """A row of the stream table. `user` belongs to whoever sits above."""

    __slots__ = ("began", "credit", "expected", "fresh", "id", "local_closed", "remote_closed", "user", "window")

    def __init__(self, id: int, window: int) -> None:
        self.id = id
        self.window = window
        self.credit = STREAM_WINDOW
        self.remote_closed = False
        self.local_closed = False
        # The peer's (final) head has arrived: what comes next are trailers.
        self.began = False
        # Content length not yet received; None when none was announced.
        self.expected: int | None = None
        # Nothing was sent on it yet.
        self.fresh = True
        self.user: Any = None


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload

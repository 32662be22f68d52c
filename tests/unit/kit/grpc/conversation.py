"""Builders for frame-layer tests: a client's bytes, and events that can be compared."""

from __future__ import annotations

import struct
from typing import Any

from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import Fields, encode
from gossamer.kit.grpc.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    ConnectionFailed,
    Data,
    Error,
    Event,
    GoAway,
    Headers,
    Reset,
    Writable,
    frame,
)
from gossamer.kit.grpc.limits import Limits

REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/t.T/Echo"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]
GREETING = PREFACE + frame(SETTINGS, 0, 0)


def request(stream: int, *, end: bool = True, fields: Fields = REQUEST) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, encode(fields))


def data(stream: int, body: bytes, *, end: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, body)


def server(limits: Limits | None = None) -> Connection:
    connection = Connection(server=True, limits=limits)
    connection.receive(GREETING, 0.0)
    connection.take()
    return connection


def fault(sent: bytes, limits: Limits | None = None) -> Error:
    """The code with which a connection fails when a client sends this after its greeting."""
    connection = server(limits)
    try:
        events = connection.receive(sent, 0.0)
    except ConnectionFailed as failed:
        assert goaway(connection.take()) == failed.code
        return failed.code
    raise AssertionError(f"no failure but {events}")


def resets(output: bytes) -> dict[int, Error]:
    return {number: Error(int.from_bytes(payload, "big")) for kind, _, number, payload in frames(output) if kind == 3}


def goaway(output: bytes) -> Error | None:
    return next((Error(struct.unpack_from(">I", p, 4)[0]) for kind, _, _, p in frames(output) if kind == 7), None)


def frames(output: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    at = 0
    while at < len(output):
        size = int.from_bytes(output[at : at + 3], "big")
        kind, flags = output[at + 3], output[at + 4]
        number = int.from_bytes(output[at + 5 : at + 9], "big")
        found.append((kind, flags, number, output[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def plain(events: list[Event]) -> list[tuple[Any, ...]]:
    """Events as values: streams by number, adjoining data joined."""
    found: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case Headers(stream, fields, end):
                found.append(("headers", stream.id, tuple((bytes(k), bytes(v)) for k, v in fields), end))
            case Data(stream, body, end):
                found.append(("data", stream.id, body, end))
            case Reset(stream, code):
                found.append(("reset", stream.id, code))
            case Writable(stream):
                found.append(("writable", stream.id if stream else 0))
            case GoAway(last, code):
                found.append(("goaway", last, code))
    return found

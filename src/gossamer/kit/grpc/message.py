"""gRPC over HTTP/2: message prefix, timeout, and the header blocks a server sends. Pure.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.status import Code, Status, quote_message

PREFIX = 5
CONTENT = (b"content-type", b"application/grpc")
# A grpc-message longer than this helps nobody and must fit a header block.
MESSAGE_TEXT = 1024

RESPONSE = encode([(b":status", b"200"), CONTENT])
OK = encode([(b"grpc-status", b"0")])

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def unprefixed(body: bytes | bytearray, limit: int, *, complete: bool) -> bytes | None:
    """The one message of a request; None while it is incomplete. Raises `Status` as soon as it cannot be right."""
    if len(body) >= PREFIX:
        if body[0]:
            raise Status(Code.INTERNAL, "a compressed message without grpc-encoding")
        size = int.from_bytes(body[1:PREFIX], "big")
        if size > limit:
            raise Status(Code.RESOURCE_EXHAUSTED, f"a message of {size} bytes; at most {limit} are taken")
        if len(body) > PREFIX + size:
            raise Status(Code.UNIMPLEMENTED, "more than one request message")
        if complete and len(body) == PREFIX + size:
            return bytes(body[PREFIX:])
    if complete:
        raise Status(Code.INTERNAL, "the request ended inside its message" if body else "no request message")
    return None


def timeout(value: bytes) -> float:
    """Seconds of a `grpc-timeout` field. Raises `Status` when it is malformed."""
    unit = _UNITS.get(value[-1:])
    if unit is None or not value[:-1].isdigit() or len(value) > 9:
        raise Status(Code.INTERNAL, "grpc-timeout is malformed")
    return int(value[:-1]) * unit


def trailers(status: Status | None, *, only: bool) -> bytes:
    """The block that ends a call; `only` when no response headers went before."""
    if status is None or status.code is Code.OK:
        return encode([(b":status", b"200"), CONTENT, (b"grpc-status", b"0")]) if only else OK
    fields = [(b":status", b"200"), CONTENT] if only else []
    fields.append((b"grpc-status", b"%d" % status.code))
    if status.message:
        fields.append((b"grpc-message", quote_message(status.message[:MESSAGE_TEXT])))
    if status.code is Code.UNIMPLEMENTED:
        fields.append((b"grpc-accept-encoding", b"identity"))
    return encode(fields)

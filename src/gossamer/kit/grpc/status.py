"""gRPC status: the code table, the exception that carries one, and its encoding in trailers.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and statuscodes.md.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(Exception):
    """The end of a call that did not succeed. A handler raises it; a client receives it."""

    def __init__(self, code: Code, message: str = "") -> None:
        super().__init__(f"{code.name}: {message}" if message else code.name)
        self.code = code
        self.message = message


def quote_message(text: str) -> bytes:
    """Percent-encodes for `grpc-message`: printable ASCII but `%` stays, all else becomes %XX of its UTF-8.

    So does a space at either end, where no field value may have one (RFC 9113 8.2.1).
    """
    raw = text.encode(errors="replace")
    quoted = b"".join(bytes((b,)) if 0x20 <= b <= 0x7E and b != 0x25 else b"%%%02X" % b for b in raw)
    middle = quoted.strip(b" ")
    front = len(quoted) - len(quoted.lstrip(b" ")) if middle else 0
    return b"%20" * front + middle + b"%20" * (len(quoted) - front - len(middle))


def unquote_message(raw: bytes) -> str:
    """The text of a `grpc-message`; what is not percent-encoded UTF-8 is shown as well as it can be."""
    first, *rest = raw.split(b"%")
    out = bytearray(first)
    for part in rest:
        try:
            out.append(int(part[:2], 16))
            out += part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode(errors="replace")


def code_of(raw: bytes) -> Code:
    """The code in a `grpc-status` field; a number outside the table is UNKNOWN."""
    try:
        return Code(int(raw))
    except ValueError:
        return Code.UNKNOWN

"""Whether a header list is well-formed HTTP/2 (RFC 9113 §8.2, §8.3). Pure."""

from __future__ import annotations

from gossamer.kit.grpc.fields import Fields

_REQUEST = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
_REQUIRED = frozenset({b":method", b":scheme", b":path"})
_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
# Names seen on every request need no second look.
_KNOWN = frozenset(
    {
        b"content-type", b"te", b"user-agent", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding",
        b"grpc-status", b"grpc-message", b"content-length", b"date", b"server", b"l5d-client-id",
    }
)  # fmt: skip


def malformed(fields: Fields, *, request: bool, trailers: bool) -> bool:
    """True when the message must be refused with a stream error. `:scheme http` over anything is fine."""
    seen: set[bytes] = set()
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular or trailers or name in seen or (name not in _REQUEST if request else name != b":status"):
                return True
            seen.add(name)
            if not value and name != b":authority":
                return True
        else:
            regular = True
            if name not in _KNOWN and (not name or not _NAME.issuperset(name) or name in _CONNECTION):
                return True
            if name == b"te" and value != b"trailers":
                return True
            if name == b"content-length" and not value.isdigit():
                return True
        if b"\n" in value or b"\r" in value or b"\0" in value:
            return True
    if trailers:
        return False
    return not (seen >= _REQUIRED) if request else b":status" not in seen

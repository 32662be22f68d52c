"""What the head of a request asks for: a method, by whom, until when. Pure.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

from typing import NamedTuple

from gossamer.kit.grpc import message
from gossamer.kit.grpc.fields import Fields
from gossamer.kit.grpc.status import Code, Status


class Asked(NamedTuple):
    path: bytes
    peer: str | None
    metadata: dict[str, str]
    # In the time of `now`; None without `grpc-timeout`.
    deadline: float | None


def asked(fields: Fields, now: float, peer_header: bytes | None) -> Asked | None:
    """None for what is not gRPC. `peer_header` names the field with the caller's identity, which may come once.

    Raises `Status` for a call that cannot be served, whatever its method.
    """
    path = method = content = b""
    peer: bytes | None = None
    deadline: float | None = None
    metadata: dict[str, str] = {}
    for name, value in fields:
        if name == b":path":
            path = value
        elif name == b":method":
            method = value
        elif name == b"content-type":
            content = value
        elif name == b"grpc-timeout":
            deadline = now + message.timeout(value)
        elif name == b"grpc-encoding":
            if value != b"identity":
                raise Status(Code.UNIMPLEMENTED, f"grpc-encoding {value.decode('latin-1')} is not understood")
        elif name == peer_header:
            if peer is not None:
                raise Status(Code.UNAUTHENTICATED, "the caller's identity was given twice")
            peer = value
        elif name[:1] != b":":
            metadata[name.decode("latin-1")] = value.decode("latin-1")
    if method != b"POST" or content.split(b";")[0].split(b"+")[0] != b"application/grpc":
        return None
    return Asked(path, peer.decode("latin-1") if peer else None, metadata, deadline)

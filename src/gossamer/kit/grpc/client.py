"""A tiny blocking gRPC client over a Unix socket, for the command line: imports in a few milliseconds.

Not for asyncio programs. One call at a time per client; a stream iterator that is closed cancels its call.
"""

from __future__ import annotations

from collections.abc import Iterator


class Client:
    """`with Client("/run/…/admin.sock") as client: client.unary("/gossamer.v1.Admin/Status", request_bytes)`.

    Raises `Status` for what the server answered and Status(UNAVAILABLE) when it cannot be reached.
    """

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        raise NotImplementedError

    def unary(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        raise NotImplementedError

    def stream(self, method: str, request: bytes, timeout: float | None = None) -> Iterator[bytes]:
        """`timeout` bounds the whole call (None: no deadline)."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

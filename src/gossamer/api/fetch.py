"""One GET on a sidecar's admin socket."""

from __future__ import annotations

import asyncio

from gossamer.ports import Unavailable

TIMEOUT_SECONDS = 5.0
ANSWER_LIMIT = 16 * 1024 * 1024


async def get(socket: str, path: str) -> str:
    """The body of a 200 answer. Raises Unavailable in one line."""
    try:
        return await asyncio.wait_for(_get(socket, path), TIMEOUT_SECONDS)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise Unavailable(f"{socket}: {error or 'no answer'}") from error


async def _get(socket: str, path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        held = bytearray()
        while chunk := await reader.read(65536):
            held += chunk
            if len(held) > ANSWER_LIMIT:
                raise Unavailable(f"{socket}: the answer is longer than {ANSWER_LIMIT >> 20} MiB")
    finally:
        writer.close()
    head, _, body = bytes(held).partition(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    if b" 200" not in status:
        raise Unavailable(f"{socket}{path}: {status.decode(errors='replace')}")
    if b"transfer-encoding: chunked" in fields.lower():
        body = _unchunked(body)
    return body.decode(errors="replace")


def _unchunked(body: bytes) -> bytes:
    found = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size.split(b";")[0] or b"0", 16)
        if count == 0:
            break
        found += body[:count]
        body = body[count + 2 :]
    return bytes(found)

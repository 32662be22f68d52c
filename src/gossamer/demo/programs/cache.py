"""A small Redis-like server: GET, SET, INCR, PING over RESP2. It knows nothing of any mesh.

Usage: cache.py PORT
"""

import asyncio
import sys

LONGEST = 64 * 1024
values: dict[bytes, bytes] = {}


async def command(reader: asyncio.StreamReader) -> list[bytes]:
    """One command: `*N`, then N times `$LENGTH` and the bytes. Empty at the end of the stream."""
    head = await reader.readline()
    if not head:
        return []
    if head[:1] != b"*":
        return head.split()
    words = []
    for _ in range(int(head[1:])):
        length = int((await reader.readline())[1:])
        if length > LONGEST:
            raise ValueError("too long")
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


def answer(words: list[bytes]) -> bytes:
    match [words[0].upper(), *words[1:]]:
        case [b"PING"]:
            return b"+PONG\r\n"
        case [b"SET", key, value]:
            values[key] = value
            return b"+OK\r\n"
        case [b"GET", key]:
            value = values.get(key)
            return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
        case [b"INCR", key]:
            number = int(values.get(key, b"0")) + 1
            values[key] = b"%d" % number
            return b":%d\r\n" % number
        case _:
            return b"-ERR unknown command\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while words := await command(reader):
            writer.write(answer(words))
            await writer.drain()
    except (ValueError, OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())

"""A server and a client that count: `traffic.py serve PORT`, `traffic.py call HOST PORT RATE SECONDS [CONNECTIONS]`.

The client prints a JSON line each second and at its end: requests, failures, the first of them in words, and the
longest answer. Every tenth request is made on a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from typing import Any

BODY = b"ok\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + BODY
PATIENCE = 20.0
FRESH = 10


async def serve(port: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", port) as server:
        await server.serve_forever()


class Client:
    def __init__(self, host: str, port: int, rate: float, seconds: float, connections: int) -> None:
        self.where = (host, port)
        self.request = f"GET / HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
        self.every = connections / rate
        self.until = time.monotonic() + seconds
        self.connections = connections
        self.sent = self.failed = 0
        self.longest = 0.0
        self.said: list[str] = []

    async def run(self) -> None:
        telling = asyncio.ensure_future(self.tell())
        await asyncio.gather(*(self.worker(number) for number in range(self.connections)))
        telling.cancel()

    async def tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            print(json.dumps(self.result()), flush=True)

    async def worker(self, number: int) -> None:
        due = time.monotonic() + self.every * number / self.connections
        held: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        count = 0
        while due < self.until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # A late one is not made up for by a burst.
            due = max(due + self.every, time.monotonic() - 1.0)
            count += 1
            began = time.monotonic()
            try:
                if held is None or count % FRESH == 0:
                    if held is not None:
                        held[1].close()
                    held = await asyncio.wait_for(asyncio.open_connection(*self.where), PATIENCE)
                await asyncio.wait_for(self.once(*held), PATIENCE)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.failed += 1
                if len(self.said) < 5:
                    self.said.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}"[:300])
                if held is not None:
                    held[1].close()
                held = None
            self.sent += 1
            self.longest = max(self.longest, time.monotonic() - began)
        if held is not None:
            held[1].close()

    async def once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode(errors="replace"))
        if await reader.readexactly(len(BODY)) != BODY:
            raise ValueError("another body")

    def result(self) -> dict[str, Any]:
        return {"requests": self.sent, "failures": self.failed, "longest_s": round(self.longest, 3), "said": self.said}


async def call(client: Client) -> None:
    work = asyncio.ensure_future(client.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with suppress(asyncio.CancelledError):
        await work
    print(json.dumps(client.result()), flush=True)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(int(rest[0])))
    else:
        host, port, rate, seconds, *more = rest
        asyncio.run(call(Client(host, int(port), float(rate), float(seconds), int(more[0]) if more else 8)))

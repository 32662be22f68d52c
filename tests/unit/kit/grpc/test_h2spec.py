"""h2spec, a conformance suite nobody here wrote, against the control plane's server. `make test` builds it for
tests/mesh; where it is not there, this test is skipped."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from gossamer.kit.grpc.server import Server, Unary

BINARY = Path(__file__).resolve().parents[4] / ".cache" / "go" / "h2spec"


@pytest.mark.timeout(180)
@pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} has not been built")
def test_every_case_passes() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def start() -> Server:
        server = Server({"/t.T/Echo": Unary(lambda message, context: message)})
        await server.serve(listener)
        return server

    async def stop(server: Server) -> None:
        server.close()
        await asyncio.sleep(0.1)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        command = [str(BINARY), "-h", "127.0.0.1", "-p", str(port), "-S", "-o", "3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    last = done.stdout.strip().splitlines()[-1]
    assert last.endswith(" 0 skipped, 0 failed"), done.stdout[-3000:]

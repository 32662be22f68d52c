"""Python's HTTP servers and clients in pairs: every shape of request is answered through the mesh as without it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, direct, eventually, free_port, need, run_direct

APPS = Path(__file__).parent / "apps" / "stacks"
SERVERS = ("uvicorn", "httptools", "hypercorn", "gunicorn", "waitress", "granian", "aiohttp", "tornado")
CLIENTS = ("requests", "httpx", "aiohttp", "urllib3", "tornado")
PORT = 8000
# Every server and every client once, in different company.
PAIRS = [
    ("uvicorn", "requests"),
    ("httptools", "tornado"),
    ("hypercorn", "httpx"),
    ("hypercorn", "httpx2"),
    ("gunicorn", "aiohttp"),
    ("waitress", "urllib3"),
    ("granian", "httpx"),
    ("granian", "httpx2"),
    ("aiohttp", "requests"),
    ("tornado", "aiohttp"),
]
if os.environ.get("GOSSAMER_MATRIX"):
    PAIRS = [*PAIRS, *(pair for pair in product(SERVERS, CLIENTS) if pair not in PAIRS)]


@pytest.fixture(scope="module")
def servers(mesh: Mesh) -> Iterator[dict[str, int]]:
    """All servers in the mesh, as `NAME:8000`, and beside it without a mesh: name → port."""
    python = need("python stacks").path
    ports = {name: free_port() for name in SERVERS}
    with ExitStack() as stack:
        for name in SERVERS:
            mesh.run(name, python, str(APPS / "echo.py"), name, str(PORT))
        for name, port in ports.items():
            stack.enter_context(direct([python, str(APPS / "echo.py"), name, str(port)], port))
        for name in SERVERS:
            eventually(f"{name} is published", lambda name=name: mesh.ready(name), 60)  # type: ignore[misc]
        yield ports


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("server", "client"), PAIRS)
def test_a_client_hears_from_a_server_what_it_hears_without_a_mesh(
    mesh: Mesh, servers: dict[str, int], server: str, client: str
) -> None:
    command = [need("python stacks").path, str(APPS / "ask.py"), client]

    without = run_direct([*command, f"http://127.0.0.1:{servers[server]}"])
    through = mesh.ask("asker", *command, f"http://{server}:{PORT}")

    assert without.returncode == 0, without.stderr.decode()
    left, right = without.stdout.decode().splitlines(), through.stdout.decode().splitlines()
    assert len(left) == 25
    assert right == left, "\n".join(difflib.unified_diff(left, right, n=0)) + through.stderr.decode()[-2000:]

"""What the applications say is in no packet on the host, loopback included."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mesh.harness import GOSSAMER, Mesh, need

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")
CANARY = b"canary-7c1f2b90-never-on-the-wire"


LOAD = Path(__file__).resolve().parents[2] / "src" / "gossamer" / "demo" / "programs" / "load.py"
DEMO_CANARY = b"canary-whose-song-stays-indoors"
# packet(7); the module socket has no names for them.
SOL_PACKET, PACKET_STATISTICS = 263, 6


class Listener(threading.Thread):
    """Every packet of every interface of the host, loopback included, searched for a string."""

    def __init__(self, wanted: bytes) -> None:
        super().__init__(daemon=True)
        self.wanted = wanted
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))  # ETH_P_ALL
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 27)  # SO_RCVBUFFORCE
        self.socket.settimeout(0.2)
        self.packets = self.hits = self.missed = 0
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            try:
                packet = self.socket.recv(1 << 17)
            except TimeoutError:
                continue
            self.packets += 1
            self.hits += self.wanted in packet
        self.missed = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self.socket.close()


@contextmanager
def listening(wanted: bytes) -> Iterator[Listener]:
    """Listens while the block runs; what was counted is complete after it."""
    if os.geteuid() != 0:
        pytest.skip("capturing packets needs root")
    listener = Listener(wanted)
    listener.start()
    try:
        yield listener
    finally:
        listener.stopping = True
        listener.join()


def test_a_canary_is_in_no_packet(mesh: Mesh) -> None:
    node, curl = need("node"), need("curl")
    with listening(CANARY) as listener:
        mesh.serve("echo", node.path, ECHO, "8080")
        answer = mesh.ask(
            "client", curl.path, "-sS", "-H", f"x-canary: {CANARY.decode()}", "--data-binary", CANARY.decode() * 100, "http://echo:8080/" + CANARY.decode(),
            environment=curl.environment,
        )  # fmt: skip

    assert CANARY in answer.stdout, "the applications did not exchange it"
    assert listener.packets > 10, "the capture saw nothing"
    assert listener.hits == 0


@pytest.mark.timeout(120)
def test_what_the_demos_programs_say_is_in_no_packet_while_it_runs() -> None:
    """The load generator asks for the canary by HTTP; the front hands it on by gRPC and to the cache."""
    with tempfile.TemporaryDirectory(prefix="gd", dir="/tmp") as folder:
        own = {"XDG_STATE_HOME": f"{folder}/s", "XDG_RUNTIME_DIR": f"{folder}/r"}
        Path(folder, "r").mkdir(mode=0o700)
        with listening(DEMO_CANARY) as listener:
            demo = subprocess.run(
                [GOSSAMER, "demo", "--once", "-o", "json"],
                env={**os.environ, **own}, capture_output=True, text=True, timeout=90,
            )  # fmt: skip

    assert demo.returncode == 0, demo.stderr
    seen = json.loads(demo.stdout)
    assert (seen["success_rate"], DEMO_CANARY in LOAD.read_bytes()) == (1.0, True), "every fourth request says it"
    assert listener.packets > seen["requests"], "the capture saw less than the requests"
    assert listener.missed * 20 < listener.packets, "the capture was too slow to mean anything"
    assert listener.hits == 0


def test_the_capture_would_have_seen_it() -> None:
    with listening(CANARY) as listener:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(CANARY)
            accepted, _ = server.accept()
            accepted.recv(100)
            accepted.close()
        # The loop looks at its end every 0.2 s; what was sent is in the socket's queue by now.
        listener.join(0.5)

    assert listener.hits > 0

"""What the applications say is in no packet on the host, loopback included."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, need

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")
CANARY = b"canary-7c1f2b90-never-on-the-wire"


class Listener(threading.Thread):
    """Every packet of every interface, searched for the canary."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))  # ETH_P_ALL
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
        self.socket.settimeout(0.2)
        self.packets = self.hits = 0
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            try:
                packet = self.socket.recv(1 << 17)
            except TimeoutError:
                continue
            self.packets += 1
            self.hits += CANARY in packet
        self.socket.close()


def test_a_canary_is_in_no_packet(mesh: Mesh) -> None:
    if os.geteuid() != 0:
        pytest.skip("capturing packets needs root")
    node, curl = need("node"), need("curl")
    mesh.serve("echo", node.path, ECHO, "8080")
    listener = Listener()
    listener.start()

    answer = mesh.ask(
        "client", curl.path, "-sS", "-H", f"x-canary: {CANARY.decode()}", "--data-binary", CANARY.decode() * 100, "http://echo:8080/" + CANARY.decode(),
        environment=curl.environment,
    )  # fmt: skip
    listener.stopping = True
    listener.join()

    assert CANARY in answer.stdout, "the applications did not exchange it"
    assert listener.packets > 10, "the capture saw nothing"
    assert listener.hits == 0


def test_the_capture_would_have_seen_it() -> None:
    if os.geteuid() != 0:
        pytest.skip("capturing packets needs root")
    listener = Listener()
    listener.start()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(CANARY)
        accepted, _ = server.accept()
        accepted.recv(100)
        accepted.close()
    listener.join(0.5)
    listener.stopping = True
    listener.join()

    assert listener.hits > 0

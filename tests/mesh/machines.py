"""Machines as network namespaces, joined by veth pairs to a bridge: for tests of a mesh on more than one machine.

As root they are plain namespaces; as an ordinary user all of them are inside one user namespace, where that is allowed.
Nothing outside of what is made here is touched, and it is gone with the processes that hold it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mesh import harness

NETWORK = "10.97.0"


class Machine(harness.Mesh):
    """A mesh's folder and commands on one machine; `number` is the last byte of its address."""

    def __init__(self, folder: Path, enter: tuple[str, ...], number: int) -> None:
        super().__init__(folder, "m")
        self.prefix = enter
        self.number = number
        self.address = f"{NETWORK}.{number}"
        (folder / "r").mkdir(mode=0o700, parents=True)

    def ip(self, *words: str) -> None:
        subprocess.run([*self.prefix, "ip", *words], check=True, capture_output=True)

    def cut(self) -> None:
        self.ip("link", "set", "eth0", "down")

    def mend(self) -> None:
        self.ip("link", "set", "eth0", "up")

    def move(self, number: int) -> None:
        """Another address in place of the one it has."""
        self.ip("addr", "del", f"{self.address}/24", "dev", "eth0")
        self.number, self.address = number, f"{NETWORK}.{number}"
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")

    def join(self, control: Machine, name: str, *options: str) -> None:
        token = control.cli("token", "create", "--machine", name).stdout
        self.cli("join", control.address, "--token-file", "-", *options, stdin=token)

    def agent(self) -> int:
        """The process id of the control plane or the agent here."""
        return int((self.folder / "r" / "gossamer" / "m" / "ready").read_text())

    def fetch(self, service: str, port: int) -> str:
        """The status of one request through the mesh, "000" for none."""
        answer = self.ask(
            "client", "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{service}:{port}/"
        )
        return answer.stdout.decode()


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines, which reach each other. Skips with the reason where none can be made."""
    for program in ("ip", "unshare", "nsenter", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")
    held: list[subprocess.Popen[bytes]] = []
    folder = Path(tempfile.mkdtemp(prefix="gm", dir="/tmp"))
    made: list[Machine] = []
    try:
        switch = _namespace((), held)
        for number in range(1, count + 1):
            inside = _namespace(switch, held)
            made.append(Machine(folder / str(number), inside, number))
            _plug(switch, made[-1], held[-1].pid)
        yield made
    finally:
        for machine in reversed(made):
            machine.end()
        for process in reversed(held):
            process.kill()
            process.communicate(timeout=5)
        shutil.rmtree(folder, ignore_errors=True)


def _namespace(within: tuple[str, ...], held: list[subprocess.Popen[bytes]]) -> tuple[str, ...]:
    """A network namespace that lives as long as a process; the words that enter it."""
    user = os.getuid() != 0
    new = ["unshare", "--user", "--map-root-user", "--net"] if user and not within else ["unshare", "--net"]
    process = subprocess.Popen(
        [*within, *new, "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline() != b"ready\n":
        said = process.stderr.read().decode(errors="replace").strip()
        process.communicate(timeout=5)
        pytest.skip(f"no network namespace can be made here: {said}")
    held.append(process)
    # `nsenter` execs: the process that was started is the one that holds the namespace.
    entered = ("--user", "--preserve-credentials") if user else ()
    return ("nsenter", "--target", str(process.pid), *entered, "--net")


def _plug(switch: tuple[str, ...], machine: Machine, pid: int) -> None:
    def at_switch(*words: str) -> None:
        subprocess.run([*switch, "ip", *words], check=True, capture_output=True)

    if machine.number == 1:
        at_switch("link", "add", "br0", "type", "bridge")
        at_switch("link", "set", "br0", "up")
    port = f"p{machine.number}"
    at_switch("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    at_switch("link", "set", port, "master", "br0")
    at_switch("link", "set", port, "up")
    machine.ip("link", "set", "lo", "up")
    machine.ip("addr", "add", f"{machine.address}/24", "dev", "eth0")
    machine.ip("link", "set", "eth0", "up")

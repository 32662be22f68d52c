"""Becoming the launcher: everything between the command line of `run` and the exec.

The program must find the world as if it had been started directly: environment, signals and descriptors are those
this process was started with, not those Python changed.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gossamer.agent.launch import launcher_config, memory_file
from gossamer.agent.lease import Lease, Registration
from gossamer.binary import find_proxy

# The own address of every namespace made by `run`; nobody else has it (RFC 2544's range).
NAMESPACE_ADDRESS = "198.18.0.1"


def start(registration: Registration, agent_socket: Path, command: Sequence[str]) -> NoReturn:
    """Registers, then replaces this process by the launcher. Raises Refused, NoControlPlane, ProxyNotFound, OSError."""
    proxy = find_proxy()
    lease = Lease(agent_socket)
    answer = lease.register(registration)
    config = memory_file(launcher_config(answer, registration, agent_socket, os.getuid(), os.getgid()))
    arguments = [str(proxy), "run", "--config-fd", str(config), "--agent-fd", str(lease.handover()), "--", *command]
    _undo_python()
    os.execve(proxy, arguments, original_environment())  # noqa: S606 - no shell is wanted


def inside_a_mesh() -> bool:
    """Whether this process was itself started by `gossamer run`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((NAMESPACE_ADDRESS, 0))
        except OSError:
            return False
    return True


def original_environment() -> dict[bytes, bytes]:
    """The environment this process was started with: Python itself may have added LC_CTYPE (PEP 538)."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environb)
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs if name}


def _undo_python() -> None:
    """Python ignores two signals at its start, and an ignored signal stays ignored across exec."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)

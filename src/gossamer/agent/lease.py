"""The agent's socket: register a workload, keep the connection, it is the lease.

Lines of UTF-8, at most 64 KiB; one request, one reply: `ok[ TEXT]`, `error TEXT`, or `later TEXT` to a registration
that cannot be stored now.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LINE_LIMIT = 64 * 1024
# Registering writes to a disk; the rest of `run` waits for it.
TIMEOUT_SECONDS = 10.0
# `--ready none`
AT_ONCE = "none"


class NoControlPlane(Exception):
    """Nobody listens on the agent's socket."""


class Refused(Exception):
    """The control plane said no, in one line."""


class Later(Exception):
    """The control plane cannot do it now, and will once what it lacks is back; one line."""


@dataclass(frozen=True, slots=True)
class Port:
    """`port` is what the service offers, `target` what the program listens on."""

    name: str
    port: int
    target: int
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """What `run` was told about a program. `publish` are `ADDR:PORT:TARGET`."""

    namespace: str
    service: str
    service_account: str
    labels: dict[str, str] = field(default_factory=dict)
    replica: str | None = None
    ports: tuple[Port, ...] = ()
    opaque_ports: tuple[int, ...] = ()
    publish: tuple[str, ...] = ()
    host_ports: tuple[int, ...] = ()
    # A URL, or "none": take traffic at once.
    ready: str | None = None
    pid: int = 0


class Lease:
    """An open connection to the agent's socket. `fileno()` survives an exec when made inheritable."""

    def __init__(self, path: Path) -> None:
        self._socket = _connected(path)
        self._turn = threading.Lock()

    def register(self, registration: Registration) -> dict[str, Any]:
        """Announces a workload; the answer is the contract's, a JSON object."""
        reply = self._ask("register " + json.dumps(asdict(registration), separators=(",", ":")))
        try:
            answer = json.loads(reply)
        except ValueError as error:
            raise Refused("the control plane's answer is not JSON; is it of another version?") from error
        if not isinstance(answer, dict):
            raise Refused("the control plane's answer is not an object; is it of another version?")
        if registration.ready == AT_ONCE:
            self._ask("listening " + ",".join(str(port.target) for port in registration.ports))
        return answer

    def handover(self) -> int:
        """The connection as a blocking, inheritable descriptor for the program that takes over."""
        self._socket.settimeout(None)
        self._socket.set_inheritable(True)
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, line: str) -> str:
        """One request, one reply; threads take turns. Raises Refused and Later."""
        with self._turn:
            return self._ask(line)

    def lost(self) -> bool:
        """Whether the control plane has hung up."""
        with self._turn:
            readable, _, _ = select.select([self._socket], [], [], 0)
            try:
                return bool(readable) and not self._socket.recv(1, socket.MSG_PEEK)
            except OSError:
                return True

    def resume(self, path: Path, session: str) -> None:
        """A new connection for the same workload. Raises NoControlPlane and Refused."""
        with self._turn:
            self._socket.close()
            self._socket = _connected(path)
            self._ask(f"resume {session}")

    def _ask(self, line: str) -> str:
        request = line.encode() + b"\n"
        if len(request) > LINE_LIMIT:
            raise Refused("too many ports or labels: the registration is longer than 64 KiB")
        try:
            self._socket.sendall(request)
            reply = self._read_line()
        except TimeoutError as error:
            late = f"the control plane did not answer within {TIMEOUT_SECONDS:.0f} s"
            raise Refused(f"{late}; end it with `gossamer down`, then try again") from error
        except OSError as error:
            raise Refused(f"the control plane hung up ({error.strerror or error})") from error
        verb, _, rest = reply.partition(" ")
        if verb == "ok":
            return rest
        if verb == "later":
            raise Later(rest)
        raise Refused(rest or reply)

    def _read_line(self) -> str:
        held = bytearray()
        while not held.endswith(b"\n"):
            chunk = self._socket.recv(LINE_LIMIT)
            if not chunk:
                raise Refused("the control plane closed the connection; see `gossamer logs --control-plane`")
            held += chunk
            if len(held) > LINE_LIMIT:
                raise Refused("the control plane's answer is longer than 64 KiB")
        return held.decode(errors="replace").rstrip("\n")


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(TIMEOUT_SECONDS)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        connection.close()
        raise NoControlPlane(str(path)) from error
    except OSError as error:
        connection.close()
        raise Refused(f"{path}: {error.strerror or error}") from error
    return connection

"""`run --explicit`: a program in the mesh where nothing may be captured, on machines without user namespaces.

The program calls local ports that stand for services, and listens on all addresses of the machine, where its sidecar
finds it. Only what goes through those ports is encrypted and counted; nothing stops the program from going around.
This process stays beside it, in the place of the Rust launcher.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.agent.launch import sidecar_environment
from gossamer.agent.lease import AT_ONCE, Lease, NoControlPlane, Refused, Registration
from gossamer.agent.start import original_environment
from gossamer.binary import find_proxy

READY_SECONDS = 15.0
# For answering what peers have asked, and for delivering what is left when the program has ended.
QUIET_SECONDS = 3.0
DRAIN_SECONDS = 0.5
POLL_SECONDS = 0.25
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Forward:
    """`local` is a port of 127.0.0.1 that stands for `service`, whose virtual address and port are the target."""

    service: str
    local: int
    address: str
    port: int

    def setting(self) -> str:
        return f"127.0.0.1:{self.local}={self.address}:{self.port}"

    def variables(self) -> dict[str, str]:
        """As Kubernetes tells a program of its services."""
        name = self.service.upper().replace("-", "_")
        return {f"{name}_SERVICE_HOST": "127.0.0.1", f"{name}_SERVICE_PORT": str(self.local)}


def run(registration: Registration, agent_socket: Path, command: Sequence[str], forwards: Sequence[Forward]) -> int:
    """Runs the program beside a sidecar to its end; its exit code, 128 and more for a signal.

    Raises Refused, NoControlPlane, ProxyNotFound, OSError before the program is started.
    """
    proxy = find_proxy()
    lease = Lease(agent_socket)
    answer = lease.register(registration)
    sidecar = Sidecar(proxy, explicit_environment(answer, registration, forwards), answer, lease)
    try:
        sidecar.start()
        program = subprocess.Popen(command, env=_environment(forwards))
    except (OSError, Refused):
        sidecar.end()
        lease.ask("bye")
        raise
    with Ushers(program, lease, sidecar):
        keeper = threading.Thread(target=_keep, args=(lease, agent_socket, answer, registration, program), daemon=True)
        keeper.start()
        code = program.wait()
    return code if code >= 0 else 128 - code


def explicit_environment(
    answer: Mapping[str, Any], registration: Registration, forwards: Sequence[Forward]
) -> dict[str, str]:
    """The sidecar's settings: no descriptors are handed over, and local ports take the place of captured traffic."""
    return sidecar_environment(answer, registration) | {
        # Nothing is redirected here; it must only not collide with a sibling's.
        "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR": "127.0.0.1:0",
        **({"GOSSAMER_PROXY_FORWARD": ",".join(one.setting() for one in forwards)} if forwards else {}),
    }


class Sidecar:
    """The process beside the program; started again when it dies, with a fresh token."""

    def __init__(self, proxy: Path, environment: Mapping[str, str], answer: Mapping[str, Any], lease: Lease) -> None:
        self._proxy = proxy
        self._environment = dict(environment)
        self._log = Path(answer["log_file"])
        self._first_token: str | None = answer["token"]
        self._lease = lease
        self._ready = threading.Event()
        self._quiet = threading.Event()
        self._drained = threading.Event()
        self._ending = False
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens with a certificate. Raises Refused."""
        threading.Thread(target=self._supervise, daemon=True).start()
        if not self._ready.wait(READY_SECONDS):
            raise Refused(f"the sidecar was not ready within {READY_SECONDS:.0f} s; see {self._log}")

    def quiet(self) -> None:
        """Returns when peers have their answers, or have waited long enough."""
        self._say(b"quiet\n")
        self._quiet.wait(QUIET_SECONDS)

    def drain(self) -> None:
        """Lets it deliver what is left, then ends it."""
        self._ending = True
        if self._line is not None:
            self._say(b"drain\n")
            self._drained.wait(DRAIN_SECONDS)
        self.end()

    def end(self) -> None:
        self._ending = True
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.terminate()

    def _supervise(self) -> None:
        while not self._ending:
            ours, theirs = socket.socketpair()
            self._line = ours
            try:
                process = self._process = self._spawn(theirs)
            except OSError as error:
                if not self._ending:
                    sys.stderr.write(f"gossamer run: the sidecar cannot be started, nothing passes any more: {error}\n")
                return
            self._listen(ours)
            process.wait()
            time.sleep(POLL_SECONDS)

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        with theirs, self._log.open("ab") as log:
            return subprocess.Popen(
                [self._proxy],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                env={**self._environment, "GOSSAMER_PROXY_LAUNCHER_FD": str(theirs.fileno())},
                cwd="/",
                start_new_session=True,
            )

    def _listen(self, line: socket.socket) -> None:
        """Answers what the sidecar says, until it ends."""
        try:
            with line.makefile("rb") as words:
                for told in words:
                    # What stands behind the word is for launchers that know more.
                    match told.split()[:1]:
                        case [b"token"]:
                            self._say(b"token " + self._token().encode() + b"\n")
                        case [b"ready"]:
                            self._ready.set()
                        case [b"quiet"]:
                            self._quiet.set()
                        case [b"drained"]:
                            self._drained.set()
        except (OSError, ValueError):
            return

    def _token(self) -> str:
        token, self._first_token = self._first_token, None
        try:
            return token or self._lease.ask("token")
        except Refused:
            # It asks again.
            return ""

    def _say(self, word: bytes) -> None:
        try:
            if self._line is not None:
                self._line.sendall(word)
        except OSError:
            # It has ended; the supervising thread sees that, too.
            return


class Ushers:
    """While the program runs: signals reach it, and before it is told to end its endpoint is taken back."""

    def __init__(self, program: subprocess.Popen[bytes], lease: Lease, sidecar: Sidecar) -> None:
        self._program = program
        self._lease = lease
        self._sidecar = sidecar

    def __enter__(self) -> None:
        for number in FORWARDED:
            signal.signal(number, self._forward)
        # The terminal tells the program itself.
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        self._withdraw()
        self._sidecar.drain()
        self._tell("bye")

    def _forward(self, number: int, _: object) -> None:
        if number == signal.SIGTERM:
            self._withdraw()
            self._sidecar.quiet()
        self._program.send_signal(number)

    def _withdraw(self) -> None:
        self._tell("withdraw")

    def _tell(self, word: str) -> None:
        try:
            self._lease.ask(word)
        except Refused:
            # Without a control plane there is nobody to tell; the lease ends by itself.
            return


def _keep(
    lease: Lease, agent_socket: Path, answer: Mapping[str, Any], registration: Registration, program: Any
) -> None:
    """Publishes the endpoint when the program listens; takes the lease up again when the control plane comes back."""
    targets = [port.target for port in registration.ports]
    said = registration.ready == AT_ONCE
    while program.poll() is None:
        try:
            if lease.lost():
                lease.resume(agent_socket, str(answer["session"]))
                said = False
            if not said and targets and all(_listens(answer["address"], target) for target in targets):
                lease.ask("listening " + ",".join(str(target) for target in targets))
                said = True
        except (Refused, NoControlPlane):
            # It is away; whoever looks next finds it back, and the program's links need it for nothing meanwhile.
            said = False
        time.sleep(POLL_SECONDS)


def _listens(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, port)) == 0


def _environment(forwards: Sequence[Forward]) -> dict[bytes, bytes]:
    told = {name: value for one in forwards for name, value in one.variables().items()}
    return original_environment() | {name.encode(): value.encode() for name, value in told.items()}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

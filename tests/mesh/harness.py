"""A mesh of its own for one test: own state, own runtime directory, real command, real programs.

Nothing here reaches into Gossamer: it uses the command line as a person would, and `/proc` to look.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mesh.programs import Found, find

GOSSAMER = os.environ.get("GOSSAMER_COMMAND", str(Path(sys.executable).parent / "gossamer"))


def eventually(what: str, probe: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer of `probe`, asked every 50 ms."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


@dataclass
class Workload:
    """A program under `gossamer run`."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def stop(self, seconds: float = 10.0) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise AssertionError(f"{self.name} did not end on SIGTERM; its output:\n{self.text()[-2000:]}") from None


@dataclass
class Mesh:
    """One mesh; `close()` leaves nothing running."""

    folder: Path
    name: str = "test"
    workloads: list[Workload] = field(default_factory=list)
    # Words before every command: how its machine is entered, where that is not this one.
    prefix: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "GOSSAMER_PROXY") if key in os.environ}
        own = {
            "XDG_STATE_HOME": str(self.folder / "s"),
            "XDG_RUNTIME_DIR": str(self.folder / "r"),
            "GOSSAMER_MESH": self.name,
        }
        return {**kept, **own}

    def cli(
        self, *arguments: str, check: bool = True, seconds: float = 30.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [*self.prefix, GOSSAMER, *arguments],
            env={**self.environment, "PYTHONWARNINGS": "error"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"gossamer {' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def up(self, *arguments: str) -> None:
        self.cli("up", *arguments)

    def apply(self, text: str) -> subprocess.CompletedProcess[str]:
        return self.cli("apply", "-f", "-", stdin=text)

    def command(self, service: str, arguments: tuple[str, ...], options: tuple[str, ...]) -> list[str]:
        return [*self.prefix, GOSSAMER, "run", "--service", service, *options, "--", *arguments]

    def run(
        self, service: str, *arguments: str, options: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> Workload:
        """Starts a server; its output goes to a file."""
        output = self.folder / f"{service}-{len(self.workloads)}.log"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                self.command(service, arguments, options),
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        workload = Workload(service, process, output)
        self.workloads.append(workload)
        return workload

    def serve(
        self,
        service: str,
        *arguments: str,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        count: int = 1,
    ) -> Workload:
        """Starts a server and waits until the mesh publishes `count` endpoints for it."""
        workload = self.run(service, *arguments, options=options, environment=environment)
        eventually(f"{service} is published", lambda: self.alive(workload) and self.ready(service) >= count)
        return workload

    def alive(self, workload: Workload) -> bool:
        if workload.process.poll() is not None:
            raise AssertionError(
                f"{workload.name} ended with {workload.process.returncode}:\n{workload.text()[-3000:]}"
            )
        return True

    def ready(self, service: str) -> int:
        result = self.cli("describe", service, "-o", "json", check=False)
        if result.returncode != 0:
            return 0
        return len(json.loads(result.stdout).get("endpoints", []))

    def ask(
        self,
        service: str,
        *arguments: str,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        seconds: float = 60.0,
        stdin: bytes | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a client to its end through the mesh."""
        return subprocess.run(
            self.command(service, arguments, options),
            env={**self.environment, **(environment or {})},
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=seconds,
        )

    def close(self) -> None:
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self) -> None:
        """Stops everything; the files stay."""
        for workload in reversed(self.workloads):
            if workload.process.poll() is None:
                workload.process.send_signal(signal.SIGTERM)
        for workload in self.workloads:
            try:
                workload.process.wait(10)
            except subprocess.TimeoutExpired:
                workload.process.kill()
                workload.process.wait(5)
        self.cli("down", check=False)


@contextmanager
def mesh(name: str = "test", arguments: tuple[str, ...] = ()) -> Iterator[Mesh]:
    """A running mesh in a short folder (a Unix socket's path has 108 bytes at most). `arguments` are those of `up`."""
    folder = Path(tempfile.mkdtemp(prefix="gm", dir="/tmp"))
    (folder / "r").mkdir(mode=0o700)
    made = Mesh(folder, name)
    try:
        made.up(*arguments)
        yield made
    finally:
        made.close()


def need(name: str) -> Found:
    """The program, or a skip that says why."""
    import pytest

    found = find(name)
    if found is None:
        pytest.skip(f"{name}: neither unpacked nor on this machine")
    return found


def same(direct: subprocess.CompletedProcess[bytes], meshed: subprocess.CompletedProcess[bytes]) -> None:
    """Exit code and output are equal (seams §27 is about bodies, status, trailers and exit codes)."""
    ends = [(each.returncode, each.stdout.decode(errors="replace").splitlines()) for each in (direct, meshed)]
    words = "\n".join(difflib.unified_diff(ends[0][1], ends[1][1], "direct", "meshed", n=0, lineterm=""))
    assert (meshed.returncode, meshed.stdout) == (direct.returncode, direct.stdout), (
        f"{ends[0][0]} → {ends[1][0]}\n{words[:2000]}\n{meshed.stderr.decode(errors='replace')[-1000:]}"
    )


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_direct(
    command: list[str], environment: Mapping[str, str] | None = None, seconds: float = 60.0, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """The same client without a mesh."""
    return subprocess.run(
        command, env={**os.environ, **(environment or {})}, input=stdin, capture_output=True, timeout=seconds
    )


@contextmanager
def direct(command: list[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """The same server without a mesh, once it listens."""
    import socket

    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    try:
        eventually(f"{command[0]} listens on {port}", listens)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""Counts what a pair of sidecars does for a known number of requests. Counts only: nothing here measures time.

The pair, the client and the origin are `gauge`, an example of the sidecar's crate built as a release is. `strace` and
`valgrind` are the machine's or those of `tests.mesh.programs`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mesh.programs import Found

ROOT = Path(__file__).resolve().parents[2]
SIDECARS = 2
FILES = 8192


def built(name: str) -> Path | None:
    """A file of the release build, for whichever target it was made."""
    return next(iter(sorted(ROOT.glob(f"target/*/release/{name}"))), None)


def raise_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))


@dataclass
class Process:
    """One `gauge` that talks on stdin and stdout."""

    popen: subprocess.Popen[str]

    def line(self) -> str:
        if self.popen.stdout is None:
            raise AssertionError("no output")
        text = self.popen.stdout.readline().strip()
        if not text:
            raise AssertionError(f"gauge ended with {self.popen.wait(10)}")
        return text

    def used(self) -> dict[str, Any]:
        """What the pair used since its start."""
        if self.popen.stdin is None:
            raise AssertionError("no input")
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return dict(json.loads(self.line()))


@contextmanager
def started(*command: str | Path, environment: dict[str, str] | None = None) -> Iterator[Process]:
    """Ends when its stdin does."""
    popen = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=raise_limit,
    )
    try:
        yield Process(popen)
    finally:
        popen.communicate(timeout=30)


@dataclass
class Pair:
    """Two sidecars, and where programs connect."""

    gauge: Path
    process: Process
    address: str

    def load(self, connections: int, rounds: int) -> int:
        """Requests made."""
        command = [str(self.gauge), "load", self.address, str(connections), str(rounds)]
        subprocess.run(command, check=True, timeout=60)
        return connections * rounds


@contextmanager
def pair(gauge: Path, prefix: Sequence[str] = (), environment: dict[str, str] | None = None) -> Iterator[Pair]:
    """`prefix`: the instrument that the pair runs under."""
    with (
        started(gauge, "origin") as origin,
        started(*prefix, gauge, "pair", origin.line(), environment=environment) as process,
    ):
        yield Pair(gauge, process, process.line())


def allocations(gauge: Path, connections: int, rounds: int) -> float:
    """Heap allocations for each request and sidecar, once everything is warm."""
    with pair(gauge) as running:
        running.load(connections, 20)
        before = running.process.used()["allocations"]
        requests = running.load(connections, rounds)
        # The accepted connections themselves are part of the count, as they are of the work.
        return float(running.process.used()["allocations"] - before) / requests / SIDECARS


def idle_bytes(gauge: Path, connections: int) -> float:
    """Anonymous memory of both sidecars for each connection of a program that stays open after one request."""
    with pair(gauge) as running:
        running.load(8, 20)
        before = running.process.used()["anonymous_kb"]
        with started(gauge, "hold", running.address, str(connections)) as held:
            held.line()
            return float(running.process.used()["anonymous_kb"] - before) * 1024 / connections


def system_calls(gauge: Path, strace: Found, log: Path, connections: int, rounds: int) -> tuple[float, Counter[str]]:
    """Calls for each request and sidecar, and all of them by name. The log is split where the pair reads its own memory."""
    prefix = [strace.path, "-f", "-qq", "-o", str(log)]
    with pair(gauge, prefix, strace.environment) as running:
        running.load(connections, 5)
        running.process.used()
        requests = running.load(connections, rounds)
        running.process.used()
    part = log.read_text(errors="replace").split("smaps_rollup")[1]
    names = Counter(name for name in re.findall(r"^\d+ +([a-z]\w*)\(", part, re.M))
    return sum(names.values()) / requests / SIDECARS, names


def instructions(gauge: Path, valgrind: Found, connections: int, rounds: int) -> float:
    """User instructions for each request and sidecar: the difference of a long and a short run."""
    few, many = (collected(gauge, valgrind, connections, count) for count in (rounds // 4, rounds))
    return (many - few) / (connections * (rounds - rounds // 4)) / SIDECARS


def collected(gauge: Path, valgrind: Found, connections: int, rounds: int) -> int:
    with tempfile.NamedTemporaryFile() as log:
        prefix = [valgrind.path, "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log.name}"]
        with pair(gauge, prefix, valgrind.environment) as running:
            running.load(connections, rounds)
        return int(re.findall(r"Collected : (\d+)", Path(log.name).read_text())[-1])


def least_resident_kb(pid: int, seconds: float) -> int:
    """The least memory that the process had mapped during this time. `statm` is open to everybody."""
    page = resource.getpagesize() // 1024
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page)
        time.sleep(0.05)
    return min(found)

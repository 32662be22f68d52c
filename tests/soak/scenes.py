"""What must not be noticed, done under load: certificates that end every half minute, issuers and anchors that rotate.

Each scene is a function of its length: `make soak` runs it long, tests/mesh/test_rotation.py short. They use the command
line as a person would; what they return says how much was done, and that nobody noticed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mesh.harness import Mesh, eventually

TRAFFIC = str(Path(__file__).parent / "traffic.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`restarts`: processes of the mesh or of programs that are others than at the beginning."""

    scene: str
    done: int
    seconds: float
    requests: int
    failures: int
    longest_s: float
    restarts: int
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class Busy:
    """Two workloads of a mesh that call each other as long as the scene lasts."""

    def __init__(self, mesh: Mesh, rate: float) -> None:
        self.mesh = mesh
        self.server = mesh.serve("web", sys.executable, TRAFFIC, "serve", "8080")
        self.client = mesh.run("load", sys.executable, TRAFFIC, "call", "web", "8080", str(rate), "100000")
        eventually(
            "the client's sidecar reports",
            lambda: any(one["name"].startswith("default/load") and one["heard"] for one in self.leaves()),
        )
        self.before = self.processes()

    def leaves(self) -> list[dict[str, Any]]:
        return [one for one in self.mesh.json("identity")["certificates"] if one["kind"] == "leaf"]

    def processes(self) -> set[int]:
        """Everything that belongs to this mesh: they have its folder in their environment, or it as an ancestor."""
        own = str(self.mesh.folder)
        found = set()
        for stat in Path("/proc").glob("[0-9]*/environ"):
            try:
                text = stat.read_bytes()
            except OSError:
                continue
            if own.encode() in text and b"gossamer" in (stat.parent / "cmdline").read_bytes():
                found.add(int(stat.parent.name))
        return found

    def end(self) -> dict[str, Any]:
        restarts = len(self.before - self.processes())
        # Its next line tells of everything that happened until now.
        told = len(self.client.text().splitlines())
        eventually("the client says how it went", lambda: len(self.client.text().splitlines()) > told + 1)
        lines = [line for line in self.client.text().splitlines() if line.startswith("{")]
        assert lines, f"the client said nothing: {self.client.text()[-500:]}"
        found: dict[str, Any] = json.loads(lines[-1])
        return {**found, "restarts": restarts, "said": tuple(found["said"])}


@contextmanager
def busy(rate: float, *arguments: str) -> Iterator[Busy]:
    folder = Path(tempfile.mkdtemp(prefix="gs", dir="/tmp"))
    (folder / "r").mkdir(mode=0o700)
    mesh = Mesh(folder, "soak")
    try:
        mesh.up(*arguments)
        yield Busy(mesh, rate)
    finally:
        mesh.close()


def scene(name: str, rate: float, arguments: tuple[str, ...], act: Callable[[Busy], int]) -> Outcome:
    with busy(rate, *arguments) as load:
        began = time.monotonic()
        done = act(load)
        lasted = time.monotonic() - began
        return Outcome(name, done, round(lasted, 1), **load.end())


def short_lives(seconds: float, rate: float, lifetime: str = "30s") -> Outcome:
    """Leaves of half a minute; `done` counts renewals."""

    def act(load: Busy) -> int:
        serials: set[str] = set()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            serials |= {one["serial"] for one in load.leaves() if one["serial"]}
            time.sleep(min(5.0, max(0.1, until - time.monotonic())))
        return len(serials)

    return scene("short lives", rate, ("--leaf-lifetime", lifetime), act)


def issuers(times: int, rate: float, every: float = 1.0) -> Outcome:
    """Another issuer each second."""

    def act(load: Busy) -> int:
        due = time.monotonic()
        serials = set()
        for _ in range(times):
            serials.add(load.mesh.json("identity", "rotate", "issuer")["serial"])
            due = max(due + every, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        return len(serials)

    return scene("issuers", rate, ("--leaf-lifetime", "30s"), act)


def anchors(times: int, rate: float) -> Outcome:
    """Whole rotations of the trust anchor, one after another."""

    def act(load: Busy) -> int:
        seen = set()
        for _ in range(times):
            load.mesh.cli("identity", "rotate", "anchor", "--timeout", "2m", seconds=150)
            (anchor,) = (one for one in load.mesh.json("identity")["certificates"] if one["kind"] == "anchor")
            seen.add(anchor["sha256"])
        return len(seen)

    return scene("anchors", rate, ("--leaf-lifetime", "60s"), act)


def year(days: int, rate: float, day: float = 60.0) -> Outcome:
    """A year whose days last a minute: leaves of a day, four issuers, one anchor, an upgrade of the control plane.

    `done` counts the days. The upgrade is the same version, stopped and started again.
    """

    def act(load: Busy) -> int:
        mesh = load.mesh
        for number in range(days):
            quarter = max(1, days // 4)
            if number % quarter == quarter // 2:
                mesh.cli("identity", "rotate", "issuer")
            if number == days // 3:
                mesh.cli("identity", "rotate", "anchor", "--timeout", "5m", seconds=330)
            if number == days // 2:
                load.before -= control_plane(load)
                mesh.cli("down")
                mesh.up("--leaf-lifetime", f"{int(day)}s")
            time.sleep(day)
        return days

    return scene("a year", rate, ("--leaf-lifetime", f"{int(day)}s"), act)


def control_plane(load: Busy) -> set[int]:
    """The processes that an upgrade replaces: the control plane and its front."""
    own = set()
    for pid in load.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if b"gossamer.controller" in command or b"GOSSAMER_PROXY_FRONT=" in environment:
            own.add(pid)
    return own

"""HTTP/2 clients that do what makes servers fall over: they are cut off, nobody else notices, and memory stays (A-01 … A-09)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import Mesh, Workload, eventually
from tests.mesh.outsider import Agent
from tests.mesh.test_faults import ECHO, controller, outcome, sidecar, steady

APPS = Path(__file__).parent / "apps"
FLOOD = str(APPS / "flood.py")


@pytest.fixture(scope="module")
def target(mesh: Mesh) -> Iterator[tuple[Workload, int]]:
    """A server at `web:8080`, and the port it is published at."""
    port = harness.free_port()
    node = harness.need("node")
    options = ("--port", f"8080:{port}", "--port", f"out={port}", "--publish", str(port))
    yield mesh.serve("web", node.path, ECHO, str(port), options=options), port


def memory(pid: int) -> int:
    """The most memory a process ever used, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def ticks(pid: int) -> int:
    """Hundredths of a second that a process has run."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(numbers[11]) + int(numbers[12])


def check(text: str) -> None:
    results = json.loads(text)
    assert len(results) > 10
    assert {name: result for name, result in results.items() if result[2] != "closed"} == {}


def idles(pid: int) -> None:
    before = ticks(pid)
    time.sleep(1)
    assert ticks(pid) - before <= 5, "it is still busy"


def test_floods_from_outside_end_and_harm_nobody(mesh: Mesh, target: tuple[Workload, int]) -> None:
    server, port = target
    pid = sidecar(server)
    load = steady(mesh, "web", 100, 6)
    time.sleep(1)
    before = memory(pid)

    check(
        subprocess.run(
            [sys.executable, FLOOD, "127.0.0.1", str(port)], capture_output=True, text=True, timeout=100
        ).stdout
    )

    assert outcome(load) == {"counts": {"200": 600}, "bad": []}
    assert memory(pid) - before < 8 * 1024
    idles(pid)


def test_floods_from_inside_end_and_harm_nobody(mesh: Mesh, target: tuple[Workload, int]) -> None:
    server, _ = target
    pid = sidecar(server)
    before = memory(pid)
    load = steady(mesh, "web", 100, 6)
    flooder = mesh.run(
        "flooder",
        sys.executable,
        "-c",
        f"import subprocess, sys, time; subprocess.run([sys.executable, {FLOOD!r}, 'web', '8080']); time.sleep(600)",
    )
    own = eventually("the flooder's sidecar runs", lambda: found(flooder))
    at_first = memory(own)

    eventually("the flood is over", lambda: flooder.text().endswith("}\n"), 90)

    check(flooder.text())
    assert outcome(load) == {"counts": {"200": 600}, "bad": []}
    assert memory(own) - at_first < 16 * 1024
    assert memory(pid) - before < 8 * 1024
    idles(own)
    flooder.stop()


def found(workload: Workload) -> int:
    with contextlib.suppress(AssertionError, OSError):
        return sidecar(workload)
    return 0


def test_floods_of_the_control_plane_end_and_harm_nobody(mesh: Mesh) -> None:
    plane = controller(mesh)
    front = int(Path(f"/proc/{plane}/task/{plane}/children").read_text().split()[0])
    before = memory(front), memory(plane)
    agent = Agent(mesh)
    place = agent.register("x")
    agent.close()
    host, port = place["control_address"].split(":")
    flood = subprocess.Popen(
        [sys.executable, FLOOD, host, port, place["control_name"]], stdout=subprocess.PIPE, text=True
    )

    started = time.monotonic()
    assert mesh.ask("neighbour", "true").returncode == 0
    assert time.monotonic() - started < 3

    check(flood.communicate(timeout=100)[0])
    assert memory(front) - before[0] < 8 * 1024
    assert memory(plane) - before[1] < 16 * 1024
    idles(front)
    idles(plane)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_requests_cut_at_any_byte_end_at_once(mesh: Mesh, target: tuple[Workload, int], where: str) -> None:
    server, port = target
    script = [sys.executable, str(APPS / "half.py")]

    if where == "inside":
        text = mesh.ask("cutter", *script, "web", "8080").stdout
    else:
        text = subprocess.run([*script, "127.0.0.1", str(port)], capture_output=True, timeout=60).stdout

    endings = json.loads(text)
    assert {how for how, _ in endings} <= {"200", "400", "closed", "ConnectionResetError"}
    assert [how for how, _ in endings].count("200") == 2, "only whole requests"
    assert max(seconds for _, seconds in endings) < 5
    idles(sidecar(server))


def test_heads_that_never_end_cost_little_and_harm_nobody(mesh: Mesh, target: tuple[Workload, int]) -> None:
    server, port = target
    pid = sidecar(server)
    before = memory(pid)
    load = steady(mesh, "web", 100, 5)

    subprocess.run([sys.executable, str(APPS / "drip.py"), "127.0.0.1", str(port), "200", "5"], check=True, timeout=60)

    assert outcome(load) == {"counts": {"200": 500}, "bad": []}
    assert memory(pid) - before < 200 * 32

"""What a request, a connection and a release may cost, in counts. `limits.toml` holds what was measured and the limit."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import meshed
from tests.gates import instrument
from tests.mesh import harness
from tests.mesh.programs import Found, find

LIMITS = Path(__file__).with_name("limits.toml")
BUSY = 32


def hold(name: str, value: float, detail: str = "") -> None:
    """The count is within its limit, and the limit is not slack."""
    gate = tomllib.loads(LIMITS.read_text())[name]
    print(f"{name}: {value:.2f} {gate['unit']}, limit {gate['limit']} (measured {gate['measured']} on {gate['date']})")
    assert value <= gate["limit"], (
        f"{name} is {value:.2f} {gate['unit']}, more than {gate['limit']}. {detail} Find out why. If it is worth its"
        f" price, put the new value, limit and date into tests/gates/limits.toml and say why in docs/decisions/, in one commit."
    )


@pytest.fixture(scope="module")
def gauge() -> Path:
    found = instrument.built("examples/gauge")
    if found is None:
        pytest.skip("gauge is not built: `make gauge` builds it")
    return found


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    """How many requests share a turn of the loop depends on who runs when: on one CPU, that hardly varies."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every)})
    yield
    os.sched_setaffinity(0, every)


def tool(name: str) -> Found:
    found = find(name)
    if found is None:
        pytest.skip(f"{name}: neither unpacked nor on this machine")
    return found


@pytest.mark.parametrize(("connections", "rounds"), [(1, 1000), (BUSY, 60)])
def test_a_request_costs_no_more_system_calls(gauge: Path, tmp_path: Path, connections: int, rounds: int) -> None:
    count, names = instrument.system_calls(gauge, tool("strace"), tmp_path / "strace.log", connections, rounds)
    hold(f"system_calls_c{connections}", count, f"By name: {dict(names)}.")


@pytest.mark.parametrize(("connections", "rounds"), [(1, 2000), (BUSY, 100)])
def test_a_request_costs_no_more_heap_allocations(gauge: Path, connections: int, rounds: int) -> None:
    hold(f"allocations_c{connections}", instrument.allocations(gauge, connections, rounds))


@pytest.mark.parametrize(("connections", "rounds"), [(1, 2000), (BUSY, 100)])
def test_a_request_costs_no_more_user_instructions(gauge: Path, connections: int, rounds: int) -> None:
    hold(f"instructions_c{connections}", instrument.instructions(gauge, tool("valgrind"), connections, rounds))


def test_an_idle_connection_costs_no_more_memory(gauge: Path) -> None:
    hold("idle_connection_bytes", instrument.idle_bytes(gauge, 2000))


def test_an_idle_sidecar_keeps_little_of_its_program_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = instrument.built("gossamer-proxy")
    if binary is None:
        pytest.skip("gossamer-proxy is not built: `make mesh` builds it")
    monkeypatch.setenv("GOSSAMER_PROXY", str(binary))
    with harness.mesh("gate") as mesh:
        sleeper = mesh.serve("web", sys.executable, "-m", "http.server", "8080")
        # It gives pages back half a second after nothing more happens; on a busy machine that is when it gets there.
        kept = instrument.least_resident_kb(meshed.sidecars(sleeper.process.pid)[0], seconds=4)
    hold("idle_resident_kb", kept)


def test_the_binary_grows_no_further() -> None:
    binary = instrument.built("gossamer-proxy")
    if binary is None:
        pytest.skip("gossamer-proxy is not built: `make mesh` builds it")
    hold("binary_bytes", binary.stat().st_size)

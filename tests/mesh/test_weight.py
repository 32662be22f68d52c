"""What one more workload costs: proportional memory of every Gossamer process, and wake-ups when nothing happens."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import eventually

# `GOSSAMER_WORKLOADS=100` is the release check; the marginal cost does not depend on the count.
COUNT = int(os.environ.get("GOSSAMER_WORKLOADS", "10"))
LIMIT_KB = 6 * 1024
# A launcher looks for new listeners ever more rarely: every two seconds once half a minute has brought none.
SETTLED = 40.0


def gossamer_pids(mesh: harness.Mesh) -> list[int]:
    """Every process of ours beside this mesh's workloads: launchers, factories, sidecars; not the programs."""
    found = []
    for workload in mesh.workloads:
        launcher = workload.process.pid
        own = (Path(f"/proc/{launcher}") / "exe").stat().st_ino
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        found += [launcher, *(int(pid) for pid in children if executable(pid) == own)]
    return found


def executable(pid: str) -> int:
    """Inode of what the process runs; 0 when it cannot be said."""
    try:
        return (Path(f"/proc/{pid}") / "exe").stat().st_ino
    except OSError:
        return 0


def control_pids(mesh: harness.Mesh) -> list[int]:
    """The control plane of this mesh and the sidecar before it."""
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and str(mesh.folder).encode() in (entry / "environ").read_bytes()
            if mine and b"gossamer.controller" in (entry / "cmdline").read_bytes():
                return [int(entry.name), *children(int(entry.name))]
        except OSError:
            continue
    raise AssertionError("no control plane")


def children(pid: int) -> list[int]:
    """Whichever thread started them."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def pss(pid: int) -> int:
    """Kilobytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def switches(pid: int) -> int:
    """How often it went to sleep, and so woke up; being pushed off a busy CPU is no waking."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += sum(
            int(line.split()[1])
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )
    return total


@pytest.mark.skipif(os.geteuid() != 0, reason="weighing processes that hide from their own user takes root")
@pytest.mark.timeout(240)
def test_a_workload_costs_at_most_six_megabytes_and_sleeps() -> None:
    with harness.mesh() as mesh:
        mesh.run("sleeper", "sleep", "600")
        time.sleep(2)
        control = control_pids(mesh)
        before = sum(pss(pid) for pid in [*gossamer_pids(mesh), *control])
        for number in range(COUNT):
            mesh.run(f"sleeper-{number}", "sleep", "600")
        eventually("all run", lambda: len(gossamer_pids(mesh)) >= 3 * (COUNT + 1), 60)
        time.sleep(5)
        after = sum(pss(pid) for pid in [*gossamer_pids(mesh), *control])
        marginal = (after - before) / COUNT
        time.sleep(SETTLED - 5)
        pids = gossamer_pids(mesh)
        counted = sum(switches(pid) for pid in pids)
        time.sleep(10)
        rate = (sum(switches(pid) for pid in pids) - counted) / 10 / (COUNT + 1)
        print(f"{marginal:.0f} KB PSS and {rate:.2f} wake-ups per second for each of {COUNT} workloads")

        assert 0 < marginal <= LIMIT_KB
        assert rate <= 1.0

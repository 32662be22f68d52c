"""What one more workload costs: proportional memory of every Gossamer process, and wake-ups when nothing happens."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.mesh import harness
from tests.mesh.harness import eventually

# `GOSSAMER_WORKLOADS=100` is the release check; the marginal cost does not depend on the count.
COUNT = int(os.environ.get("GOSSAMER_WORKLOADS", "10"))
LIMIT_KB = 6 * 1024


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


def pss(pid: int) -> int:
    """Kilobytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += sum(
            int(line.split()[1]) for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line
        )
    return total


def test_a_workload_costs_at_most_six_megabytes_and_sleeps() -> None:
    with harness.mesh() as mesh:
        mesh.run("sleeper", "sleep", "600")
        time.sleep(2)
        before = sum(pss(pid) for pid in gossamer_pids(mesh))
        for number in range(COUNT):
            mesh.run(f"sleeper-{number}", "sleep", "600")
        eventually("all run", lambda: len(gossamer_pids(mesh)) >= 3 * (COUNT + 1), 60)
        time.sleep(5)
        after = sum(pss(pid) for pid in gossamer_pids(mesh))
        marginal = (after - before) / COUNT
        pids = gossamer_pids(mesh)
        counted = sum(switches(pid) for pid in pids)
        time.sleep(10)
        rate = (sum(switches(pid) for pid in pids) - counted) / 10 / (COUNT + 1)
        print(f"{marginal:.0f} KB PSS and {rate:.2f} wake-ups per second for each of {COUNT} workloads")

        assert 0 < marginal <= LIMIT_KB
        assert rate <= 1.5

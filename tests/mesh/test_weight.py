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


def gossamer_pids() -> list[int]:
    """Every process whose executable is ours, other than the control plane."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and "gossamer-proxy" in (entry / "cmdline").read_bytes().split(b"\0")[0].decode():
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


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
        total += sum(int(line.split()[1]) for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line)
    return total


def test_a_workload_costs_at_most_six_megabytes_and_sleeps() -> None:
    with harness.mesh() as mesh:
        mesh.run("sleeper", "sleep", "600")
        time.sleep(2)
        before = sum(pss(pid) for pid in gossamer_pids())
        for number in range(COUNT):
            mesh.run(f"sleeper-{number}", "sleep", "600")
        eventually("all run", lambda: len(mesh.json("check", "--proxy") or [1]) > 0, 60)
        time.sleep(5)
        after = sum(pss(pid) for pid in gossamer_pids())
        marginal = (after - before) / COUNT
        pids = gossamer_pids()
        counted = sum(switches(pid) for pid in pids)
        time.sleep(10)
        rate = (sum(switches(pid) for pid in pids) - counted) / 10 / (COUNT + 1)
        print(f"{marginal:.0f} KB PSS and {rate:.2f} wake-ups per second for each of {COUNT} workloads")

        assert 0 < marginal <= LIMIT_KB
        assert rate <= 1.5

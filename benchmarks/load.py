"""Runs the load generator against something and reads what the sidecars used meanwhile."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from benchmarks.measure import cpu_ns, memory


def sample(load: list[str], pids: list[int], connections: list[int], seconds: float) -> dict[str, Any]:
    """Idle memory first, then one entry for each number of connections."""
    idle = [memory(pid) for pid in pids]
    runs = [one(load, pids, count, seconds) for count in connections]
    return {
        "idle_rss_kb": [each.rss for each in idle],
        "idle_anonymous_kb": [each.anonymous for each in idle],
        "runs": runs,
    }


def one(load: list[str], pids: list[int], connections: int, seconds: float) -> dict[str, Any]:
    """CPU is counted from the generator's word `warm` to its result."""
    process = subprocess.Popen([*load, str(connections), str(seconds)], stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "warm\n":
        raise SystemExit(f"the load generator did not start: {' '.join(load)}")
    before = sum(cpu_ns(pid) for pid in pids)
    line = process.stdout.readline()
    used = sum(cpu_ns(pid) for pid in pids) - before
    process.wait(10)
    result: dict[str, Any] = json.loads(line)
    sidecars = 2
    result["connections"] = connections
    result["cpu_us_per_request"] = used / 1000 / max(1, result["requests"]) / sidecars if pids else None
    return result

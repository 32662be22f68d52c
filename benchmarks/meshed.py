"""The same load through Gossamer: two programs under `gossamer run`, with policy and metrics on.

Twice: `gossamer` as people run it, which pays for capture too (each program sits in a network namespace of its own, where
its sidecar takes every connection), and `gossamer explicit`, which captures nothing (`gossamer run --explicit`), as none of
the peers does. Only the second is like for like with the floor.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import cpu_ns, memory
from tests.mesh import harness

POLICY = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: origin, namespace: default}
spec: {podSelector: {matchLabels: {app: origin}}, port: 18080, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: load, namespace: default}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: origin}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: load}]
"""


def sidecars(ancestor: int) -> list[int]:
    """Pids of the sidecars that are children of a launcher, whichever of its threads started them."""
    found = []
    for task in Path(f"/proc/{ancestor}/task").iterdir():
        for pid in (task / "children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"gossamer-proxy") and b"run" not in words:
                found.append(int(pid))
    return found


def pin(pid: int) -> None:
    """All threads of the process to CPU 1."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {1})


def measure(
    origin: str, load: str, size: int, connections: list[int], seconds: float, explicit: bool
) -> dict[str, Any]:
    with harness.mesh("bench") as mesh:
        mesh.apply(POLICY)
        ready = mesh.folder / "address"
        options: list[tuple[str, ...]] = [("--label", "app=origin"), ()]
        if explicit:
            local = harness.free_port()
            options = [
                ("--explicit", "--port", "18080", *options[0]),
                ("--explicit", "--connect", f"origin:18080={local}"),
            ]
            address, find = f"127.0.0.1 {local}", f"echo 127.0.0.1 > {ready}"
        else:
            # The load generator's address book is the mesh's: it wants a number, so the name is looked up first.
            address, find = f"$(cat {ready}) 18080", f"getent ahostsv4 origin | head -1 | cut -d' ' -f1 > {ready}"
        server = mesh.serve("origin", "taskset", "-c", "0", origin, "18080", str(size), options=options[0])
        script = (
            f"{find}; while [ ! -e {ready}.go ]; do sleep 0.1; done;"
            f" while read -r line; do {load} {address} origin $line; done < {ready}.go"
        )
        orders = "\n".join(f"{count} {seconds}" for count in connections)
        client = subprocess.Popen(
            mesh.command("load", ("taskset", "-c", "0", "sh", "-c", script), options[1]),
            env=mesh.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            harness.eventually("the client runs", lambda: ready.exists() and ready.read_text().strip())
            pids = [*sidecars(server.process.pid), *sidecars(client.pid)]
            if len(pids) != 2:
                raise SystemExit(f"expected two sidecars, found {pids}")
            for pid in pids:
                pin(pid)
            # Idle is when nothing has happened for a while.
            time.sleep(1.5)
            result = sample_stream(client, pids, orders, ready)
            client.wait(10)
            return result
        finally:
            # On a failure it would wait for its orders for ever.
            client.terminate()


def sample_stream(client: subprocess.Popen[str], pids: list[int], orders: str, ready: Path) -> dict[str, Any]:
    """As `load.sample`, for a generator that is already running inside the mesh."""
    idle = [memory(pid) for pid in pids]
    (ready.parent / "orders").write_text(orders + "\n")
    (ready.parent / "orders").rename(ready.with_suffix(".go"))
    runs = []
    if client.stdout is None:
        raise SystemExit("no output of the load generator")
    for order in orders.splitlines():
        if client.stdout.readline() != "warm\n":
            raise SystemExit("the load generator did not start inside the mesh")
        before = sum(cpu_ns(pid) for pid in pids)
        line = client.stdout.readline()
        used = sum(cpu_ns(pid) for pid in pids) - before
        result = json.loads(line)
        result["connections"] = int(order.split()[0])
        result["cpu_us_per_request"] = used / 1000 / max(1, result["requests"]) / 2
        runs.append(result)
    return {
        "idle_rss_kb": [each.rss for each in idle],
        "idle_anonymous_kb": [each.anonymous for each in idle],
        "runs": runs,
    }

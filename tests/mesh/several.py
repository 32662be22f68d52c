"""Several replicas of one mesh's control plane on this machine, each with folders of its own, on a real etcd."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import etcd
from tests.mesh.harness import Mesh, eventually

# Seconds that everything stays away in the outage tests; 600 is what is promised, and takes as long.
AWAY = float(os.environ.get("GOSSAMER_TEST_AWAY", "6"))


@contextmanager
def cluster(size: int) -> Iterator[etcd.Cluster]:
    """A real etcd, or a skip that says why there is none."""
    import pytest

    try:
        with etcd.running(size) as found:
            yield found
    except etcd.Absent as absent:
        pytest.skip(str(absent))


@contextmanager
def replicas(place: str, count: int, *, begin: bool = True) -> Iterator[list[Mesh]]:
    """`place` is the address of a store, `etcd://…`; without `begin` nothing is started."""
    folders = [Path(tempfile.mkdtemp(prefix="gr", dir="/tmp")) for _ in range(count)]
    made = [Mesh(folder) for folder in folders]
    secret = folders[0] / "secret"
    try:
        for one in made:
            (one.folder / "r").mkdir(mode=0o700)
            if begin:
                one.up("--store", place, "--store-secret", str(secret))
        yield made
    finally:
        for one in made:
            resume(one)
        for one in made:
            one.close()


def pid(mesh: Mesh) -> int | None:
    """The process that serves, as its file says."""
    try:
        return int((mesh.folder / "r" / "gossamer" / mesh.name / "ready").read_text())
    except (OSError, ValueError):
        return None


def kill(mesh: Mesh) -> None:
    """The control plane only, at once. Its front goes with it."""
    found = pid(mesh)
    assert found is not None
    handle = os.pidfd_open(found)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    eventually("it is dead", lambda: not Path(f"/proc/{found}").exists() or zombie(found))


def freeze(mesh: Mesh) -> None:
    found = pid(mesh)
    assert found is not None
    os.kill(found, signal.SIGSTOP)


def resume(mesh: Mesh) -> None:
    found = pid(mesh)
    if found is not None and Path(f"/proc/{found}").exists():
        os.kill(found, signal.SIGCONT)


def zombie(found: int) -> bool:
    try:
        return Path(f"/proc/{found}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def log(mesh: Mesh) -> str:
    return (mesh.folder / "r" / "gossamer" / mesh.name / "controller.log").read_text()


def forget(mesh: Mesh) -> None:
    """As if the machine's disk were new: everything that survives a reboot is gone."""
    shutil.rmtree(mesh.folder / "s")

"""Every store there is, for suites that hold over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from gossamer.kit.etcd.client import Place, members
from gossamer.ports import Store
from gossamer.standalone.etcd.store import EtcdStore
from gossamer.standalone.store import SqliteStore
from gossamer.testing.store import MemoryStore
from tests import etcd

_prefixes = count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[etcd.Cluster]:
    """One real etcd for all tests of this process; a skip that says why where there is none."""
    try:
        with etcd.running() as found:
            yield found
    except etcd.Absent as absent:
        pytest.skip(str(absent))


def etcd_store(cluster: etcd.Cluster, prefix: str = "", replica: str = "a") -> EtcdStore:
    """A store under `prefix`, by default under one that nobody has."""
    place = Place(tuple(members(cluster.addresses)))
    return EtcdStore(place, prefix or f"test/{next(_prefixes)}", replica, f"etcd://{cluster.addresses}")


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    real = (
        SqliteStore(tmp_path / "store.sqlite")
        if request.param == "sqlite"
        else etcd_store(request.getfixturevalue("cluster"))
    )
    yield real
    real.close()

"""The command line against a control plane in memory."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gossamer.cli import admin
from gossamer.cli.root import Settings, root
from gossamer.kit.grpc.status import Code, Status
from gossamer.settings import paths
from tests.unit.api.fakes import World, client, world

Run = Callable[..., Result]


@pytest.fixture
def made() -> World:
    return world()


@pytest.fixture
def run(made: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("get", "services", stdin="…")`."""
    monkeypatch.setattr(admin, "Client", client(made))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.delenv("GOSSAMER_MESH", raising=False)

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, arguments, obj=Settings(), input=stdin)

    return invoke


@pytest.fixture
def dead(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """No control plane answers."""

    class Nobody:
        def __init__(self, path: str, timeout: float = 10.0) -> None:
            raise Status(Code.UNAVAILABLE, "connection refused")

    monkeypatch.setattr(admin, "Client", Nobody)
    return run


@pytest.fixture
def hung(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Somebody listens where the control plane would, and never answers."""

    class Silent:
        def __init__(self, path: str, timeout: float = 10.0) -> None:
            raise Status(Code.DEADLINE_EXCEEDED, "no answer in time")

    monkeypatch.setattr(admin, "Client", Silent)
    # A socket's path is short; pytest's folders are not.
    with (
        tempfile.TemporaryDirectory() as short,
        socket.socket(socket.AF_UNIX) as calls,
        socket.socket(socket.AF_UNIX) as launchers,
    ):
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        files = paths("default", os.environ, os.getuid(), Path(short))
        files.runtime.mkdir(parents=True)
        for listener, path in ((calls, files.admin_socket), (launchers, files.agent_socket)):
            listener.bind(str(path))
            listener.listen()
        yield run

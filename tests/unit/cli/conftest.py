"""The command line against a control plane in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gossamer.cli import admin
from gossamer.cli.root import Settings, root
from gossamer.kit.grpc.status import Code, Status
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

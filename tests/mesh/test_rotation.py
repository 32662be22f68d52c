"""Trust moves and nobody notices: the soak's scenes, short; revocation, and what the command line says of it all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.mesh import harness
from tests.mesh.harness import Mesh, eventually
from tests.soak import scenes
from tests.soak.scenes import Outcome

TRAFFIC = scenes.TRAFFIC


def unnoticed(outcome: Outcome) -> None:
    assert (outcome.failures, outcome.restarts) == (0, 0), outcome
    assert outcome.requests > 50, outcome


def test_issuers_rotate_under_load() -> None:
    outcome = scenes.issuers(5, 50)
    unnoticed(outcome)
    assert outcome.done == 5


def test_anchors_rotate_under_load() -> None:
    outcome = scenes.anchors(2, 50)
    unnoticed(outcome)
    assert outcome.done == 2


def test_certificates_of_a_few_seconds_are_renewed_under_load() -> None:
    outcome = scenes.short_lives(8, 50, "4s")
    unnoticed(outcome)
    assert outcome.done > 3, "more serials than sidecars: they were renewed"


@pytest.fixture(scope="module")
def mesh() -> Any:
    with harness.mesh() as made:
        yield made


def called(mesh: Mesh, host: str = "web") -> dict[str, Any]:
    """A fresh workload that calls once a tenth of a second, ten times."""
    command = mesh.command("caller", (sys.executable, TRAFFIC, "call", host, "8080", "10", "1", "1"), ())
    done = subprocess.run(command, env=mesh.environment, capture_output=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_rotation_goes_step_by_step_survives_a_kill_and_turns_back(mesh: Mesh) -> None:
    mesh.serve("web", sys.executable, TRAFFIC, "serve", "8080")
    before = anchors(mesh)
    mesh.cli("identity", "rotate", "anchor", "--step", "--timeout", "30s", seconds=40)
    shown = mesh.json("identity")
    assert (shown["phase"], shown["by_hand"], len(anchors(mesh))) == ("prepare", True, 2)

    mesh.cli("identity", "rotate", "anchor", "--step", "--timeout", "30s", seconds=40)
    assert mesh.json("identity")["phase"] == "activate"
    kill_control_plane(mesh)
    mesh.up()
    assert mesh.json("identity")["phase"] == "activate", "what is stored goes on"
    eventually("its sidecar has found the control plane again", lambda: called(mesh)["failures"] == 0, 60)

    mesh.cli("identity", "rotate", "anchor", "--abort", "--timeout", "60s", seconds=70)
    assert anchors(mesh) == before
    assert called(mesh)["failures"] == 0


def test_a_revoked_workload_is_cut_off_and_its_replica_is_not(mesh: Mesh) -> None:
    mesh.serve("pair", sys.executable, TRAFFIC, "serve", "8080", options=("--replica", "pair-a"))
    mesh.serve("pair", sys.executable, TRAFFIC, "serve", "8080", options=("--replica", "pair-b"), count=2)
    eventually("both have reported", lambda: all(leaf(mesh, name)["serial"] for name in ("pair-a", "pair-b")))
    mesh.cli("identity", "revoke", "pair-a")
    began = time.monotonic()
    eventually("nobody is sent to it", lambda: mesh.ready("pair") == 1, 5.0)
    assert time.monotonic() - began < 5.0
    assert called(mesh, "pair")["failures"] == 0, "its replica serves"
    state = {name: leaf(mesh, name)["state"] for name in ("pair-a", "pair-b")}
    assert state == {"pair-a": "revoked", "pair-b": "valid"}

    kill_control_plane(mesh)
    mesh.up()
    eventually("the workloads are back", lambda: leaf(mesh, "pair-b")["heard"] or None)
    assert [one["subject"] for one in mesh.json("identity")["revoked"]] == ["default/pair-a"]
    assert mesh.ready("pair") == 1
    refused = mesh.cli("identity", "revoke", "nobody", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    mesh.cli("identity", "revoke", "pair-a", "--undo")
    eventually("it is back", lambda: mesh.ready("pair") == 2)


def test_the_log_holds_every_certificate_and_its_chain(mesh: Mesh) -> None:
    lines = mesh.json("identity", "log", "--verify")
    assert all(one["workload"].startswith("default/") for one in lines if one["identity"].startswith("web."))
    assert {one["proof"] for one in lines} <= {"token", "certificate"}
    path = mesh.folder / "s" / "gossamer" / "test" / "issuance.log"
    text = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*text[:1], *text[2:]]))
    broken = mesh.cli("identity", "log", "--verify", check=False)
    assert broken.returncode == 1 and "does not follow" in broken.stderr
    path.write_text("".join(text))


def anchors(mesh: Mesh) -> set[str]:
    return {one["sha256"] for one in mesh.json("identity")["certificates"] if one["kind"] == "anchor"}


def leaf(mesh: Mesh, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        (one for one in mesh.json("identity")["certificates"] if one["name"] == f"default/{name}"),
        {"serial": "", "heard": 0, "state": "unknown"},
    )
    return found


def kill_control_plane(mesh: Mesh) -> None:
    pid = int((mesh.folder / "r" / "gossamer" / "test" / "ready").read_text())
    Path(f"/proc/{pid}").stat()
    subprocess.run(["kill", "-9", str(pid)], check=True)
    eventually(
        "it is gone", lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )

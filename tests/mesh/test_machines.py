"""A mesh on two and three machines: join, talk both ways, cut, kill, move, copy, join again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.harness import eventually
from tests.mesh.machines import Machine, machines

SERVE = ("python3", "-m", "http.server")


@pytest.fixture(scope="module")
def three() -> Iterator[list[Machine]]:
    with machines(3) as made:
        first, second, third = made
        first.up("--advertise", first.address, "--zone", "a", "--node", "one")
        second.join(first, "two", "--zone", "b", "--node", "two")
        third.join(first, "three", "--zone", "b", "--node", "three")
        first.serve("alpha", *SERVE, "8080")
        second.run("beta", *SERVE, "8080")
        second.run("beta", *SERVE, "8080")
        third.run("gamma", *SERVE, "8080")
        eventually("all are published", lambda: (first.ready("beta"), first.ready("gamma")) == (2, 1))
        yield made


def endpoints(machine: Machine, service: str) -> list[str]:
    found = json.loads(machine.cli("describe", f"svc/{service}", "-o", "json", check=False).stdout or "{}")
    return [str(one) for one in found.get("endpoints", [])]


def state(first: Machine, name: str) -> dict[str, object]:
    found = json.loads(first.cli("machines", "-o", "json").stdout)
    return next((one for one in found if one["name"] == name), {})


def test_every_machine_reaches_the_services_of_every_other(three: list[Machine]) -> None:
    found = {
        (machine.number, service): machine.fetch(service, 8080)
        for machine in three
        for service in ("alpha", "beta", "gamma")
    }
    assert set(found.values()) == {"200"}, found


def test_workloads_of_one_machine_share_its_address_and_are_told_apart(three: list[Machine]) -> None:
    first, second, _ = three
    found = endpoints(first, "beta")
    assert len(found) == len(set(found)) == 2
    assert all(one.startswith(f"{second.address}:8080 by ") for one in found)
    before = [one.text().count("GET /") for one in second.workloads]
    for _ in range(8):
        assert first.fetch("beta", 8080) == "200"
    after = [one.text().count("GET /") for one in second.workloads]
    assert all(new > old for old, new in zip(before, after, strict=True)), (before, after)


def test_external_workloads_live_with_the_workloads_they_stand_for(three: list[Machine]) -> None:
    first, _, third = three
    names = {one["metadata"]["name"] for one in _objects(first, "externalworkloads")}
    assert len([name for name in names if name.startswith(("beta", "gamma"))]) == 3
    assert not any(name.startswith("alpha") for name in names)
    passing = third.run("passing", *SERVE, "8090")
    eventually("it is there", lambda: first.ready("passing") == 1)
    assert any("passing" in str(one) for one in _objects(first, "externalworkloads"))
    passing.stop()
    eventually("it has gone", lambda: not any("passing" in str(one) for one in _objects(first, "externalworkloads")))


def _objects(machine: Machine, kind: str) -> list[dict[str, dict[str, str]]]:
    found = json.loads(machine.cli("get", kind, "-o", "json").stdout)
    return list(found["items"] if isinstance(found, dict) else found)


def test_policy_selects_by_labels_wherever_a_program_runs(three: list[Machine]) -> None:
    first = three[0]
    first.apply(
        """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: gamma, namespace: default}
spec: {podSelector: {matchLabels: {app: gamma}}, port: 8080, proxyProtocol: HTTP/1}
"""
    )
    try:
        eventually("nobody is admitted", lambda: three[1].fetch("gamma", 8080) == "403")
        assert first.fetch("gamma", 8080) == "403"
    finally:
        first.cli("delete", "server", "gamma")
    eventually("everybody is again", lambda: three[1].fetch("gamma", 8080) == "200")


def test_commands_about_the_mesh_say_where_its_control_plane_is(three: list[Machine]) -> None:
    said = three[1].cli("edges", check=False)
    assert said.returncode == 3
    assert f"control plane is at {three[0].address}:8443" in said.stderr
    said = three[1].cli("up", check=False)
    assert said.returncode == 1
    assert "has joined mesh m" in said.stderr


def test_an_agent_that_is_killed_comes_back_without_its_workloads_noticing(three: list[Machine]) -> None:
    first, second, _ = three
    os.kill(second.agent(), signal.SIGKILL)
    # `run` starts what is not there.
    assert second.fetch("alpha", 8080) == "200"
    eventually("it is heard", lambda: state(first, "two").get("workloads") == 2)
    assert len(endpoints(first, "beta")) == 2
    assert first.fetch("beta", 8080) == "200"


def test_a_machine_that_moves_is_found_at_its_new_address(three: list[Machine]) -> None:
    first, second, _ = three
    second.move(22)
    eventually("it is found", lambda: all("10.97.0.22:" in one for one in endpoints(first, "beta")), 30)
    assert first.fetch("beta", 8080) == "200"
    assert second.fetch("alpha", 8080) == "200"


def test_a_machine_that_is_cut_off_loses_its_endpoints_and_gets_them_back(three: list[Machine]) -> None:
    first, second, _ = three
    second.cut()
    eventually("its endpoints go", lambda: not endpoints(first, "beta"), 30)
    assert state(first, "two")["silent"] is True
    second.mend()
    eventually("they are back", lambda: len(endpoints(first, "beta")) == 2, 30)
    assert first.fetch("beta", 8080) == "200"


def test_a_control_plane_that_starts_again_knows_its_machines(three: list[Machine]) -> None:
    first = three[0]
    first.cli("down")
    first.up()
    assert len(endpoints(first, "beta")) == 2
    eventually("both are heard", lambda: not any(state(first, name)["silent"] for name in ("two", "three")), 30)
    assert first.fetch("gamma", 8080) == "200"


def test_a_machine_that_slept_past_its_certificate_returns_without_a_token() -> None:
    with machines(2) as (first, second):
        first.up("--advertise", first.address, "--leaf-lifetime", "5s")
        second.join(first, "two")
        first.serve("alpha", *SERVE, "8080")
        assert second.fetch("alpha", 8080) == "200"
        second.cli("down")
        time.sleep(6)
        assert second.fetch("alpha", 8080) == "200"


def test_anchors_rotate_with_joined_machines(three: list[Machine]) -> None:
    first, second, _ = three
    first.cli("identity", "rotate", "anchor", seconds=60)
    eventually("both are heard", lambda: not any(state(first, name)["silent"] for name in ("two", "three")), 30)
    assert second.fetch("alpha", 8080) == "200"
    assert first.fetch("beta", 8080) == "200"
    assert second.fetch("gamma", 8080) == "200"


def test_a_machine_that_is_killed_whole_is_gone_within_its_lease(three: list[Machine]) -> None:
    first, _, third = three
    began = time.monotonic()
    for pid in (third.agent(), *_tree(one.process.pid for one in third.workloads)):
        os.kill(pid, signal.SIGKILL)
    eventually("its endpoints go", lambda: not endpoints(first, "gamma"), 30)
    assert time.monotonic() - began < 30


def _tree(pids: Iterator[int]) -> list[int]:
    """Processes and their descendants, children first."""
    found: list[int] = []
    for pid in pids:
        path = Path(f"/proc/{pid}/task/{pid}/children")
        if path.exists():
            found += [*_tree(iter(map(int, path.read_text().split()))), pid]
    return found


def test_a_machine_that_joins_again_takes_the_place_of_its_earlier_self(three: list[Machine]) -> None:
    first, _, third = three
    kept = third.folder / "kept"
    shutil.copytree(third.folder / "s" / "gossamer" / "m" / "machine", kept)
    third.join(first, "three")
    third.run("gamma", *SERVE, "8080")
    eventually("it serves again", lambda: len(endpoints(first, "gamma")) == 1)
    assert first.fetch("gamma", 8080) == "200"
    # Whoever still has the earlier key and certificate gets nothing by them.
    third.end()
    shutil.copytree(kept, third.folder / "s" / "gossamer" / "m" / "machine", dirs_exist_ok=True)
    said = third.ask("late", "true")
    assert said.returncode == 125
    assert b"this earlier identity is revoked" in said.stderr


def test_a_copied_disk_is_refused_while_the_machine_runs(three: list[Machine]) -> None:
    first, second, third = three
    third.end()
    shutil.rmtree(third.folder / "s")
    shutil.copytree(second.folder / "s", third.folder / "s")
    (third.folder / "r" / "gossamer" / "m" / "instance").unlink(missing_ok=True)
    third.run("copy", *SERVE, "8099")
    eventually("it is noticed", lambda: state(first, "two").get("doubted"), 30)
    assert "another machine used its identity" in first.cli("machines").stdout
    eventually("the first goes on", lambda: len(endpoints(first, "beta")) == 2)
    assert not endpoints(first, "copy")


def test_tokens_are_refused_in_one_line(three: list[Machine]) -> None:
    first, second, third = three

    def refused(token: str, *options: str, at: Machine = first) -> str:
        said = second.cli("join", at.address, "--token-file", "-", "--mesh", "x", *options, stdin=token, check=False)
        assert said.returncode != 0
        assert said.stderr.count("\n") == 1
        return said.stderr

    def token(*options: str) -> str:
        return first.cli("token", "create", *options).stdout

    assert "is for machines in 192.0.2.0/24" in refused(token("--machine", "four", "--from", "192.0.2.0/24"))
    short = token("--machine", "four", "--ttl", "1s")
    time.sleep(1.1)
    assert "has expired" in refused(short)
    assert "is for machine four" in refused(token("--machine", "four"), "--name", "five")
    assert "damaged" in refused("gsm1.e30")
    assert "not a join token" in refused("hello")
    other = first.cli("token", "create", "--machine", "four", "--mesh", "m").stdout
    ident = json.loads(first.cli("token", "list", "-o", "json").stdout)[-1]["id"]
    first.cli("token", "revoke", ident)
    assert "not known to this control plane" in refused(other)
    third.cli("up", "--mesh", "y", "--advertise", third.address)
    try:
        assert "is not the control plane that made this token" in refused(token("--machine", "four"), at=third)
    finally:
        third.cli("down", "--mesh", "y")
    assert not (second.folder / "s" / "gossamer" / "x").exists()


def test_a_machine_that_leaves_is_forgotten(three: list[Machine]) -> None:
    first, second, _ = three
    assert "has left mesh m" in second.cli("leave").stdout
    assert state(first, "two") == {}
    eventually("its endpoints have gone", lambda: not endpoints(first, "beta"))
    assert not (second.folder / "s" / "gossamer" / "m" / "machine" / "identity.pem").exists()

"""The command line as a person uses it: the demo, starting and stopping, local ports, several meshes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import GOSSAMER, Mesh, eventually, free_port, need


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment with state and runtime folders of its own, and no mesh named."""
    folder = tmp_path_factory.mktemp("h")
    (folder / "r").mkdir(mode=0o700)
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "GOSSAMER_PROXY") if key in os.environ}
    yield {**kept, "XDG_STATE_HOME": str(folder / "s"), "XDG_RUNTIME_DIR": str(folder / "r")}


def processes_of(environment: dict[str, str]) -> list[str]:
    """Command lines of the processes that were started with this runtime folder."""
    wanted = f"XDG_RUNTIME_DIR={environment['XDG_RUNTIME_DIR']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def left_behind(environment: dict[str, str]) -> list[str]:
    """Files of any mesh."""
    folders = [Path(environment[name]) / "gossamer" for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")]
    return [str(file) for folder in folders for file in folder.rglob("*")]


def test_the_demo_is_as_it_should_be_and_leaves_nothing(home: dict[str, str]) -> None:
    done = subprocess.run(
        [GOSSAMER, "demo", "--once", "-o", "json"], env=home, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    edges = {(edge["client"], edge["server"]): edge for edge in found["edges"]}
    assert {edge["protocol"] for edge in found["edges"]} >= {"http/1", "grpc", "tcp"}
    assert found["success_rate"] == 1.0
    assert found["requests"] > 100
    assert all(edge["tls"] for edge in found["edges"])
    refused = edges["demo/intruder", "demo/front"]
    assert refused["denied"] == found["denied"] > 0
    assert refused["client_id"].startswith("intruder.demo.")
    assert edges["demo/load", "demo/front"]["server_id"].startswith("front.demo.")
    assert processes_of(home) == []
    assert left_behind(home) == []


@pytest.mark.parametrize("after", [0.3, 1.0, 2.0, 5.0])
def test_ctrl_c_at_any_moment_leaves_nothing(home: dict[str, str], after: float) -> None:
    demo = subprocess.Popen([GOSSAMER, "demo"], env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    demo.send_signal(signal.SIGINT)

    assert demo.wait(30) == 130
    assert processes_of(home) == []
    assert left_behind(home) == []


def test_up_and_down_can_be_said_twice(home: dict[str, str]) -> None:
    said = [
        subprocess.run([GOSSAMER, command], env=home, capture_output=True, text=True, timeout=60)
        for command in ("down", "up", "up", "down", "down")
    ]

    assert [one.returncode for one in said] == [0] * 5
    assert "already runs" in said[2].stdout
    assert "no control plane runs" in said[4].stdout
    assert processes_of(home) == []


def test_run_starts_the_control_plane_once_and_says_so(home: dict[str, str]) -> None:
    def run(number: int) -> subprocess.CompletedProcess[str]:
        command = [GOSSAMER, "run", "-s", f"job-{number}", "--", "sh", "-c", f"exit {number}"]
        return subprocess.run(command, env=home, capture_output=True, text=True, timeout=60)

    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(run, range(4)))
    finally:
        subprocess.run([GOSSAMER, "down"], env=home, check=True, capture_output=True, timeout=60)

    assert [one.returncode for one in done] == [0, 1, 2, 3], [one.stderr for one in done]
    assert sum("started the control plane" in one.stderr for one in done) == 1


def test_local_ports_lead_into_the_mesh_where_nothing_is_captured(mesh: Mesh) -> None:
    curl = need("curl")
    port, local = free_port(), free_port()
    server = (sys.executable, "-m", "http.server", str(port))
    mesh.serve("plain", *server, options=("--explicit", "--port", str(port)))
    options = ("--explicit", "--connect", f"plain:{port}={local}")

    answer = mesh.ask(
        "caller", curl.path, "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{local}/",
        options=options, environment=curl.environment,
    )  # fmt: skip

    assert (answer.returncode, answer.stdout) == (0, b"200"), answer.stderr

    def seen() -> bool:
        return any(
            (edge["client"], edge["server"], edge["tls"]) == ("default/caller", "default/plain", True)
            for edge in mesh.json("edges")
        )

    eventually("the edge is encrypted", seen, 10)


def test_ten_meshes_at_once_do_not_know_of_each_other() -> None:
    if os.geteuid() == 0:
        pytest.skip("root starts ten meshes as two users in test_users.py")
    curl = need("curl")

    def one(number: int) -> tuple[bytes, list[str]]:
        with harness.mesh(f"m{number}") as mesh:
            mesh.serve("web", sys.executable, "-m", "http.server", "8080")
            address = ("-o", "/dev/null", "-w", "%{http_code}", "http://web:8080/")
            answer = mesh.ask("me", curl.path, "-sS", *address, environment=curl.environment)
            workloads = mesh.json("get", "workloads")["items"]
            return answer.stdout, [item["spec"]["service"] for item in workloads if item["spec"]["service"] == "web"]

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(one, range(10)))

    assert found == [(b"200", ["web"])] * 10

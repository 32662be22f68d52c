"""The wheel alone, in an empty environment: install, mesh two programs, run the demo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment that holds the wheel with its extra, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "env", with_pip=True)
    wheel = max((ROOT / "dist").glob("gossamer-*.whl"), key=lambda path: path.stat().st_mtime)
    subprocess.run([folder / "env/bin/pip", "install", "-q", f"{wheel}[demo]"], check=True)
    yield folder


def run(folder: Path, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    keep = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    (folder / "r").mkdir(mode=0o700, exist_ok=True)
    own = {"XDG_STATE_HOME": str(folder / "s"), "XDG_RUNTIME_DIR": str(folder / "r")}
    return subprocess.run(
        [folder / "env/bin" / arguments[0], *arguments[1:]],
        env={**keep, **own},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@pytest.mark.timeout(300)
def test_the_demo_runs_from_the_wheel(environment: Path) -> None:
    result = run(environment, "gossamer", "demo", "--once", "-o", "json")

    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["success_rate"] == 1.0
    assert answer["denied"] > 0
    assert all(edge["tls"] for edge in answer["edges"])


@pytest.mark.timeout(120)
def test_the_readers_own_programs_are_meshed_in_two_lines(environment: Path) -> None:
    keep = {"PATH": f"{environment / 'env/bin'}:{os.environ['PATH']}", "HOME": str(environment)}
    own = {"XDG_STATE_HOME": str(environment / "s"), "XDG_RUNTIME_DIR": str(environment / "r")}
    server = subprocess.Popen(
        [environment / "env/bin/gossamer", "run", "--service", "web", "--", sys.executable, "-m", "http.server", "8080"],
        env={**keep, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        script = (
            "import time,urllib.request as u\n"
            "for _ in range(100):\n"
            " try: print(u.urlopen('http://web:8080/',timeout=2).status); break\n"
            " except OSError: time.sleep(0.1)\n"
        )
        answer = run(environment, "gossamer", "run", "--service", "me", "--", sys.executable, "-c", script)
        assert answer.stdout.strip().endswith("200"), answer.stderr
    finally:
        server.terminate()
        server.wait(10)
        run(environment, "gossamer", "down")


def test_the_sidecar_needs_no_library_of_the_machine(environment: Path, tmp_path: Path) -> None:
    """In a root folder that holds nothing else, as on any other distribution."""
    shutil.copy(environment / "env/bin/gossamer-proxy", tmp_path / "gossamer-proxy")
    command = ["unshare", "--user", "--map-root-user", "chroot", str(tmp_path), "/gossamer-proxy", "--version"]

    answer = subprocess.run(command, capture_output=True, text=True)

    assert answer.stdout.startswith("gossamer-proxy "), answer.stderr

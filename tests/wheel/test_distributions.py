"""The wheel on other distributions' userlands: a newer one with its own Python, and an older one that has none for it.

Run: Debian 13 (glibc 2.41, Python 3.13), whole, from `pip install` to the demo; Debian 11 (glibc 2.31, Python 3.9),
the sidecar's program only, and pip's refusal. Not run, for their packages cannot be had here: Ubuntu, Fedora, Alpine;
that the sidecar needs no C library at all is seen in a folder that holds nothing else (`test_wheel.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wheel.userlands import NotToBeHad, Userland, make

ROOT = Path(__file__).resolve().parents[2]
INSTALL = (
    "set -e; python3 -m venv /tmp/env; /tmp/env/bin/pip install -q --no-index --find-links /share 'gossamer[demo]'; "
)


def newest() -> Path:
    return max((ROOT / "dist").glob("gossamer-*.whl"), key=lambda path: path.stat().st_mtime)


def userland(release: str) -> Userland:
    try:
        return make(release)
    except NotToBeHad as reason:
        pytest.skip(f"{release} is not to be had: {reason}")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and what it depends on, for Debian 13's Python; the sidecar's program on its own."""
    folder = tmp_path_factory.mktemp("share")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    python = ["--python-version", "3.13", "--implementation", "cp", "--abi", "cp313", "--abi", "abi3", "--abi", "none"]
    tags = [word for tag in ("2014", "_2_17", "_2_28") for word in ("--platform", f"manylinux{tag}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), "--only-binary=:all:", *python, *tags]
    subprocess.run([*command, f"{newest()}[demo]"], check=True)
    with zipfile.ZipFile(newest()) as wheel:
        name = next(each for each in wheel.namelist() if each.endswith("scripts/gossamer-proxy"))
        (folder / "gossamer-proxy").write_bytes(wheel.read(name))
    (folder / "gossamer-proxy").chmod(0o755)
    return folder


@pytest.mark.timeout(300)
def test_the_demo_runs_on_a_newer_distribution(share: Path) -> None:
    found = userland("trixie").run(
        share,
        "sh",
        "-c",
        INSTALL + "/tmp/env/bin/gossamer check --host >&2; exec /tmp/env/bin/gossamer demo --once -o json",
    )

    assert found.returncode == 0, found.stderr[-3000:]
    said = json.loads(found.stdout)
    assert said["success_rate"] == 1.0
    assert said["denied"] > 0
    assert said["startup_seconds"] < 30
    assert {edge["protocol"] for edge in said["edges"]} == {"http/1", "grpc", "tcp"}


@pytest.mark.timeout(300)
def test_the_readers_own_programs_are_meshed_on_a_newer_distribution(share: Path) -> None:
    """Three commands: install, server, client. The client asks until the server listens."""
    script = INSTALL + (
        "cd /tmp; export PATH=/tmp/env/bin:$PATH; mkdir www; echo hello >www/index.html\n"
        "gossamer run --service web -- python3 -m http.server -d www 8080 >/dev/null 2>&1 & server=$!\n"
        "gossamer run --service me -- python3 -c '\n"
        "import time, urllib.request\n"
        "for _ in range(150):\n"
        "    try: print(urllib.request.urlopen(\"http://web:8080/\").read().decode()); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "'\n"
        # Sidecars report once a second.
        "sleep 3; gossamer edges -o json; kill $server; wait $server || true; gossamer down >&2"
    )  # fmt: skip

    found = userland("trixie").run(share, "sh", "-c", script)

    said, _, edges = found.stdout.partition("\n")
    assert said == "hello", found.stderr[-3000:]
    assert any(edge["client"] == "default/me" and edge["tls"] for edge in json.loads(edges)), found.stdout


@pytest.mark.timeout(300)
def test_the_sidecar_runs_on_an_older_distribution_where_pip_refuses_the_rest(share: Path) -> None:
    old = userland("bullseye")
    sidecar = old.run(share, "/share/gossamer-proxy", "--version")
    pip = old.run(
        share,
        "sh",
        "-c",
        f"python3 -m venv /tmp/env && /tmp/env/bin/pip install --no-index --no-deps /share/{newest().name}",
    )

    assert sidecar.stdout.startswith("gossamer-proxy "), sidecar.stderr
    assert pip.returncode != 0
    assert "requires a different Python" in pip.stderr, pip.stderr


@pytest.mark.timeout(300)
def test_the_capture_works_on_an_older_distribution(share: Path) -> None:
    """`gossamer-proxy probe` makes the namespaces and rules of a workload, there as an ordinary `run` would."""
    found = userland("bullseye").run(share, "/share/gossamer-proxy", "probe")

    assert found.returncode == 0, found.stdout + found.stderr

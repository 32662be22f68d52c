"""h2spec against both HTTP/2 server sides of a sidecar: towards the application, and towards unmeshed clients.

h2spec is a Go program that nobody here wrote; it is built from its module into `.cache/go`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as Tree
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, free_port, need

APP = str(Path(__file__).parent / "apps" / "h2.mjs")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "go"
MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

# Cases that may fail, each with its reason. Aim: none.
EXCUSED: dict[str, str] = {}


@pytest.fixture(scope="module")
def h2spec() -> str:
    binary = CACHE / "h2spec"
    if not binary.exists():
        if shutil.which("go") is None:
            pytest.skip("h2spec: Go is not on this machine")
        built = subprocess.run(
            ["go", "install", MODULE], env={**os.environ, "GOBIN": str(CACHE)}, capture_output=True, text=True
        )
        if built.returncode != 0:
            pytest.skip(f"h2spec: cannot be built here ({built.stderr.strip().splitlines()[-1]})")
    return str(binary)


def failures(report: Path) -> tuple[int, list[str]]:
    """How many cases ran, and `section: description` of those that failed."""
    ran, failed = 0, []
    for suite in Tree.parse(report).iter("testsuite"):
        for case in suite.iter("testcase"):
            if case.find("skipped") is not None:
                continue
            ran += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(f"{suite.get('id') or suite.get('name')}: {case.get('classname')}")
    return ran, failed


def judge(report: Path, output: bytes) -> None:
    ran, failed = failures(report)
    unexcused = [name for name in failed if name not in EXCUSED]
    assert ran >= 140, output.decode(errors="replace")[-2000:]
    assert unexcused == []


@pytest.mark.timeout(300)
def test_towards_the_application(mesh: Mesh, h2spec: str, tmp_path: Path) -> None:
    mesh.serve("two", need("node").path, APP, "8080")
    report = tmp_path / "outbound.xml"

    result = mesh.ask("h2spec", h2spec, "-h", "two", "-p", "8080", "-o", "5", "-j", str(report), seconds=280)

    judge(report, result.stdout + result.stderr)


@pytest.mark.timeout(300)
def test_towards_unmeshed_clients(mesh: Mesh, h2spec: str, tmp_path: Path) -> None:
    port = free_port()
    mesh.serve("three", need("node").path, APP, str(port), options=("--publish", f"127.0.0.1:{port}"))
    report = tmp_path / "inbound.xml"

    result = subprocess.run(
        [h2spec, "-h", "127.0.0.1", "-p", str(port), "-o", "5", "-j", str(report)], capture_output=True, timeout=280
    )

    judge(report, result.stdout + result.stderr)

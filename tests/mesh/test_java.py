"""The JDK's HTTP server and client through the mesh, equal to direct."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, direct, free_port, run_direct, same

SOURCE = Path(__file__).parent / "apps" / "java" / "App.java"


@pytest.mark.timeout(120)
def test_the_jdks_client_hears_the_same_from_the_jdks_server(mesh: Mesh, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("java: not on this machine")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    built = run_direct(["javac", "-d", str(tmp_path), str(SOURCE)])
    assert built.returncode == 0, built.stderr.decode()
    app = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(tmp_path), "App"]
    port = free_port()
    mesh.serve("java", *app, "serve", "8060")

    with direct([*app, "serve", str(port)], port):
        without = run_direct([*app, "ask", f"http://127.0.0.1:{port}"])
    through = mesh.ask("asker", *app, "ask", "http://java:8060")

    assert without.returncode == 0, without.stderr.decode()
    same(without, through)

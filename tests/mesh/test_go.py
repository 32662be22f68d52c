"""Go's net/http and grpc-go through the mesh, equal to direct."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, direct, free_port, run_direct, same

SOURCE = Path(__file__).parent / "apps" / "goapp"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "go"


@pytest.fixture(scope="module")
def goapp() -> Iterator[str]:
    if shutil.which("go") is None:
        pytest.skip("go: not on this machine")
    binary = CACHE / "goapp"
    newest = max(path.stat().st_mtime for path in SOURCE.iterdir())
    if not binary.exists() or binary.stat().st_mtime < newest:
        built = subprocess.run(["go", "build", "-o", str(binary), "."], cwd=SOURCE, capture_output=True, text=True)
        if built.returncode != 0 and "dial tcp" in built.stderr:
            pytest.skip("grpc-go: its modules cannot be downloaded here")
        assert built.returncode == 0, built.stderr
    yield str(binary)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "port", "target"), [("http", 8070, "http://{}"), ("grpc", 8071, "{}")])
def test_go_sees_the_same_through_the_mesh(mesh: Mesh, goapp: str, kind: str, port: int, target: str) -> None:
    own = free_port()
    mesh.serve(f"go-{kind}", goapp, f"{kind}-serve", str(port))

    with direct([goapp, f"{kind}-serve", str(own)], own):
        without = run_direct([goapp, f"{kind}-ask", target.format(f"127.0.0.1:{own}")])
    through = mesh.ask("client", goapp, f"{kind}-ask", target.format(f"go-{kind}:{port}"))

    assert without.returncode == 0
    same(without, through)

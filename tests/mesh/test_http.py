"""HTTP programs nobody here wrote, through the mesh and without it: the answers are equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, direct, free_port, need, run_direct, same

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")
PORT = 8080


@pytest.fixture(scope="module")
def echo(mesh: Mesh) -> Iterator[tuple[Mesh, str]]:
    """The echo program in the mesh as `echo:8080`, and beside it without a mesh."""
    node = need("node")
    port = free_port()
    mesh.serve("echo", node.path, ECHO, str(PORT))
    with direct([node.path, ECHO, str(port)], port):
        yield mesh, f"http://127.0.0.1:{port}"


CURL = {
    "get": ["/hello?x=1"],
    "head": ["-I", "/hello"],
    "post": ["-d", "a=b", "/form"],
    "put": ["-X", "PUT", "-H", "X-Mixed-Case: Kept", "--data-binary", "@{file}", "/upload"],
    "upload of unknown length": ["-T", "-", "/chunked"],
    "expect": ["-H", "Expect: 100-continue", "--data-binary", "@{file}", "/expect"],
    "status 404": ["/status?code=404"],
    "status 503": ["/status?code=503"],
    "status 204": ["/status?code=204"],
    "big answer": ["/big?size=5000000"],
    "big chunked answer": ["/big?size=5000000&chunked"],
    "trailers": ["/trailers"],
    "early hints": ["/early"],
    "http/1.0": ["--http1.0", "/old"],
    "three on one connection": ["/one", "--next", "-s", "{base}/two", "--next", "-s", "{base}/three"],
    "escaped path": ["--path-as-is", "/a%20b/c?d=%2F"],
    "range": ["-r", "10-19", "/big?size=100"],
    "half an answer": ["/half"],
}


@pytest.mark.parametrize("case", CURL)
def test_curl_sees_the_same_answer_through_the_mesh(echo: tuple[Mesh, str], case: str, tmp_path: Path) -> None:
    mesh, base = echo
    curl = need("curl")
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 100_000)
    stdin = b"streamed " * 50_000

    def command(url: str) -> list[str]:
        words = [word.format(file=tmp_path / "body", base=url) for word in CURL[case]]
        words = [url + word if word.startswith("/") and not word.startswith(str(tmp_path)) else word for word in words]
        return [
            curl.path,
            "-sS",
            "-w",
            "%{http_code} %{size_download} %{num_headers}"[: -len(" %{num_headers}")],
            *words,
        ]

    without = run_direct(command(base), curl.environment, stdin=stdin)
    through = mesh.ask("curl", *command(f"http://echo:{PORT}"), environment=curl.environment, stdin=stdin)

    if case == "head":
        assert through.stdout.split(b"\r\n")[0] == without.stdout.split(b"\r\n")[0]
        assert through.returncode == without.returncode == 0
    elif case == "half an answer":
        assert without.returncode != 0
        assert through.returncode != 0, through.stdout
    else:
        same(without, through)


def test_the_application_sees_the_callers_verified_identity(echo: tuple[Mesh, str]) -> None:
    mesh, _ = echo
    curl = need("curl")

    answer = mesh.ask(
        "reader",
        curl.path,
        "-sS",
        "-H",
        "l5d-client-id: forged",
        f"http://echo:{PORT}/?id",
        environment=curl.environment,
    )

    assert json.loads(answer.stdout)["client"] == "reader.default.serviceaccount.identity.gossamer.cluster.local"


def test_node_fetch_gets_and_posts(echo: tuple[Mesh, str]) -> None:
    mesh, base = echo
    node = need("node")
    script = (
        "const u=process.argv[1];"
        "const a=await (await fetch(u+'/f')).json(); const b=await (await fetch(u+'/p',{method:'POST',body:'x'.repeat(100000)})).json();"
        "console.log(JSON.stringify([a.method,a.url,b.length,b.hash]));"
    )

    without = run_direct([node.path, "--input-type=module", "-e", script, base])
    through = mesh.ask("fetch", node.path, "--input-type=module", "-e", script, f"http://echo:{PORT}")

    same(without, through)


def test_a_name_that_does_not_exist_is_not_found(echo: tuple[Mesh, str]) -> None:
    mesh, _ = echo
    curl = need("curl")

    answer = mesh.ask("curl", curl.path, "-sS", "-m", "5", "http://nobody:8080/", environment=curl.environment)

    assert answer.returncode == 6, answer

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


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 2;
events {{ worker_connections 512; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 100m;
server {{ listen 0.0.0.0:{port}; root {folder}/www; location /put/ {{ dav_methods PUT; create_full_put_path on; }} }} }}
"""


@pytest.fixture(scope="module")
def nginx(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, str]]:
    """nginx in the mesh as `static:8081` (as root its workers change to another user), and beside it without a mesh."""
    program = need("nginx")
    bases = []
    for port in (8081, free_port()):
        folder = tmp_path_factory.mktemp("nginx")
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)
        (folder / "www" / "put").mkdir(parents=True)
        (folder / "www" / "put").chmod(0o777)
        (folder / "www" / "file").write_bytes(bytes(range(256)) * 20_000)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        bases.append(([program.path, "-p", str(folder), "-c", str(folder / "nginx.conf")], port))
    mesh.serve("static", *bases[0][0], environment=program.environment)
    with direct(bases[1][0], bases[1][1], program.environment):
        yield mesh, f"http://127.0.0.1:{bases[1][1]}"


FILES = {
    "whole": ["{base}/file"],
    "range": ["-r", "1000-1999", "{base}/file"],
    "two ranges": ["-r", "0-9,20-29", "-o", "/dev/null", "{base}/file"],
    "missing": ["{base}/nothing"],
    "upload": ["-T", "{file}", "{base}/put/copy"],
    "read back": ["{base}/put/copy"],
    "not modified": ["-z", "2099-01-01", "{base}/file"],
}


@pytest.mark.parametrize("case", FILES)
def test_nginx_serves_files_the_same(nginx: tuple[Mesh, str], case: str, tmp_path: Path) -> None:
    mesh, base = nginx
    curl = need("curl")
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 300_000)

    def command(url: str) -> list[str]:
        words = [word.format(file=tmp_path / "body", base=url) for word in FILES[case]]
        return [curl.path, "-sS", "-w", "%{http_code} %{size_download}", *words]

    without = run_direct(command(base), curl.environment)
    through = mesh.ask("curl", *command("http://static:8081"), environment=curl.environment)

    same(without, through)


def test_curl_speaks_http2_with_prior_knowledge(mesh: Mesh) -> None:
    node, curl = need("node"), need("curl")
    mesh.serve("two", node.path, str(Path(ECHO).with_name("h2.mjs")), "8082")

    words = ["-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "http://two:8082/"]
    through = mesh.ask("curl", curl.path, *words, environment=curl.environment)

    assert through.stdout == b"hello over two\n2 200", through.stderr


def test_the_hosts_loopback_is_reached_only_with_the_flag(mesh: Mesh) -> None:
    node, curl = need("node"), need("curl")
    port = free_port()
    words = ["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/"]
    with direct([node.path, ECHO, str(port)], port):
        allowed = mesh.ask("curl", curl.path, *words, environment=curl.environment, options=("--host-port", str(port)))
        refused = mesh.ask("curl", curl.path, *words, environment=curl.environment)

    assert allowed.stdout == b"200", allowed.stderr
    assert refused.returncode == 7

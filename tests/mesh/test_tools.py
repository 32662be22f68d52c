"""Servers, proxies and load tools of other people: their own counters say that nothing failed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, direct, free_port, need, run_direct
from tests.mesh.programs import TREE

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")
FILE = bytes(range(256)) * 8000
APACHE = """
ServerName x
PidFile {folder}/pid
ErrorLog {folder}/log
Listen {port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule http2_module {modules}/mod_http2.so
Protocols h2c http/1.1
DocumentRoot {folder}/www
"""
LIGHTTPD = """
server.document-root = "{folder}/www"
server.port = {port}
server.pid-file = "{folder}/pid"
server.modules = ()
"""
CADDY = '{{"admin":{{"disabled":true}},"apps":{{"http":{{"servers":{{"s":{{"listen":[":{port}"],"automatic_https":{{"disable":true}},"protocols":["h1","h2c"],"routes":[{{"handle":[{{"handler":"file_server","root":"{folder}/www"}}]}}]}}}}}}}}}}'


def command(name: str, folder: Path, port: int) -> list[str]:
    """A server of files on `port`, and its configuration in `folder`."""
    program = need(name).path
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "file").write_bytes(FILE)
    (folder / "www" / "small").write_text("small\n")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    conf = folder / "conf"
    match name:
        case "apache2":
            conf.write_text(APACHE.format(folder=folder, port=port, modules=TREE / "usr/lib/apache2/modules"))
            return [program, "-d", str(folder), "-f", str(conf), "-DFOREGROUND"]
        case "lighttpd":
            conf.write_text(LIGHTTPD.format(folder=folder, port=port))
            return [program, "-D", "-f", str(conf), "-m", str(TREE / "usr/lib/lighttpd")]
        case "caddy":
            conf.write_text(CADDY.format(folder=folder, port=port))
            return [program, "run", "--config", str(conf)]
        case "nghttpd":
            return [program, "--no-tls", "-d", str(folder / "www"), str(port)]
    raise AssertionError(name)


# Five digits, as free ports have: error pages name them.
SERVERS = {"apache2": 18201, "lighttpd": 18202, "caddy": 18203, "nghttpd": 18204}
CURL = {
    "small": ["{base}/small"],
    "whole": ["{base}/file"],
    "range": ["-r", "100-199", "{base}/file"],
    "head": ["-I", "-o", "/dev/null", "{base}/file"],
    "missing": ["-o", "/dev/null", "{base}/nothing"],
    "two": ["{base}/small", "{base}/small"],
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_of_files_is_the_same_through_the_mesh(mesh: Mesh, name: str, tmp_path: Path) -> None:
    program, curl, port = need(name), need("curl"), free_port()
    home = {"HOME": str(tmp_path)}
    versions = {"apache2": ("--http1.1", "--http2-prior-knowledge"), "nghttpd": ("--http2-prior-knowledge",)}
    words = ["-sS", "-w", "%{http_code} %{size_download} %{http_version}"]
    mesh.serve(name, *command(name, tmp_path / "mesh", SERVERS[name]), environment={**program.environment, **home})

    with direct(command(name, tmp_path / "direct", port), port, {**program.environment, **home}):
        for version in versions.get(name, ("--http1.1", "--http2-prior-knowledge")[: 1 + (name == "caddy")]):
            for case in CURL.values():
                ask = [curl.path, *words, version, *case]
                without = run_direct(
                    [each.replace("{base}", f"http://127.0.0.1:{port}") for each in ask], curl.environment
                )
                through = mesh.ask(
                    "client",
                    *(each.replace("{base}", f"http://{name}:{SERVERS[name]}") for each in ask),
                    environment=curl.environment,
                )
                assert (through.returncode, through.stdout) == (without.returncode, without.stdout), (
                    case,
                    through.stderr,
                )


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Iterator[str]:
    node = need("node")
    mesh.serve("echo", node.path, ECHO, "8080")
    mesh.serve("two", node.path, ECHO.replace("echo.mjs", "h2.mjs"), "8082")
    yield "http://echo:8080/"


LOADS = {
    "ab": (["-n", "2000", "-c", "20", "http://echo:8080/"], r"Complete requests:\s+2000\n", r"(?<!Non-2xx)Failed requests:\s+0\n"),
    "ab -k": (["-k", "-n", "3000", "-c", "20", "http://echo:8080/"], r"Complete requests:\s+3000\n", r"Failed requests:\s+0\n"),
    "hey": (["-n", "2000", "-c", "20", "http://echo:8080/"], r"\[200\]\s+2000 responses", r"(?s)^(?!.*Error distribution)"),
    "h2load": (["-n", "3000", "-c", "4", "-m", "50", "http://two:8082/"], r"3000 succeeded, 0 failed, 0 errored, 0 timeout", r""),
    "h2load --h1": (["--h1", "-n", "2000", "-c", "10", "http://echo:8080/"], r"2000 succeeded, 0 failed, 0 errored, 0 timeout", r""),
    "wrk": (["-d", "2", "-c", "20", "-t", "2", "http://echo:8080/"], r"Requests/sec:\s+[1-9]", r"(?s)^(?!.*(Non-2xx|Socket errors))"),
}  # fmt: skip


@pytest.mark.parametrize("tool", LOADS)
def test_a_load_tool_counts_no_failure(mesh: Mesh, web: str, tool: str) -> None:
    name, *options = tool.split()
    program = need(name)
    words, done, clean = LOADS[tool]

    answer = mesh.ask("load", program.path, *options, *words, environment=program.environment)

    said = answer.stdout.decode()
    assert answer.returncode == 0, answer.stderr.decode()
    assert re.search(done, said) and re.search(clean, said), said


PROXY = """
ServerName x
PidFile {folder}/pid
ErrorLog {folder}/log
Listen 3128
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule proxy_connect_module {modules}/mod_proxy_connect.so
ProxyRequests On
AllowCONNECT 8080
"""


def test_a_forward_proxy_is_a_workload_like_any_other(mesh: Mesh, web: str, tmp_path: Path) -> None:
    """Requests in absolute form, and tunnels: both go through the proxy, and from it through the mesh."""
    apache, curl = need("apache2"), need("curl")
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    conf = tmp_path / "conf"
    conf.write_text(PROXY.format(folder=tmp_path, modules=TREE / "usr/lib/apache2/modules"))
    words = ["-d", str(tmp_path), "-f", str(conf), "-DFOREGROUND"]
    mesh.serve("proxy", apache.path, *words, environment=apache.environment)

    for tunnel in ([], ["-p"]):
        words = [
            "-sS",
            "-x",
            "http://proxy:3128",
            *tunnel,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            web + "status?code=404",
        ]
        answer = mesh.ask("client", curl.path, *words, environment=curl.environment)
        assert answer.stdout == b"404", (tunnel, answer.stderr)


TLS_SERVER = """
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"own tls"; self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1], sys.argv[2])
s.socket = c.wrap_socket(s.socket, server_side=True); s.serve_forever()
"""


def test_tls_that_the_programs_speak_themselves_is_left_alone(mesh: Mesh, tmp_path: Path) -> None:
    """The client verifies the server's own certificate: nobody between them ended it."""
    curl = need("curl")
    openssl = need("openssl").path
    cert, key = str(tmp_path / "cert"), str(tmp_path / "key")
    made = run_direct(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=secure", "-addext", "subjectAltName=DNS:secure", "-keyout", key, "-out", cert]
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    mesh.serve("secure", sys.executable, "-c", TLS_SERVER, cert, key)

    words = ["-sS", "--cacert", cert, "-w", " %{http_code} %{ssl_verify_result}", "https://secure:8443/"]
    answer = mesh.ask("client", curl.path, *words, environment=curl.environment)

    assert answer.stdout == b"own tls 200 0", answer.stderr


SSE = """
import http.server, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-type", "text/event-stream"); self.send_header("transfer-encoding", "chunked"); self.end_headers()
        for n in range(20):
            line = b"data: %f\\n\\n" % time.time(); self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line)); time.sleep(0.1)
        self.wfile.write(b"0\\r\\n\\r\\n")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8090), H).serve_forever()
"""
LISTEN = """
import time, urllib.request
late = [time.time() - float(line[6:]) for line in urllib.request.urlopen("http://events:8090/") if line.startswith(b"data")]
print(len(late), sorted(late)[10] < 0.2)
"""


def test_events_arrive_as_they_happen(mesh: Mesh) -> None:
    mesh.serve("events", sys.executable, "-c", SSE)

    answer = mesh.ask("client", sys.executable, "-c", LISTEN)

    assert answer.stdout == b"20 True\n", answer.stderr.decode()


@pytest.mark.timeout(300)
def test_a_large_file_arrives_whole(mesh: Mesh, tmp_path: Path) -> None:
    """200 MB; a gigabyte with GOSSAMER_MATRIX set."""
    megabytes = 1000 if os.environ.get("GOSSAMER_MATRIX") else 200
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    with (tmp_path / "large").open("wb") as out:
        for _ in range(megabytes):
            out.write(block)
            digest.update(block)
    server = (sys.executable, "-m", "http.server", "8091", "-d", str(tmp_path))
    curl = need("curl")
    mesh.serve("files", *server)

    # A shell with a pipe is the program here.
    pipe = f"{curl.path} -sSf http://files:8091/large | sha256sum"
    answer = mesh.ask("client", "sh", "-c", pipe, environment=curl.environment, seconds=250)

    (tmp_path / "large").unlink()
    assert answer.stdout.decode().split()[0] == digest.hexdigest(), answer.stderr.decode()

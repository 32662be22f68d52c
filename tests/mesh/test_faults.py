"""Processes die, policy changes, and traffic goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.mesh import harness
from tests.mesh.harness import Mesh, eventually

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")

# Open-loop: one request each 1/RATE s on keep-alive connections, counted by outcome, until the time is over.
STEADY = r"""
import asyncio, sys, json, time, collections
host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
counts = collections.Counter(); first_bad = []
idle = []
async def one():
    try:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, port)
        writer.write(b"GET /x HTTP/1.1\r\nhost: %s\r\n\r\n" % host.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int([l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")][0].split(b":")[1])
        await asyncio.wait_for(reader.readexactly(length), 10)
        counts[head.split()[1].decode()] += 1
        if not head.startswith(b"HTTP/1.1 200"): first_bad.append(head.decode(errors="replace"))
        idle.append((reader, writer))
    except Exception as error:
        counts[type(error).__name__] += 1; first_bad.append(repr(error))
async def main():
    start = time.monotonic(); tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    print(json.dumps({"counts": counts, "bad": first_bad[:3]}))
asyncio.run(main())
"""


def steady(mesh: Mesh, service: str, rate: int, seconds: float) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", STEADY, service, "8080", str(rate), str(seconds)]
    return subprocess.Popen(mesh.command("load", tuple(arguments), ()), env=mesh.environment, stdout=subprocess.PIPE)


def outcome(load: subprocess.Popen[bytes]) -> dict[str, object]:
    text = load.communicate(timeout=120)[0]
    return dict(json.loads(text))


def controller(mesh: Mesh) -> int:
    return int(mesh.json("version")["server"]["pid"])


def sidecar(workload: harness.Workload) -> int:
    """The pid of the workload's sidecar: a child of the launcher that is not the program or the factory."""
    children = Path(f"/proc/{workload.process.pid}/task/{workload.process.pid}/children").read_text().split()
    for pid in children:
        if Path(f"/proc/{pid}/cmdline").read_bytes() == b"gossamer-proxy\0":
            return int(pid)
    raise AssertionError(f"no sidecar among {children}")


def test_the_control_plane_dies_and_traffic_does_not_notice() -> None:
    node = harness.need("node")
    with harness.mesh() as mesh:
        mesh.serve("echo", node.path, ECHO, "8080")
        load = steady(mesh, "echo", 100, 8)
        time.sleep(2)
        os.kill(controller(mesh), signal.SIGKILL)
        time.sleep(2)
        mesh.up()

        result = outcome(load)

        assert result == {"counts": {"200": 800}, "bad": []}
        eventually("the endpoint is back", lambda: mesh.ready("echo") == 1, 20)


def test_a_killed_sidecar_comes_back_with_a_certificate() -> None:
    node = harness.need("node")
    curl = harness.need("curl")
    with harness.mesh() as mesh:
        server = mesh.serve("echo", node.path, ECHO, "8080")
        os.kill(sidecar(server), signal.SIGKILL)

        def answers() -> bool:
            got = mesh.ask(
                "client",
                curl.path,
                "-sS",
                "-m",
                "3",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "http://echo:8080/",
                environment=curl.environment,
            )
            return got.stdout == b"200"

        eventually("the service answers again", answers, 10)


def test_edits_under_load_lose_no_request() -> None:
    """Ten edits a second for ten seconds here; the thousand of the release check are `GOSSAMER_EDITS=1000`."""
    node = harness.need("node")
    edits = int(os.environ.get("GOSSAMER_EDITS", "100"))
    with harness.mesh() as mesh:
        folder = mesh.folder / "rules"
        folder.mkdir()
        mesh.cli("down")
        mesh.up("--dir", str(folder))
        mesh.serve("echo", node.path, ECHO, "8080", options=("--label", "app=echo"))
        load = steady(mesh, "echo", 500 if edits >= 1000 else 200, edits / 10 + 1)
        for number in range(edits):
            time.sleep(0.1)
            (folder / "new").write_text(policy(number))
            (folder / "new").rename(folder / "policy.yaml")

        result = outcome(load)

        assert set(result["counts"]) == {"200"}, result  # type: ignore[call-overload]


def policy(number: int) -> str:
    """A Server and an authorization that admit the load, with something different each time."""
    return f"""
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: echo, namespace: default, annotations: {{edit: "{number}"}}}}
spec:
  podSelector: {{matchLabels: {{app: echo}}}}
  port: 8080
  proxyProtocol: HTTP/1
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: load-{number % 3}, namespace: default}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: echo}}
  requiredAuthenticationRefs: [{{kind: ServiceAccount, name: load}}]
"""


def test_a_syntax_error_in_one_file_never_empties_the_mesh() -> None:
    node, curl = harness.need("node"), harness.need("curl")
    with harness.mesh() as mesh:
        folder = mesh.folder / "rules"
        folder.mkdir()
        (folder / "policy.yaml").write_text(policy(0).replace("name: load}", "name: load}"))
        mesh.cli("down")
        mesh.up("--dir", str(folder))
        mesh.serve("echo", node.path, ECHO, "8080", options=("--label", "app=echo"))
        (folder / "policy.yaml").write_text("kind: Server\nspec: {port: [\n")
        time.sleep(1.5)

        def code(service: str) -> bytes:
            return mesh.ask(
                service,
                curl.path,
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "http://echo:8080/",
                environment=curl.environment,
            ).stdout

        assert (code("load"), code("stranger")) == (b"200", b"403")
        assert "policy.yaml" in mesh.cli("check", check=False).stdout


def test_a_denial_takes_effect_within_a_second() -> None:
    node, curl = harness.need("node"), harness.need("curl")
    with harness.mesh() as mesh:
        mesh.serve("echo", node.path, ECHO, "8080", options=("--label", "app=echo"))
        script = (
            "import http.client,time;c=http.client.HTTPConnection('echo',8080);c.request('GET','/');r=c.getresponse();r.read();print(r.status,flush=True)\n"
            "input();time.sleep(1);c.request('GET','/');r=c.getresponse();r.read();print(r.status,r.getheader('l5d-proxy-error'),flush=True)"
        )
        client = subprocess.Popen(
            mesh.command("reader", (sys.executable, "-c", script), ()),
            env=mesh.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert client.stdout is not None and client.stdin is not None
        assert client.stdout.readline() == b"200\n"
        mesh.apply(policy(1))
        client.stdin.write(b"\n")
        client.stdin.close()

        answer = client.stdout.read().decode()
        client.stdout.close()
        client.wait(10)

        assert answer.startswith("403 inbound: unauthorized"), answer
        assert curl


def test_ten_meshes_at_once_do_not_meet(tmp_path: Path) -> None:
    """Four here; the ten of the release check are `GOSSAMER_MESHES=10`."""
    curl = harness.need("curl")
    with contextlib.ExitStack() as stack:
        meshes = [
            stack.enter_context(harness.mesh(f"m{number}"))
            for number in range(int(os.environ.get("GOSSAMER_MESHES", "4")))
        ]
        for number, made in enumerate(meshes):
            (tmp_path / f"{number}").mkdir()
            (tmp_path / f"{number}" / "index.html").write_text(f"mesh {number}")
            made.run("web", sys.executable, "-m", "http.server", "8080", "--directory", str(tmp_path / f"{number}"))
        for number, made in enumerate(meshes):
            eventually("web is published", functools.partial(made.ready, "web"))
            got = made.ask("client", curl.path, "-sS", "http://web:8080/", environment=curl.environment)
            assert got.stdout.decode() == f"mesh {number}", got.stderr

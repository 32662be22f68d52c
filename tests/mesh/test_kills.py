"""Parts of the mesh are stopped, killed, starved and replaced: traffic goes on, or is refused; never in the clear."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import Mesh, Workload, eventually
from tests.mesh.test_faults import ECHO, controller, outcome, sidecar, steady

# A server that ends on SIGTERM only when nobody asks any more, and answers /slow after 3 s.
PATIENT = """
import http.server, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(3 if self.path == "/slow" else 0)
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve_forever()
"""


def serve(mesh: Mesh, count: int = 1) -> Workload:
    return mesh.serve("echo", harness.need("node").path, ECHO, "8080", count=count)


def children(pid: int) -> dict[int, str]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in found}


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_control_plane_that_hangs_is_not_noticed_by_traffic() -> None:
    with harness.mesh() as mesh:
        serve(mesh)
        load = steady(mesh, "echo", 100, 9)
        time.sleep(2)
        plane = controller(mesh)
        os.kill(plane, signal.SIGSTOP)
        time.sleep(5)
        os.kill(plane, signal.SIGCONT)

        assert outcome(load) == {"counts": {"200": 900}, "bad": []}
        assert mesh.ready("echo") == 1


def test_a_control_plane_that_hangs_is_said_to_and_can_be_ended() -> None:
    with harness.mesh() as mesh:
        plane = controller(mesh)
        os.kill(plane, signal.SIGSTOP)

        ended = mesh.cli("down", seconds=60)

        assert "was ended" in ended.stdout
        assert not alive(plane)


def test_a_new_destination_is_refused_while_nobody_says_who_may_be_called() -> None:
    ask = (
        "import http.client, sys\n"
        "for host in sys.stdin:\n"
        " c = http.client.HTTPConnection(host.strip(), 8080, timeout=20); c.request('GET', '/'); r = c.getresponse()\n"
        " r.read(); print(r.status, r.getheader('l5d-proxy-error'), flush=True)"
    )
    with harness.mesh() as mesh:
        serve(mesh)
        mesh.serve("other", harness.need("node").path, ECHO, "8080")
        command = mesh.command("caller", (sys.executable, "-c", ask), ())
        caller = subprocess.Popen(
            command, env=mesh.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

        def call(host: str) -> str:
            assert caller.stdin is not None and caller.stdout is not None
            caller.stdin.write(host + "\n")
            caller.stdin.flush()
            return caller.stdout.readline().strip()

        assert call("echo") == "200 None"
        plane = controller(mesh)
        os.kill(plane, signal.SIGSTOP)
        assert call("echo") == "200 None"
        assert call("other").startswith("503 control-plane: no-policy")
        os.kill(plane, signal.SIGCONT)
        eventually("the new destination answers", lambda: call("other") == "200 None", 5)
        caller.communicate(timeout=10)


@pytest.mark.parametrize("text", [b"garbage", b""])
def test_without_trust_anchors_no_program_is_started(text: bytes) -> None:
    with harness.mesh() as mesh:
        (mesh.folder / "r" / "gossamer" / "test" / "trust-anchors.pem").write_bytes(text)

        got = mesh.ask("program", sys.executable, "-c", "print('it ran')")

        assert got.returncode == 125
        assert got.stdout == b""
        assert b"was not started" in got.stderr and len(got.stderr.splitlines()) == 1


def test_a_killed_front_comes_back_and_serves_newcomers() -> None:
    with harness.mesh() as mesh:
        serve(mesh)
        plane = controller(mesh)
        front = next(iter(children(plane)))
        os.kill(front, signal.SIGKILL)
        eventually("another front runs", lambda: any(pid != front for pid in children(plane)))

        curl = harness.need("curl")
        # The server's sidecar comes back to the front at a pace of its own, and nobody has called it yet.
        words = ("-sS", "-o", "/dev/null", "-w", "%{http_code}", "--retry", "8", "http://echo:8080/")
        got = mesh.ask("late", curl.path, *words, environment=curl.environment)

        assert got.stdout == b"200", got.stderr


LEAK = """
import socket, sys, time
time.sleep(0.2)
with open(sys.argv[2], "w") as out:
    print("started", file=out, flush=True)
    for _ in range(200):
        time.sleep(0.05)
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1) as s: print("leaked", file=out, flush=True)
        except OSError: pass
        try:
            with socket.create_connection(("192.0.2.1", 80), 0.2) as s: s.sendall(b"canary"); s.recv(1); print("let out", file=out, flush=True)
        except OSError: pass
"""


@pytest.mark.parametrize("victim", ["launcher", "factory", "sidecar and launcher"])
def test_a_program_whose_keepers_are_killed_reaches_nothing(victim: str, tmp_path: Path) -> None:
    with harness.mesh() as mesh, socket.create_server(("127.0.0.1", 0)) as host:
        out = tmp_path / "out"
        program = mesh.run("leak", sys.executable, "-c", LEAK, str(host.getsockname()[1]), str(out))
        eventually("it runs", lambda: out.exists() and "started" in out.read_text())
        launcher = program.process.pid
        own = sidecar(program)
        family = children(launcher)
        killed = {
            "launcher": [launcher],
            "factory": [pid for pid in family if name(pid) == "gossamer-socket"],
            "sidecar and launcher": [own, launcher],
        }[victim]
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        time.sleep(2)

        assert out.read_text().split() == ["started"]
        if "launcher" in victim:
            eventually("its sidecar is gone", lambda: not alive(own), 5)
            assert program.process.wait(5) == -signal.SIGKILL
            for pid in family:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="limits of a process that cannot be inspected are root's to change")
def test_a_sidecar_without_descriptors_goes_on_when_there_are_some() -> None:
    with harness.mesh() as mesh:
        port = harness.free_port()
        server = mesh.serve("echo", harness.need("node").path, ECHO, str(port), options=("--publish", str(port)))
        pid = sidecar(server)
        load = steady_on(mesh, port, 50, 6)
        time.sleep(1)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, before[1]))
        held = []
        for _ in range(200):
            try:
                held.append(socket.create_connection(("127.0.0.1", port), 0.2))
            except OSError:
                break
        time.sleep(1.5)
        busy = ticks(pid)
        time.sleep(1)
        assert ticks(pid) - busy < 30, "it spins"
        for stream in held:
            stream.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

        assert outcome(load) == {"counts": {"200": 300}, "bad": []}
        with socket.create_connection(("127.0.0.1", port), 2) as stream:
            stream.settimeout(2)
            stream.sendall(b"GET / HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n\r\n")
            assert stream.recv(100).startswith(b"HTTP/1.1 200")


def ticks(pid: int) -> int:
    numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(numbers[11]) + int(numbers[12])


def steady_on(mesh: Mesh, port: int, rate: int, seconds: float) -> subprocess.Popen[bytes]:
    from tests.mesh.test_faults import STEADY

    arguments = (sys.executable, "-c", STEADY, "echo", str(port), str(rate), str(seconds))
    return subprocess.Popen(mesh.command("load", arguments, ()), env=mesh.environment, stdout=subprocess.PIPE)


def test_a_replica_killed_under_load_costs_only_what_was_in_flight() -> None:
    with harness.mesh() as mesh:
        first = serve(mesh)
        serve(mesh, 2)
        load = steady(mesh, "echo", 200, 6)
        time.sleep(2)
        for pid in (*children(first.process.pid), first.process.pid):
            # Once its program is gone, a launcher ends by itself.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        result = outcome(load)

        counts = result["counts"]
        assert isinstance(counts, dict)
        assert counts["200"] >= 1200 - 10, result


def test_replicas_replaced_one_by_one_lose_no_request() -> None:
    with harness.mesh() as mesh:
        command = (sys.executable, "-c", PATIENT)
        old = [mesh.serve("echo", *command, count=number + 1) for number in range(3)]
        load = steady(mesh, "echo", 200, 10)
        time.sleep(1)
        for workload in old:
            fresh = mesh.run("echo", *command)
            eventually("the new one is published", lambda: mesh.ready("echo") == 4)
            assert fresh.process.poll() is None
            workload.stop()

        assert outcome(load) == {"counts": {"200": 2000}, "bad": []}


def test_a_request_on_its_way_ends_well_before_its_server_does() -> None:
    curl = harness.need("curl")
    with harness.mesh() as mesh:
        server = mesh.serve("echo", sys.executable, "-c", PATIENT)
        answers = []
        ask = (curl.path, "-sS", "-m", "10", "-w", "%{http_code}", "http://echo:8080/slow")
        caller = threading.Thread(
            target=lambda: answers.append(mesh.ask("caller", *ask, environment=curl.environment).stdout)
        )
        caller.start()
        time.sleep(1.2)
        server.stop()
        caller.join(15)

        assert answers == [b"ok200"]

"""Programs that are not one process on 0.0.0.0: daemons, shells, threads, other users, Unix sockets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.mesh.harness import Mesh, eventually, need, run_direct

HANDLER = """
import http.server as h, os, signal, socket, sys, threading, time
class H(h.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"%d %s" % (os.getuid(), self.path.encode())
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
def serve(server):
    # What outlives the program that started it must not outlive the test by much.
    signal.alarm(30)
    server.serve_forever()
"""
FORKS = "for _ in range(2):\n    if os.fork(): break\n"
SERVERS = {
    "children that serve": HANDLER + "s = h.HTTPServer(('0.0.0.0', {port}), H)\n" + FORKS + "serve(s)",
    "a late start": HANDLER + "time.sleep(1); serve(h.ThreadingHTTPServer(('0.0.0.0', {port}), H))",
    "many threads": HANDLER + "[threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start() for _ in range(200)]\n"
    "serve(h.ThreadingHTTPServer(('0.0.0.0', {port}), H))",
    "a new session": HANDLER + "if os.fork(): os.wait(); sys.exit()\nos.setsid(); serve(h.ThreadingHTTPServer(('0.0.0.0', {port}), H))",
    "both families": HANDLER + "class S(h.ThreadingHTTPServer): address_family = socket.AF_INET6\nserve(S(('::', {port}), H))",
}  # fmt: skip


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_is_found_however_it_serves(mesh: Mesh, kind: str) -> None:
    curl, port = need("curl"), 8300 + list(SERVERS).index(kind)
    name = kind.replace(" ", "-")
    mesh.serve(name, sys.executable, "-c", SERVERS[kind].replace("{port}", str(port)))

    url = f"http://{name}:{port}/x"
    answer = mesh.ask("client", curl.path, "-sS", *(url for _ in range(5)), environment=curl.environment)

    assert answer.stdout == f"{os.getuid()} /x".encode() * 5, answer.stderr


def test_a_server_that_changes_its_user_serves_as_that_user(mesh: Mesh) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing the user needs root")
    curl = need("curl")
    script = (
        HANDLER
        + "s = h.HTTPServer(('0.0.0.0', 8320), H); os.setgroups([]); os.setgid(65534); os.setuid(65534); serve(s)"
    )
    mesh.serve("other", sys.executable, "-c", script)

    answer = mesh.ask("client", curl.path, "-sS", "http://other:8320/", environment=curl.environment)

    assert answer.stdout == b"65534 /", answer.stderr


def test_a_daemon_is_cut_off_when_the_program_that_started_it_ends(mesh: Mesh) -> None:
    """It lives on, as it would without a mesh, and nobody reaches it: its endpoint goes with the program."""
    script = (
        HANDLER
        + "if os.fork(): time.sleep(2); sys.exit(3)\nos.setsid(); serve(h.ThreadingHTTPServer(('0.0.0.0', 8330), H))"
    )
    workload = mesh.run("daemon", sys.executable, "-c", script)

    assert workload.process.wait(20) == 3
    eventually("its endpoint is gone", lambda: mesh.ready("daemon") == 0)


def test_a_unix_socket_is_nobodys_business_but_the_programs(mesh: Mesh) -> None:
    path = mesh.folder / "own.sock"
    script = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();c,_=s.accept();c.sendall(c.recv(9)[::-1])"
    mesh.run("unix", sys.executable, "-c", script, str(path))
    eventually("it listens", path.exists)
    ask = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.sendall(b'abc');print(s.recv(9))"

    answer = mesh.ask("client", sys.executable, "-c", ask, str(path))

    assert answer.stdout == b"b'cba'\n", answer.stderr


SHELL = """
set -e
a=$(mktemp -d); cd "$a"
printf 'b\\na\\n' | sort | tee sorted | wc -l
(sleep 0.1; echo background) & wait $!
echo $0 "$@"; test -t 0 || echo no-terminal
cat /proc/self/status | grep -c Cap
nohup sh -c 'echo nohup' 2>/dev/null
trap 'echo trapped; exit 9' USR1; kill -USR1 $$
"""


def test_a_shell_script_does_what_it_does_without_a_mesh(mesh: Mesh) -> None:
    command = ["sh", "-c", SHELL, "name", "a b", "*"]

    without, through = run_direct(command), mesh.ask("shell", *command)

    assert (through.returncode, through.stdout) == (without.returncode, without.stdout), through.stderr
    assert without.returncode == 9


def test_a_program_reads_the_same_environment_folder_and_limits(mesh: Mesh) -> None:
    script = (
        "import os,resource,signal,json;"
        "own={k:v for k,v in os.environ.items() if k not in ('LC_CTYPE',)};"
        "print(json.dumps([own,os.getcwd(),os.getuid(),os.getgid(),os.getgroups(),os.umask(0),os.getpriority(os.PRIO_PROCESS,0),"
        "[resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE,resource.RLIMIT_CORE,resource.RLIMIT_STACK)],"
        "sorted(int(s) for s in range(1,32) if signal.getsignal(s)==signal.SIG_IGN),sorted(int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK,[])),"
        "sorted(os.listdir('/proc/self/fd'))]))"
    )
    command = [sys.executable, "-c", script]

    without = subprocess.run(command, env=mesh.environment, input=b"", capture_output=True, check=True)
    through = mesh.ask("same", *command)

    assert through.stdout == without.stdout, through.stderr


LAZY = """
import socket, threading, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 8340)); s.listen(8)
time.sleep(1)
def answer(c):
    c.recv(4096); c.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\nok"); c.close()
while True:
    threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
"""
CROWD = """
import collections, concurrent.futures as f, urllib.error, urllib.request
def ask(_):
    try: return urllib.request.urlopen("http://lazy:8340/", timeout=30).status
    except urllib.error.HTTPError as error: return error.code
print(*collections.Counter(f.ThreadPoolExecutor(40).map(ask, range(40))).items())
"""


def test_a_crowd_at_a_program_that_is_slow_to_accept_waits_as_without_a_mesh(mesh: Mesh) -> None:
    """Its queue holds nine; the kernel tries again after a second where there was no room."""
    mesh.serve("lazy", sys.executable, "-c", LAZY)

    answer = mesh.ask("crowd", sys.executable, "-c", CROWD)

    assert answer.stdout == b"(200, 40)\n", answer.stderr

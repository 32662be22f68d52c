"""Programs that speak their own protocols over TCP: databases, pipelines, servers that speak first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.mesh.harness import Mesh, need, run_direct

# nobody's uid when the tests run as root: PostgreSQL refuses to be root.
NOBODY = 65534

GREETER = """
import socket, threading
def greet(c):
    c.sendall(b"220 ready\\r\\n")
    for line in c.makefile("rb"):
        c.sendall(b"250 " + line)
    c.sendall(b"221 bye\\r\\n")
    c.close()
s = socket.create_server(("0.0.0.0", 2525))
while True:
    threading.Thread(target=greet, args=(s.accept()[0],), daemon=True).start()
"""

TALKER = """
import socket, time
t = time.monotonic()
c = socket.create_connection(("greeter", 2525), 10)
first = c.recv(100)
took = time.monotonic() - t
c.sendall(b"HELO\\r\\n" * 3)
c.shutdown(socket.SHUT_WR)
rest = b""
while part := c.recv(4096):
    rest += part
print(first, rest, took < 1)
"""


def test_a_server_that_speaks_first_is_not_made_to_wait(mesh: Mesh) -> None:
    mesh.serve("greeter", sys.executable, "-c", GREETER, options=("--opaque-port", "2525"))

    answer = mesh.ask("talker", sys.executable, "-c", TALKER)

    expected = (b"220 ready\r\n", b"250 HELO\r\n" * 3 + b"221 bye\r\n", True)
    assert answer.stdout.decode().strip() == " ".join(str(each) for each in expected), answer.stderr.decode()


def test_redis_answers_a_pipeline_of_ten_thousand_commands(mesh: Mesh) -> None:
    server, client = need("redis-server"), need("redis-cli")
    mesh.serve(
        "redis", server.path, "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
        environment=server.environment, options=("--opaque-port", "6379"),
    )  # fmt: skip
    commands = b"".join(b"SET key%d value%d\r\nGET key%d\r\n" % (number, number, number) for number in range(5000))

    answer = mesh.ask("client", client.path, "-h", "redis", environment=client.environment, stdin=commands)

    lines = answer.stdout.split(b"\n")
    assert lines[:10000] == [word for number in range(5000) for word in (b"OK", b"value%d" % number)]


def postgres_command(data: Path) -> list[str]:
    command = [
        need("postgres").path,
        "-D",
        str(data),
        "-c",
        "listen_addresses=0.0.0.0",
        "-c",
        f"unix_socket_directories={data}",
    ]
    return (
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        if os.geteuid() == 0
        else command
    )


def make_database(mesh: Mesh) -> Path:
    """An empty cluster with trust for everyone: authentication is the mesh's business here."""
    data = mesh.folder / "pg"
    data.mkdir(mode=0o700)
    postgres = need("postgres")
    initdb = [str(Path(postgres.path).parent / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
    if os.geteuid() == 0:
        mesh.folder.chmod(0o711)
        os.chown(data, NOBODY, NOBODY)
        initdb = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *initdb]
    made = run_direct(initdb, postgres.environment)
    assert made.returncode == 0, made.stderr.decode()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 trust\n")
    return data


def test_psql_talks_to_postgresql(mesh: Mesh) -> None:
    psql, postgres = need("psql"), need("postgres")
    mesh.serve(
        "db",
        *postgres_command(make_database(mesh)),
        environment=postgres.environment,
        options=("--opaque-port", "5432"),
    )
    sql = "create table t as select n, md5(n::text) h from generate_series(1, 20000) n; select count(*), sum(n), max(h) from t;"

    answer = mesh.ask("client", psql.path, "-h", "db", "-U", "postgres", "-Atc", sql, environment=psql.environment)

    assert answer.stdout.decode().splitlines()[-1].startswith("20000|200010000|"), answer.stderr.decode()


def test_a_program_that_listens_on_loopback_only_is_found(mesh: Mesh) -> None:
    script = "import http.server as h; h.ThreadingHTTPServer(('127.0.0.1', 8099), h.SimpleHTTPRequestHandler).serve_forever()"
    mesh.serve("local", sys.executable, "-c", script)
    curl = need("curl")

    answer = mesh.ask(
        "client",
        curl.path,
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://local:8099/",
        environment=curl.environment,
    )

    assert answer.stdout == b"200", answer.stderr


def test_udp_that_is_not_dns_is_refused_at_once(mesh: Mesh) -> None:
    script = (
        "import socket,time;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(5);s.connect(('192.0.2.1',443));t=time.monotonic();"
        "\ntry:\n s.send(b'x');s.recv(1)\nexcept OSError as e: print(type(e).__name__, time.monotonic()-t<1)"
    )

    answer = mesh.ask("client", sys.executable, "-c", script)

    assert answer.stdout.decode().split()[-1] == "True", answer
    assert b"TimeoutError" not in answer.stdout


def test_exit_code_signal_and_streams_are_the_programs_own(mesh: Mesh) -> None:
    shell = mesh.ask("sh", "sh", "-c", "cat; echo to-stderr >&2; pwd; id -u; exit 37", stdin=b"stdin\n")
    killed = mesh.ask("sh", "sh", "-c", "kill -TERM $$")

    own = subprocess.run(["id", "-u"], capture_output=True, check=True).stdout
    assert shell.stdout == b"stdin\n" + str(Path.cwd()).encode() + b"\n" + own
    assert shell.stderr.endswith(b"to-stderr\n")
    assert shell.returncode == 37
    assert killed.returncode == -15

"""Servers with protocols of their own, each asked by a client of others: databases, queues, mail, shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.harness import Mesh, need, run_direct

NOBODY = 65534


def python(mesh: Mesh, script: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """A client written with one of the libraries beside the tests."""
    return mesh.ask("client", need("python stacks").path, "-c", script, **options)  # type: ignore[arg-type]


def as_nobody(command: list[str]) -> list[str]:
    """What refuses to be root, or drops to a user of its own, as nobody when we are root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


MEMCACHED = """
from pymemcache.client.base import Client
c = Client(("cache", 11211), timeout=20)
c.set_many({f"k{n}": str(n) * 50 for n in range(2000)}, noreply=True)
got = c.get_many([f"k{n}" for n in range(2000)])
c.set("large", b"x" * 900_000)
print(len(got), got["k7"].decode() == "7" * 50, len(c.get("large")), c.set("n", "41") and c.incr("n", 1))
"""


def test_memcached_keeps_what_it_is_given(mesh: Mesh) -> None:
    server = need("memcached")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    mesh.serve("cache", server.path, "-l", "0.0.0.0", "-p", "11211", *user, environment=server.environment)

    answer = python(mesh, MEMCACHED)

    assert answer.stdout == b"2000 True 900000 42\n", answer.stderr.decode()[-1000:]


MQTT = """
import threading, paho.mqtt.client as m
from paho.mqtt.enums import CallbackAPIVersion as V
heard, done = [], threading.Event()
def on_message(c, _, message):
    heard.append(len(message.payload))
    if len(heard) == 300: done.set()
listener = m.Client(V.VERSION2, "listener"); listener.on_message = on_message
ready = threading.Event(); listener.on_subscribe = lambda *_: ready.set()
listener.connect("broker", 1883); listener.subscribe("a/#", 2); listener.loop_start()
assert ready.wait(20)
speaker = m.Client(V.VERSION2, "speaker"); speaker.connect("broker", 1883); speaker.loop_start()
for n in range(300): speaker.publish(f"a/{n}", b"x" * n * 10, 2)
print(done.wait(40), sum(heard))
"""


def test_an_mqtt_broker_delivers_every_message_once(mesh: Mesh, tmp_path: Path) -> None:
    server = need("mosquitto")
    conf = mesh.folder / "mosquitto.conf"
    conf.write_text("listener 1883 0.0.0.0\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n")
    mesh.serve("broker", server.path, "-c", str(conf), environment=server.environment)

    answer = python(mesh, MQTT)

    assert answer.stdout == b"True %d\n" % sum(number * 10 for number in range(300)), answer.stderr.decode()[-1000:]


NATS = """
import asyncio, nats
async def main():
    c = await nats.connect("nats://bus:4222", connect_timeout=20)
    async def reply(m): await m.respond(m.data[::-1])
    await c.subscribe("echo", cb=reply)
    got = [(await c.request("echo", b"abc%d" % n, timeout=20)).data for n in range(200)]
    print(len(got), got[-1].decode()); await c.close()
asyncio.run(main())
"""


def test_nats_answers_requests(mesh: Mesh) -> None:
    server = need("nats-server")
    mesh.serve(
        "bus", server.path, "-a", "0.0.0.0", "-p", "4222",
        environment=server.environment, options=("--opaque-port", "4222"),
    )  # fmt: skip

    answer = python(mesh, NATS)

    assert answer.stdout == b"200 991cba\n", answer.stderr.decode()[-1000:]


MAIL = """
import smtplib, time
t = time.monotonic(); s = smtplib.SMTP("mail", 2525, timeout=20); first = time.monotonic() - t
for n in range(20): s.sendmail("a@x", ["b@x"], "Subject: s\\r\\n\\r\\n" + "line\\r\\n" * 2000)
print(s.noop()[0], s.quit()[0], first < 2)
"""
MAIL_SERVER = """
import asyncio, logging, sys
from aiosmtpd.controller import Controller
class Handler:
    async def handle_DATA(self, server, session, envelope): return "250 %d" % len(envelope.content)
controller = Controller(Handler(), hostname="0.0.0.0", port=2525); controller.start()
asyncio.new_event_loop().run_forever()
"""


def test_mail_is_taken_by_a_server_that_greets_first(mesh: Mesh) -> None:
    mesh.serve("mail", need("python stacks").path, "-c", MAIL_SERVER, options=("--opaque-port", "2525"))

    answer = python(mesh, MAIL)

    assert answer.stdout == b"250 221 True\n", answer.stderr.decode()[-1000:]


def database(mesh: Mesh) -> list[str]:
    """An empty MariaDB without grant tables: authentication is the mesh's business here."""
    server = need("mariadbd")
    tree = Path(server.path).parents[2]
    data = mesh.folder / "maria"
    data.mkdir(mode=0o700)
    mesh.folder.chmod(0o711)
    common = [
        server.path, "--no-defaults", f"--datadir={data}", f"--lc-messages-dir={tree}/usr/share/mysql",
        f"--socket={data}/s", f"--pid-file={data}/pid", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M",
        "--skip-networking=0", "--bind-address=0.0.0.0", "--port=3306", "--skip-grant-tables", f"--plugin-dir={data}",
    ]  # fmt: skip
    if os.geteuid() == 0:
        os.chown(data, NOBODY, NOBODY)
    boot = run_direct(as_nobody([*common, "--bootstrap"]), server.environment, stdin=b"create database mysql;\n")
    assert boot.returncode == 0, boot.stderr.decode()[-2000:]
    return as_nobody(common)


MARIA = """
import pymysql, time
t = time.monotonic(); c = pymysql.connect(host="maria", user="root", connect_timeout=20); took = time.monotonic() - t
q = c.cursor(); q.execute("create database if not exists d"); q.execute("create table d.t (n int, h text)")
q.executemany("insert into d.t values (%s, %s)", [(n, "h" * 100) for n in range(5000)]); c.commit()
q.execute("select count(*), sum(n), sum(length(h)) from d.t"); print(*q.fetchone(), took < 2)
"""


@pytest.mark.timeout(120)
def test_mariadb_is_asked_by_its_own_client_and_by_pymysql(mesh: Mesh) -> None:
    server, client = need("mariadbd"), need("mariadb")
    mesh.serve("maria", *database(mesh), environment=server.environment, options=("--opaque-port", "3306"))

    library = python(mesh, MARIA)
    own = mesh.ask(
        "client", client.path, "--no-defaults", "--skip-ssl", "-h", "maria", "-u", "root", "-Ne", "select sum(n) from d.t",
        environment=client.environment,
    )  # fmt: skip

    assert library.stdout == b"5000 12497500 500000 True\n", library.stderr.decode()[-1000:]
    assert own.stdout == b"12497500\n", own.stderr.decode()[-1000:]


@pytest.mark.timeout(120)
def test_a_shell_on_another_workload(mesh: Mesh) -> None:
    """OpenSSH end to end inside the mesh: its own keys, a command with input, output and exit code, a copied file."""
    server, client = need("sshd"), need("ssh")
    tree = Path(server.path).parents[2]
    folder = mesh.folder / "ssh"
    folder.mkdir(mode=0o755)
    keygen = str(tree / "usr/bin/ssh-keygen")
    for key in ("host", "user"):
        made = run_direct([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], client.environment)
        assert made.returncode == 0, made.stderr
    shutil.copy(folder / "user.pub", folder / "authorized")
    conf = folder / "sshd_config"
    conf.write_text(
        f"Port 2222\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        f"PidFile {folder}/pid\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
        pytest.skip("sshd as root wants /run/sshd, which only an installed one has")
    mesh.serve("shell", server.path, "-D", "-e", "-f", str(conf), environment=server.environment, options=("--opaque-port", "2222"))  # fmt: skip
    name = run_direct(["id", "-un"]).stdout.decode().strip()
    options = [
        "-F",
        "none",
        "-i",
        str(folder / "user"),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]
    body = os.urandom(3_000_000)

    answer = mesh.ask(
        "client", client.path, *options, "-p", "2222", f"{name}@shell", "wc -c; exit 7",
        environment=client.environment, stdin=body,
    )  # fmt: skip

    assert (answer.returncode, answer.stdout.split()) == (7, [b"3000000"]), answer.stderr.decode()[-2000:]


def test_netcat_closes_one_half_and_reads_the_other(mesh: Mesh) -> None:
    nc, socat = need("nc"), need("socat")
    mesh.serve(
        "upper", socat.path, "TCP-LISTEN:7000,reuseaddr,fork", "SYSTEM:tr a-z A-Z", environment=socat.environment
    )

    answer = mesh.ask(
        "client", nc.path, "-N", "upper", "7000", environment=nc.environment, stdin=b"shout this\n" * 5000
    )

    assert answer.stdout == b"SHOUT THIS\n" * 5000, answer.stderr


def test_a_program_on_ipv6_loopback_only_is_found(mesh: Mesh) -> None:
    curl = need("curl")
    script = (
        "import http.server as h,socket\nclass S(h.ThreadingHTTPServer): address_family=socket.AF_INET6\n"
        "S(('::1', 8097), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    mesh.serve("six", sys.executable, "-c", script)

    answer = mesh.ask("client", curl.path, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://six:8097/", environment=curl.environment)  # fmt: skip

    assert answer.stdout == b"200", answer.stderr

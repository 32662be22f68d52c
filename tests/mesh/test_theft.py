"""A meshed program must not be able to rob the mesh (seams §9): every attempt fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.mesh.harness import Mesh

FIND = r"""
import os, stat, sys
state, runtime = sys.argv[1:3]
found = []
roots = [f"/proc/{pid}/root{top}" for pid in os.listdir("/proc") if pid.isdigit() for top in (state, runtime)]
for top in (state, runtime, "/run", "/proc/self/fd", *roots):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            try:
                kind = os.stat(path).st_mode
                if stat.S_ISSOCK(kind) and (state in path or runtime in path):
                    found.append(path)
                if stat.S_ISREG(kind) and os.path.getsize(path) < 1 << 20:
                    with open(path, "rb") as file: text = file.read()
                    if b"PRIVATE KEY" in text and (state in path or runtime in path):
                        found.append(path)
            except OSError:
                pass
print("found", found)
"""

MEMORY = r"""
import os, sys
def name(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file: return file.read().split("\0")[0]
    except OSError: return ""
read = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    if os.path.basename(sys.argv[1]) in name(pid) and int(pid) != os.getpid():
        for what in ("mem", "environ", "fd"):
            try:
                path = f"/proc/{pid}/{what}"
                if what == "fd":
                    [os.readlink(f"{path}/{number}") for number in os.listdir(path)]
                else:
                    with open(path, "rb") as file: file.read(1)
                read.append((pid, what))
            except OSError:
                pass
print("read", read)
"""

SOCKETS = r"""
import os, socket, sys
opened = []
for folder in sys.argv[1:]:
    for name in ("admin.sock", "agent.sock", "control.sock"):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(os.path.join(folder, name))
            s.settimeout(2)
            s.sendall(b"token\n")
            if s.recv(10): opened.append(name)
        except OSError:
            pass
print("opened", opened)
"""


def runtime(mesh: Mesh) -> str:
    return str(mesh.folder / "r" / "gossamer" / mesh.name)


def state(mesh: Mesh) -> str:
    return str(mesh.folder / "s" / "gossamer" / mesh.name)


def test_no_key_token_or_socket_of_the_mesh_can_be_found(mesh: Mesh) -> None:
    answer = mesh.ask("thief", sys.executable, "-c", FIND, state(mesh), runtime(mesh))

    assert answer.stdout.decode().strip() == "found []", answer.stderr.decode()


def test_a_siblings_memory_and_environment_cannot_be_read(mesh: Mesh) -> None:
    sibling = mesh.serve("sibling", sys.executable, "-m", "http.server", "8080")

    sidecar = Path(f"/proc/{sibling.process.pid}/cmdline").read_bytes().split(b"\0")[0].decode()

    answer = mesh.ask("thief", sys.executable, "-c", MEMORY, sidecar)

    assert answer.stdout.decode().strip() == "read []", answer.stderr.decode()


def test_the_meshs_sockets_cannot_be_used(mesh: Mesh) -> None:
    through_root = f"/proc/{os.getpid()}/root{runtime(mesh)}"

    answer = mesh.ask("thief", sys.executable, "-c", SOCKETS, runtime(mesh), through_root)

    assert answer.stdout.decode().strip() == "opened []", answer.stderr.decode()


def test_the_programs_descriptors_are_only_its_own(mesh: Mesh) -> None:
    answer = mesh.ask(
        "thief", sys.executable, "-c", "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd'))[:4])"
    )

    assert answer.stdout.decode().strip() == "[0, 1, 2, 3]", answer.stderr.decode()  # 3 is the listing itself


def test_capture_cannot_be_undone_from_inside(mesh: Mesh) -> None:
    script = (
        "import socket,ctypes,os;"
        "libc=ctypes.CDLL(None,use_errno=True);"
        "r=[]\n"
        "try:\n s=socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,12); s.bind((0,0)); s.settimeout(1)\n"
        " import struct\n b=struct.pack('>BBH',0,0,10)\n"
        " m=lambda t,f,q,d: struct.pack('IHHII',16+len(d),t,f,q,0)+d\n"
        " s.send(m(0x10,1,1,b)+m((10<<8)|2,5,2,struct.pack('BBH',0,0,0))+m(0x11,1,3,b))\n"
        " d=s.recv(4096); r.append(struct.unpack('i',d[16:20])[0])\n"
        "except OSError as e: r.append(-e.errno)\n"
        "print(all(x<0 for x in r), libc.umount2(b'/tmp',2))"
    )

    answer = mesh.ask("thief", sys.executable, "-c", script)

    assert answer.stdout.decode().split()[0] == "True", answer


def test_a_run_inside_a_run_is_refused_in_one_line(mesh: Mesh) -> None:
    answer = mesh.ask(
        "outer",
        str(Path(sys.executable).parent / "gossamer"),
        "run",
        "--service",
        "inner",
        "--",
        "true",
        environment=mesh.environment,
    )

    lines = answer.stderr.decode().strip().splitlines()
    assert answer.returncode not in (0, -11)
    assert len(lines) == 1, lines

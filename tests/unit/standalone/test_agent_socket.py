from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.model.service import SERVICE
from gossamer.model.workload import WORKLOAD
from gossamer.standalone.agent_socket import AgentSocket, Facts
from gossamer.standalone.desk import LocalDesk
from tests.unit.standalone.parts import MESH, World

REGISTER = "register " + json.dumps(
    {
        "namespace": "default",
        "service": "web",
        "service_account": "web",
        "labels": {},
        "replica": None,
        "ports": [{"name": "http", "port": 80, "target": 8080, "opaque": False}],
        "opaque_ports": [],
        "publish": [],
        "host_ports": [],
        "ready_url": None,
        "pid": 1,
    }
)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.settled = 0
        self.path = folder / "agent.sock"
        facts = Facts(folder / "anchors.pem", "127.64.9.9:8443", folder, folder / "state")
        desk = LocalDesk(self.world.registry, self.world.tokens, MESH, self.world.clock, self._settle)
        self.agent = AgentSocket(desk, facts, self.world.clock)

    async def _settle(self) -> None:
        self.settled += 1

    async def dial(self) -> Line:
        return Line(*await asyncio.open_unix_connection(self.path))

    @property
    def ready(self) -> list[bool]:
        return [one.ready for one in self.world.mesh.of(WORKLOAD)]


class Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: str | bytes) -> str:
        self.writer.write((line.encode() if isinstance(line, str) else line) + b"\n")
        return (await self.reader.readline()).decode().rstrip("\n")

    async def close(self) -> None:
        self.writer.close()
        await asyncio.sleep(0.02)


def play(folder: Path, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene(folder)
        await scene.agent.serve(scene.path)
        try:
            await act(scene)
        finally:
            scene.agent.close()
            await asyncio.sleep(0.02)

    asyncio.run(run())


async def registered(line: Line) -> dict[str, Any]:
    verb, _, answer = (await line.ask(REGISTER)).partition(" ")
    assert verb == "ok"
    found: dict[str, Any] = json.loads(answer)
    return found


def test_a_whole_life(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        answer = await registered(line)
        assert set(answer) == {
            "workload", "namespace", "identity", "address", "inbound_port", "token", "session", "trust_anchors_file",
            "control_address", "control_name", "advertised", "policy_workload", "context_token", "cluster_networks",
            "log_file", "runtime_dir", "state_dir", "admin_socket", "default_policy",
        }  # fmt: skip
        assert json.loads(answer["policy_workload"]) == {"ns": "default", "pod": answer["workload"]}
        assert json.loads(answer["context_token"])["nodeName"] == "node-1"
        assert answer["cluster_networks"] == ["127.64.0.0/10", "198.19.0.0/16"]
        scene.world.tokens.redeem(answer["token"].encode(), answer["identity"], scene.world.now)
        verb, _, token = (await line.ask("token")).partition(" ")
        assert verb == "ok"
        scene.world.tokens.redeem(token.encode(), answer["identity"], scene.world.now)
        assert scene.ready == [False]
        assert await line.ask("listening 8080,9090") == "ok"
        assert scene.ready == [True]
        assert await line.ask("withdraw") == "ok"
        assert scene.settled == 1
        assert scene.ready == [False]
        Path(answer["admin_socket"]).touch()  # noqa: ASYNC240
        assert await line.ask("bye") == "ok"
        assert not Path(answer["admin_socket"]).exists()  # noqa: ASYNC240
        assert await line.reader.read() == b""
        assert scene.world.mesh.held == {}
        await line.close()

    play(tmp_path, act)


def test_the_open_connection_is_the_lease(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        session = (await registered(line))["session"]
        await line.ask("listening 8080")
        await line.close()
        assert scene.ready == [False]
        assert scene.world.mesh.of(SERVICE)
        again = await scene.dial()
        assert await again.ask(f"resume {session}") == "ok"
        await again.ask("listening 8080")
        assert scene.ready == [True]
        await again.close()

    play(tmp_path, act)


def test_a_control_plane_that_ends_leaves_endpoints_as_they_are(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        session = (await registered(line))["session"]
        await line.ask("listening 8080")
        scene.agent.close()
        await asyncio.sleep(0.02)
        assert scene.ready == [True]
        scene.world.restart()
        assert scene.ready == [True]
        scene.world.registry.resume(session, 1)
        await line.close()

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("token", "error register or resume first"),
        ("nonsense", "error register or resume first"),
        ("register {", "error the registration is not JSON"),
        ("register []", "error the registration is not a JSON object"),
        ('register {"service": "w", "namespace": "A\\u001b"}', "error --namespace A\\x1b: use"),
        ("resume guessed", "error the session is unknown"),
        (b"\xff\xfe", "error not UTF-8"),
        ("register " + "[" * 60_000, "error the registration is not JSON"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_and_hung_up_on(tmp_path: Path, line: str | bytes, answer: str) -> None:
    async def act(scene: Scene) -> None:
        connection = await scene.dial()
        said = await connection.ask(line)
        assert said.startswith(answer.rstrip())
        assert await connection.reader.read() == b""
        await connection.close()
        assert scene.world.mesh.held == {}

    play(tmp_path, act)


def test_a_registered_launcher_may_make_a_mistake(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        await registered(line)
        assert (await line.ask("dance")).startswith("error unknown request")
        assert (await line.ask("listening x")).startswith("error listening")
        assert (await line.ask("listening 70000")).startswith("error listening")
        assert await line.ask("listening 8080") == "ok"
        await line.close()

    play(tmp_path, act)


def test_a_line_without_end_is_hung_up_on(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        line.writer.write(b"register " + b"x" * 100_000)
        assert await line.reader.read() == b""
        await line.close()

    play(tmp_path, act)


def test_tokens_are_not_for_hoarding(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        await registered(line)
        answers = [await line.ask("token") for _ in range(40)]
        assert sum(one.startswith("ok ") for one in answers) == 30
        assert answers[-1].startswith("error too many join tokens")
        await line.close()

    play(tmp_path, act)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1)")
def test_a_meshed_program_is_refused(tmp_path: Path) -> None:
    """The same user in namespaces of its own, as `run` makes them."""
    code = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b'\\n')\n"
        "print(s.makefile().readline().strip())\n"
    )

    def program(line: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", code]
        return subprocess.run(
            [*command, str(tmp_path / "agent.sock"), line], capture_output=True, text=True, check=False, timeout=20
        )

    async def act(scene: Scene) -> None:
        line = await scene.dial()
        session = (await registered(line))["session"]
        for request in (REGISTER, f"resume {session}"):
            done = await asyncio.to_thread(program, request)
            if "unshare" in done.stderr:
                pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
            assert done.stdout.strip() == (
                "error this program runs in a mesh or container of its own and may not register others"
            )
        await line.close()

    play(tmp_path, act)

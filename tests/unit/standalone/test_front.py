from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gossamer.kit.peer import Credentials
from gossamer.ports import Unavailable
from gossamer.standalone.front import Front

PROGRAM = """
import os, socket, sys, time
pair = socket.socket(fileno=int(os.environ["GOSSAMER_PROXY_LAUNCHER_FD"]))
pair.sendall(b"token\\n")
token = pair.recv(100).decode().strip()
print(token, sorted(os.environ), flush=True)
pair.sendall(b"ready\\n")
if sys.argv[1] == "die":
    time.sleep(0.05)
    sys.exit(3)
pair.recv(1)  # the end of the control plane
print("orphaned", flush=True)
"""


def front(tmp_path: Path, how: str) -> Front:
    counter = iter(range(1, 1000))
    return Front(
        [sys.executable, "-c", PROGRAM, how],
        {"SETTING": "1"},
        tmp_path / "front.log",
        lambda: f"t{next(counter)}",
        lambda: 0.0,
    )


def test_the_front_gets_a_token_and_nothing_of_our_environment(tmp_path: Path) -> None:
    async def scene() -> None:
        subject = front(tmp_path, "stay")
        task = asyncio.create_task(subject.run())
        await asyncio.wait_for(subject.ready.wait(), 20)
        log = (tmp_path / "front.log").read_text()
        assert log.startswith("token t1 ")
        assert "SETTING" in log
        assert "PATH" not in log
        child = subject._process
        assert child is not None
        assert subject.admit(Credentials(child.pid, os.getuid(), os.getgid())) is None
        assert subject.admit(Credentials(os.getpid(), os.getuid(), os.getgid())) is not None
        assert subject.admit(Credentials(1, 0, 0)) is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert child.returncode is not None

    asyncio.run(scene())


def test_a_front_that_dies_is_started_again_with_a_fresh_token(tmp_path: Path) -> None:
    async def scene() -> None:
        subject = front(tmp_path, "die")
        task = asyncio.create_task(subject.run())
        while subject.starts < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        log = (tmp_path / "front.log").read_text()
        assert "token t1 " in log
        assert "token t2 " in log

    asyncio.run(scene())


def test_a_front_that_cannot_be_started_fails_in_one_line(tmp_path: Path) -> None:
    subject = Front(["/no/such/program"], {}, tmp_path / "log", lambda: "", lambda: 0.0)
    with pytest.raises(Unavailable, match="/no/such/program: No such file"):
        asyncio.run(subject.run())

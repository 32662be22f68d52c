"""What a launcher asks for while nothing can be stored: a new one is told to come later, one that runs is not refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gossamer.ports import Unavailable, Write
from gossamer.standalone import agent_socket
from gossamer.testing.store import MemoryStore
from tests.unit.standalone.test_agent_socket import REGISTER, Scene, play


def away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: MemoryStore, writes: Sequence[Write]) -> None:
        raise Unavailable("the store is\naway")

    monkeypatch.setattr(MemoryStore, "commit", refuse)


def test_a_program_that_cannot_be_stored_is_told_to_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(scene: Scene) -> None:
        line = await scene.dial()
        with monkeypatch.context() as patch:
            away(scene, patch)
            assert await line.ask(REGISTER) == "later the store is away"
            assert await line.reader.read() == b"", "and the connection is closed"
        again = await scene.dial()
        assert (await again.ask(REGISTER)).startswith("ok {")
        await line.close()
        await again.close()

    play(tmp_path, act)


def test_a_program_that_runs_is_answered_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_socket, "LATER", 0.01)

    async def act(scene: Scene) -> None:
        line = await scene.dial()
        assert json.loads((await line.ask(REGISTER)).removeprefix("ok "))["session"]
        with monkeypatch.context() as patch:
            away(scene, patch)
            asked = asyncio.create_task(line.ask("listening 8080"))
            await asyncio.sleep(0.1)
            assert not asked.done()
            assert scene.ready == [False]
        assert await asyncio.wait_for(asked, 5) == "ok"
        assert scene.ready == [True]
        await line.close()

    play(tmp_path, act)

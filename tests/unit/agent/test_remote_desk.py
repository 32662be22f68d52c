from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from gossamer.agent.membership import Membership
from gossamer.agent.remote_desk import Held, RemoteDesk
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.machine import Running
from gossamer.model.names import local
from gossamer.pb.v1 import machines_pb2 as pb
from gossamer.ports import Unavailable
from gossamer.standalone.registration import Refused

WEB = local("default", "web-0")


class Far:
    """A control plane that answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.refusals: list[Status] = []
        self.denied = ""
        membership = Membership("vm", ("10.9.0.1:8443",), "control", "me", "cluster.local", "session", "127.0.0.1")
        self.desk = RemoteDesk(self.call, membership, lambda: "127.0.0.1", lambda: self.denied)

    async def call(self, method: str, request: Message, response: type[Any]) -> Any:
        self.asked.append((method.rpartition("/")[2], request))
        if self.refusals:
            raise self.refusals.pop(0)
        match response.__name__:
            case "RegisterResponse":
                return response(answer=json.dumps({"namespace": "default", "workload": "web-0"}))
            case "ResumeResponse":
                return response(workload=pb.Running(namespace="default", name="web-0", listening=[8080]))
            case _:
                return response(**({"token": "t"} if "token" in response.DESCRIPTOR.fields_by_name else {}))


def run(act: Callable[[Far], Awaitable[None]]) -> None:
    async def whole() -> None:
        await act(Far())

    asyncio.run(whole())


def test_a_place_that_is_taken_is_replaced_by_another() -> None:
    async def act(far: Far) -> None:
        far.refusals = [Status(Code.ALREADY_EXISTS), Status(Code.ALREADY_EXISTS)]
        held, answer = await far.desk.register({"service": "web"}, 7)
        assert held == Held(WEB)
        offers = [(asked.address, asked.advertised) for _, asked in far.asked]
        assert len(set(offers)) == 3
        assert answer["listen"] == "0.0.0.0:" + offers[-1][1].rpartition(":")[2]
        assert far.desk.telling() == {WEB: Running()}

    run(act)


def test_what_listens_is_told_with_the_next_beat() -> None:
    async def act(far: Far) -> None:
        held, _ = await far.desk.register({}, 7)
        await far.desk.listening(held, (8081, 8080, 8080))
        assert far.desk.news.is_set()
        assert far.desk.telling() == {WEB: Running((8080, 8081))}

    run(act)


def test_a_withdrawal_is_done_when_a_beat_that_tells_of_it_has_ended() -> None:
    async def act(far: Far) -> None:
        held = await far.desk.resume("secret", 7)
        under_way = far.desk.telling()
        withdrawing = asyncio.create_task(far.desk.withdraw(held))
        await asyncio.sleep(0)
        far.desk.beaten(under_way)
        await asyncio.sleep(0)
        assert not withdrawing.done()
        told = far.desk.telling()
        assert told == {WEB: Running((8080,), withdrawn=True)}
        far.desk.beaten(told)
        await withdrawing

    run(act)


def test_a_lost_launcher_is_told_once_and_then_not_any_more() -> None:
    async def act(far: Far) -> None:
        held = await far.desk.resume("secret", 7)
        far.desk.lost(held)
        told = far.desk.telling()
        assert told == {WEB: Running((8080,), withdrawn=True)}
        far.desk.beaten({}, Unavailable("away"))
        assert far.desk.telling() == told
        far.desk.beaten(told)
        assert far.desk.telling() == {}

    run(act)


def test_who_comes_back_before_that_is_told_stays() -> None:
    async def act(far: Far) -> None:
        held = await far.desk.resume("secret", 7)
        far.desk.lost(held)
        told = far.desk.telling()
        await far.desk.resume("secret", 8)
        far.desk.beaten(told)
        assert far.desk.telling() == {WEB: Running((8080,))}

    run(act)


def test_a_control_plane_that_is_away_is_waited_for_and_a_refusal_is_final() -> None:
    async def act(far: Far) -> None:
        held = await far.desk.resume("secret", 7)
        for code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNAUTHENTICATED):
            far.refusals = [Status(code, "why")]
            with pytest.raises(Unavailable):
                await far.desk.token(held)
        far.refusals = [Status(Code.PERMISSION_DENIED, "not here")]
        with pytest.raises(Refused, match="not here"):
            await far.desk.token(held)
        far.refusals, far.denied = [Status(Code.UNAUTHENTICATED, "why")], "joined again"
        with pytest.raises(Refused, match="joined again"):
            await far.desk.token(held)
        assert await far.desk.token(held) == "t"

    run(act)

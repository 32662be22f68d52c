"""What launchers on a joined machine ask: relayed to the control plane, and told again in every beat.

What runs here is a value that each beat tells whole; a beat that is lost is made good by the next.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from google.protobuf.message import Message

from gossamer.agent.joining import SERVICE
from gossamer.agent.membership import Membership
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.machine import Running
from gossamer.model.mesh import WORKLOAD_NETWORK
from gossamer.model.names import Key, local
from gossamer.model.workload import INBOUND_PORT
from gossamer.pb.v1 import machines_pb2 as pb
from gossamer.ports import Unavailable
from gossamer.standalone import addresses, advertised
from gossamer.standalone.registration import Refused

# Places offered before it is given up to find a free one.
OFFERS = 20
TRIES = 100
ANYWHERE = IPv4Address(0)
M = TypeVar("M", bound=Message)

Call = Callable[[str, Message, type[Any]], Awaitable[Any]]
"""(method, request, response type) → the response. Raises Status."""


@dataclass(frozen=True, slots=True)
class Held:
    key: Key


class RemoteDesk:
    """`standalone.desk.Desk`, with the control plane on another machine. `address`: what is advertised now."""

    def __init__(
        self, call: Call, membership: Membership, address: Callable[[], str], denied: Callable[[], str]
    ) -> None:
        """`denied`: why this machine is none of the mesh any more; "" while it is."""
        self._call = call
        self._denied = denied
        self._membership = membership
        self._address = address
        self.ended: Callable[[Key], None] = lambda key: None
        self.running: dict[Key, Running] = {}
        # Set when the next beat should not wait.
        self.news = asyncio.Event()
        # Who waits for the next beat, and for the one under way.
        self._told: list[asyncio.Future[None]] = []
        self._telling: list[asyncio.Future[None]] = []
        # Their launchers have gone, and the next beat is yet to tell.
        self._lost: set[Key] = set()

    async def register(self, document: object, pid: int) -> tuple[Held, dict[str, Any]]:
        text = json.dumps(document, separators=(",", ":"))
        for _ in range(OFFERS):
            own, place = self._offer()
            asked = pb.RegisterRequest(
                session=self._membership.session, workload=text, pid=pid, address=own, advertised=place
            )
            try:
                answer = await self._ask("Register", asked, pb.RegisterResponse)
            except _Taken:
                continue
            found: dict[str, Any] = json.loads(answer.answer)
            key = local(found["namespace"], found["workload"])
            self.running[key] = Running()
            if not self._membership.network:
                # The machine's address may change while the workload runs.
                found["listen"] = f"0.0.0.0:{place.rpartition(':')[2]}"
            return Held(key), found
        raise Unavailable("no address that is free here and in the mesh was found; try again")

    async def resume(self, session: str, pid: int) -> Held:
        asked = pb.ResumeRequest(session=self._membership.session, workload_session=session, pid=pid)
        found = (await self._ask("Resume", asked, pb.ResumeResponse)).workload
        key = local(found.namespace, found.name)
        self.running[key] = Running(tuple(found.listening), found.withdrawn)
        self._lost.discard(key)
        return Held(key)

    async def token(self, held: Held) -> str:
        asked = pb.TokenRequest(session=self._membership.session, namespace=held.key.namespace, name=held.key.name)
        return str((await self._ask("Token", asked, pb.TokenResponse)).token)

    async def listening(self, held: Held, ports: tuple[int, ...]) -> None:
        """Published with the next beat, also where that has to wait for the control plane to be back."""
        self._say(held, Running(tuple(sorted(set(ports)))))

    async def withdraw(self, held: Held) -> None:
        self._say(held, replace(self._known(held), withdrawn=True))
        await self._beaten()

    async def end(self, held: Held) -> None:
        self.running.pop(held.key, None)
        asked = pb.EndRequest(session=self._membership.session, namespace=held.key.namespace, name=held.key.name)
        await self._ask("End", asked, pb.EndResponse)
        self.ended(held.key)

    def lost(self, held: Held) -> None:
        """The next beat tells that it is withdrawn, those after it nothing."""
        known = self.running.get(held.key)
        if known is not None:
            self.running[held.key] = replace(known, withdrawn=True)
            self._lost.add(held.key)
            self.news.set()

    def count(self) -> int:
        return len(self.running)

    def telling(self) -> dict[Key, Running]:
        """What a beat that begins now tells; who has waited for it is told when it has ended."""
        self._telling += self._told
        self._told = []
        return dict(self.running)

    def beaten(self, told: Mapping[Key, Running], error: Exception | None = None) -> None:
        """A beat has told this, or could not."""
        for key in [key for key in self._lost if error is None and key in told and told[key].withdrawn]:
            self._lost.discard(key)
            self.running.pop(key, None)
        waiting, self._telling = self._telling, []
        for one in waiting:
            if not one.done():
                one.set_exception(error) if error is not None else one.set_result(None)

    def forgotten(self, key: Key) -> None:
        """The control plane knows nothing of it any more."""
        self.running.pop(key, None)
        self.ended(key)

    def _known(self, held: Held) -> Running:
        known = self.running.get(held.key)
        if known is None:
            raise Refused("the registration has ended; start the program again")
        return known

    def _say(self, held: Held, now: Running) -> None:
        self._known(held)
        self.running[held.key] = now
        self.news.set()

    async def _beaten(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._told.append(waiter)
        self.news.set()
        await waiter

    def _offer(self) -> tuple[str, str]:
        """An address of the loopback and a place for others, both free on this machine now."""
        usable = addresses.bindable(INBOUND_PORT)
        own = _found(lambda: _loopback(os.urandom(8)), usable)
        host = IPv4Address(self._address())
        network = IPv4Network(self._membership.network) if self._membership.network else None
        propose = partial(advertised.propose, os.urandom, host, network)
        place = _found(propose, lambda found: advertised.bindable(found[0] if network else ANYWHERE, found[1]))
        return str(own), f"{place[0]}:{place[1]}"

    async def _ask(self, method: str, asked: Message, response: type[M]) -> M:
        try:
            answer: M = await self._call(f"{SERVICE}/{method}", asked, response)
        except Status as status:
            if status.code is Code.ALREADY_EXISTS:
                raise _Taken from status
            if status.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise Unavailable(f"the control plane cannot be reached now ({status.message})") from status
            if status.code is Code.UNAUTHENTICATED and not self._denied():
                # It is being asked for another one.
                raise Unavailable("the machine's certificate is not taken now") from status
            raise Refused(self._denied() or status.message or str(status)) from status
        return answer


class _Taken(Exception):
    """What was offered belongs to somebody else."""


T = TypeVar("T")


def _found(draw: Callable[[], T], usable: Callable[[T], bool]) -> T:
    for _ in range(TRIES):
        drawn = draw()
        if usable(drawn):
            return drawn
    raise Unavailable("no free address was found on this machine; is the advertised address one of its own?")


def _loopback(random: bytes) -> IPv4Address:
    """Any of the workloads' network but those that end in 0 or 255, which some programs refuse."""
    number = int.from_bytes(random, "big")
    block = WORKLOAD_NETWORK.num_addresses // 256
    return WORKLOAD_NETWORK[number % block * 256 + 1 + number // block % 254]

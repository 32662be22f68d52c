"""The agent's connections to its control plane, one for each thing that must not wait for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from google.protobuf.message import Message

from gossamer.agent.control import Control
from gossamer.agent.membership import Folder, Membership

M = TypeVar("M", bound=Message)

# A beat that takes longer is begun anew: the address it was sent from may be gone (F-83).
BEAT_TIMEOUT = 3.0


class Controls:
    """`call` for launchers, `beat` for beats, `certify` for certificates; `watching` for one endless stream."""

    def __init__(self, membership: Membership, folder: Folder) -> None:
        self._membership = membership
        self._address = membership.address
        anchors = folder.anchors()
        self._made = [self._control(anchors, folder) for _ in range(4)]
        self._calls, self._beats, self._certificates, self.watching = self._made
        self._beats.timeout = BEAT_TIMEOUT
        # Shows no certificate: for a machine whose own is no longer good.
        self._strange = Control(membership.control, membership.control_name, anchors)
        self._made.append(self._strange)
        self._threads = [ThreadPoolExecutor(1, name) for name in ("calls", "beats", "certificates")]

    @property
    def address(self) -> str:
        """What workloads here advertise: what was said, or where this machine called from last."""
        return self._address

    async def reach(self) -> None:
        """Has a connection for the next beat, and knows from where it calls. Raises Status."""
        await asyncio.get_running_loop().run_in_executor(self._threads[1], self._beats.reach)
        found = self._beats.local_address
        if self._membership.follows and found and found != self._address:
            self._address = found
            # What came from the address before is dead, though nobody says so.
            for one in self._made:
                if one is not self._beats:
                    one.hang_up()

    async def call(self, method: str, request: Message, response: type[M]) -> M:
        return await self._on(0, self._calls, method, request, response)

    async def beat(self, method: str, request: Message, response: type[M]) -> M:
        return await self._on(1, self._beats, method, request, response)

    async def certify(self, method: str, request: Message, response: type[M], *, strange: bool = False) -> M:
        """`strange`: without a certificate."""
        return await self._on(2, self._strange if strange else self._certificates, method, request, response)

    def trust(self, anchors: Sequence[bytes]) -> None:
        for one in self._made:
            one.trust(anchors)

    def hang_up(self) -> None:
        """Nobody waits any longer."""
        for one in self._made:
            one.hang_up()

    def close(self) -> None:
        self.hang_up()
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for one in self._made:
            one.close()

    async def _on(self, thread: int, control: Control, method: str, request: Message, response: type[M]) -> M:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads[thread], control.call, method, request, response)

    def _control(self, anchors: Sequence[bytes], folder: Folder) -> Control:
        return Control(self._membership.control, self._membership.control_name, anchors, folder.identity)

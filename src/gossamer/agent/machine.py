"""The agent of a joined machine: `python -m gossamer.agent.machine --mesh NAME`, one per machine and mesh.

The composition root. It offers launchers the socket that the control plane offers on its own machine, tells the control
plane every few seconds what runs here, follows whom to trust, and renews the machine's certificate. Nothing of the mesh
is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from gossamer.agent.controls import Controls
from gossamer.agent.following import Following
from gossamer.agent.joining import SERVICE
from gossamer.agent.membership import Folder, Membership
from gossamer.agent.remote_desk import RemoteDesk
from gossamer.agent.renewing import Renewing
from gossamer.kit import logs, tasks
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.names import local
from gossamer.pb.v1 import machines_pb2 as pb
from gossamer.ports import Unavailable
from gossamer.settings import InvalidSetting, Paths, paths
from gossamer.standalone import keys
from gossamer.standalone.agent_socket import AgentSocket, Facts
from gossamer.standalone.lock import Lock
from gossamer.standalone.registry import LEASE

BEAT = 3.0
AGAIN = 0.2
# Between beats that are refused: a person has to do something first.
REFUSED = 15.0

_log = logging.getLogger("gossamer.agent")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after a graceful end, 1 with one line on stderr when it cannot start or go on, 64 for a wrong flag."""
    try:
        files = paths(_mesh(sys.argv[1:] if arguments is None else arguments), os.environ, os.getuid(), Path.home())
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        return 64
    logs.setup("info", file=files.log)
    try:
        asyncio.run(_serve(files))
    except (Unavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseExceptionGroup as group:
        for one in group.exceptions:
            sys.stderr.write(f"{one}\n")
            _log.error("unexpected", exc_info=one)
        return 1
    return 0


def _mesh(arguments: Sequence[str]) -> str:
    match list(arguments):
        case []:
            return os.environ.get("GOSSAMER_MESH") or "default"
        case ["--mesh", name]:
            return name
        case _:
            raise InvalidSetting("usage: python -m gossamer.agent.machine [--mesh NAME]")


async def _serve(files: Paths) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    folder = Folder(files)
    with ExitStack() as held:
        for path in (files.state, files.runtime.parent, files.runtime):
            keys.private_directory(path)
        held.enter_context(Lock(files.lock))
        for leftover in (files.ready, files.agent_socket):
            leftover.unlink(missing_ok=True)
            held.callback(leftover.unlink, missing_ok=True)
        membership = folder.membership()
        if membership is None:
            raise Unavailable(f"this machine is not joined to mesh {files.mesh}; join it with `gossamer join`")
        instance, fresh = _instance(files.instance)
        controls = Controls(membership, folder)
        held.callback(controls.close)
        renewing = Renewing(membership, folder, controls, random.random)
        desk = RemoteDesk(controls.call, membership, lambda: controls.address, lambda: renewing.denied)
        following = Following(membership, folder, files.trust_anchors, controls)
        following.moved = renewing.soon
        following.start()
        await renewing.begin()
        facts = Facts(files.trust_anchors, ",tls:".join(membership.control), files.runtime, files.state)
        agent = AgentSocket(desk, facts, time.time)
        await agent.serve(files.agent_socket)
        beats = _Beats(membership, controls, desk, renewing, instance, time.monotonic() - (LEASE if fresh else 0.0))
        work = asyncio.create_task(
            tasks.run(("beats", beats.run()), ("trust", following.run()), ("certificate", renewing.run())), name="work"
        )
        files.ready.write_text(f"{os.getpid()}\n")
        _log.info("machine %s serves mesh %s", membership.name, files.mesh)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        files.ready.unlink(missing_ok=True)
        agent.close()
        if not work.done():
            work.cancel()
            controls.hang_up()
        with suppress(asyncio.CancelledError):
            await work


class _Beats:
    """Tells what runs here. The answer to one beat says what the next one is known by."""

    def __init__(
        self,
        membership: Membership,
        controls: Controls,
        desk: RemoteDesk,
        renewing: Renewing,
        instance: str,
        began: float,
    ) -> None:
        """`began`: since when launchers had the time to find this process, in monotonic seconds."""
        self._membership = membership
        self._controls = controls
        self._desk = desk
        self._renewing = renewing
        self._instance = instance
        self._began = began
        self._nonce = ""
        self._said = ""

    async def run(self) -> None:
        failed = False
        while True:
            self._desk.news.clear()
            pause = BEAT
            try:
                await self._beat()
                self._say("", "the control plane hears this machine")
                failed = False
            except Status as status:
                self._desk.beaten({}, Unavailable(f"the control plane cannot be told now ({status.message})"))
                self._say(status.message, f"the control plane cannot be told what runs here: {status.message}")
                if status.code is Code.PERMISSION_DENIED:
                    self._nonce, pause = "", REFUSED
                else:
                    self._renewing.unheard(refused=status.code is Code.UNAUTHENTICATED)
                    # The first time, perhaps only the connection is dead.
                    pause = BEAT if failed else AGAIN
                    failed = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._desk.news.wait(), pause)

    async def _beat(self) -> None:
        told = self._desk.telling()
        await self._controls.reach()
        running = [
            pb.Running(namespace=key.namespace, name=key.name, listening=one.listening, withdrawn=one.withdrawn)
            for key, one in told.items()
        ]
        asked = pb.BeatRequest(
            session=self._membership.session,
            instance=self._instance,
            nonce=self._nonce,
            node=self._membership.node,
            zone=self._membership.zone,
            running=running,
            complete=time.monotonic() - self._began >= LEASE,
            address=self._controls.address,
        )
        answer: Any = await self._controls.beat(f"{SERVICE}/Beat", asked, pb.BeatResponse)
        self._nonce = answer.nonce
        self._desk.beaten(told)
        for text in answer.unknown:
            namespace, _, name = text.partition("/")
            _log.warning("%s is not known to the control plane any more; start it again", text)
            self._desk.forgotten(local(namespace, name))

    def _say(self, state: str, line: str) -> None:
        """Once for each change, not for each beat."""
        if state != self._said:
            self._said = state
            _log.info("%s", line)


def _instance(file: Path) -> tuple[str, bool]:
    """What this machine drew at this boot, and whether that was now."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        drawn, _, then = file.read_text().strip().partition(" ")
    except FileNotFoundError:
        drawn, then = "", ""
    if drawn and then == boot:
        return drawn, False
    drawn = secrets.token_hex(16)
    keys.write_private(file, f"{drawn} {boot}\n".encode())
    return drawn, True


if __name__ == "__main__":
    sys.exit(main())

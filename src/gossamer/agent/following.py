"""Following whom to trust: the bundle's stream → the file that sidecars here start from, and the agent's own calls."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path

from gossamer.agent.controls import Controls
from gossamer.agent.membership import Folder, Membership, pem
from gossamer.kit.backoff import pauses
from gossamer.kit.grpc.status import Status
from gossamer.pb.v1 import trust_pb2
from gossamer.standalone import keys

METHOD = "/gossamer.v1.Trust/Watch"
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0

_log = logging.getLogger("gossamer.agent")


class Following:
    """`moved(active anchor's SHA-256, seconds)` is told when certificates should be renewed within some time."""

    def __init__(self, membership: Membership, folder: Folder, file: Path, controls: Controls) -> None:
        self._membership = membership
        self._folder = folder
        self._file = file
        self._controls = controls
        self.moved: Callable[[bytes, int], None] = lambda active, within: None

    def start(self) -> None:
        """What was trusted when the machine was last up."""
        keys.write_private(self._file, self._folder.bundle())

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[trust_pb2.TrustBundle] = asyncio.Queue(16)
        ended = threading.Event()
        hear = lambda bundle: asyncio.run_coroutine_threadsafe(news.put(bundle), loop)  # noqa: E731
        # A thread of its own that nobody waits for: it may be in the middle of a read when the process ends.
        threading.Thread(target=self._watch, args=(hear, ended), name="trust", daemon=True).start()
        try:
            while True:
                self._take(await news.get())
        finally:
            ended.set()

    def _watch(self, hear: Callable[[trust_pb2.TrustBundle], object], ended: threading.Event) -> None:
        names = self._membership.identity.split(".")
        asked = trust_pb2.TrustRequest(workload=json.dumps({"ns": names[1], "pod": names[0]}))
        delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, random.random)
        while not ended.is_set():
            try:
                for bundle in self._controls.watching.stream(METHOD, asked, trust_pb2.TrustBundle):
                    hear(bundle)
                    delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, random.random)
            except Status as status:
                _log.debug("whom to trust cannot be followed now: %s", status)
            ended.wait(next(delays))

    def _take(self, bundle: trust_pb2.TrustBundle) -> None:
        if not bundle.anchors:
            _log.warning("a bundle without anchors was sent: what was trusted before stays")
            return
        text = b"# generation: %d\n" % bundle.generation + pem(bundle.anchors)
        if text != self._folder.bundle():
            self._folder.keep_bundle(text)
            keys.write_private(self._file, text)
            _log.info("trusts generation %d, %d anchor(s)", bundle.generation, len(bundle.anchors))
        self._controls.trust(list(bundle.anchors))
        self.moved(bundle.active_anchor, bundle.renew_within_s)

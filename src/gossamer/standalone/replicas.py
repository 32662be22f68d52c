"""A control plane among several on one store: what it tells the others, and what it hears from them.

The store tells on threads of its own; everything here happens on the event loop, in the order in which it was stored.
Alone, on SQLite, nothing is told and nothing heard.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from gossamer.ports import THE_STORE, Conflict, Unavailable, Write
from gossamer.settings import Paths
from gossamer.standalone.etcd.mirror import News
from gossamer.standalone.opening import Opened
from gossamer.standalone.registration import Place
from gossamer.standalone.sealed import KEY as SEALED
from gossamer.standalone.sealed import SharedKeys

PREFIX = "replicas/"
# How often files are compared with what is shared.
LOOK = 1.0
# Who makes the first keys. The others wait for them, so many seconds.
BEGUN_BY = "mesh/begun-by"
BEGINNING = 15.0
POLL = 0.1
# A sidecar takes no more addresses of a control plane.
MOST_FRONTS = 16

Heard = Callable[[str, bytes | None, int], None]
"""(key, value or None, version) of an entry that another replica changed."""

_log = logging.getLogger("gossamer.replicas")


async def shared_keys(opened: Opened, files: Paths) -> SharedKeys | None:
    """The keys that replicas share, those of the store put in their place already; None alone.

    One replica begins a mesh, and the others wait for its keys. Raises `Unavailable` when they do not come.
    """
    if opened.etcd is None:
        return None
    secret = opened.choice.file("store_secret") or files.state / "store-secret"
    if opened.store.read(SEALED) is None and not _begins(opened):
        for _ in range(round(BEGINNING / POLL)):
            await asyncio.sleep(POLL)
            if opened.store.read(SEALED) is not None:
                break
        else:
            raise Unavailable("another replica has begun this mesh and not finished; start that one again first")
    return SharedKeys(opened.store, files.ca, secret)


def _begins(opened: Opened) -> bool:
    """Whether this is the replica that makes the mesh's first keys; also after it was interrupted."""
    me = opened.replica.encode()
    try:
        opened.store.commit([Write(BEGUN_BY, me, expected=0)])
    except Conflict:
        held = opened.store.read(BEGUN_BY)
        return held is not None and held.value == me
    return True


class Replicas:
    def __init__(self, opened: Opened, keys: SharedKeys | None) -> None:
        """`keys` None: this one is alone."""
        self._opened = opened
        self._keys = keys
        self._listeners: list[tuple[str, Heard]] = []
        self._placed: Callable[[str, Place], None] = lambda replica, place: None
        self.report: Callable[[str, tuple[str, ...]], None] = lambda subject, problems: None
        """The `StatusSink` that is told while the store takes no changes."""
        self._node = ""
        self._held_back: deque[News] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dead = asyncio.Event()
        if opened.etcd is not None:
            # From here on nothing is missed; it is told once there are listeners.
            opened.etcd.subscribe(self._on_thread)

    @property
    def id(self) -> str:
        return self._opened.replica

    def owner(self, role: str) -> str:
        """The name under which this replica has an address of its own for a role."""
        return f"{role}/{self.id}" if self.id else role

    def alive(self) -> dict[str, dict[str, str]]:
        return self._opened.etcd.alive() if self._opened.etcd is not None else {}

    def announce(self, node: str, zone: str, front: tuple[IPv4Address, int], advertised: str = "") -> None:
        """From here on this replica may lead, and workloads of the others are told where its front is.

        `advertised`: where other machines reach it, "" for nowhere.
        """
        if self._opened.etcd is None:
            return
        address = f"{front[0]}:{front[1]}"
        held = self._opened.store.read(PREFIX + self.id)
        value = json.dumps({"front": address, "advertised": advertised, "node": node}).encode()
        self._node = node
        if held is None or held.value != value:
            self._opened.store.commit([Write(PREFIX + self.id, value)])
        self._opened.etcd.announce({"node": node, "zone": zone, "front": address}, candidate=True)

    def fronts(self, own: str) -> str:
        """Where sidecars find a control plane, `A:P` or `A:P,tls:B:P`: this machine's first."""
        told = [json.loads(entry.value) for entry in self._opened.store.scan(PREFIX)]
        # An address of a loopback is of use on its own machine only.
        others = [one.get("advertised") or (one["front"] if one.get("node") == self._node else own) for one in told]
        return ",tls:".join([*dict.fromkeys([own, *others])][:MOST_FRONTS])

    def on(self, prefix: str, heard: Heard) -> None:
        self._listeners.append((prefix, heard))

    def on_place(self, placed: Callable[[str, Place], None]) -> None:
        """Told where each of the others is."""
        self._placed = placed

    def share_keys(self) -> None:
        """At start: the first replica's keys become everybody's. Raises `Unavailable`."""
        if self._keys is not None:
            self._keys.share()

    async def run(self) -> None:
        """Passes on what was heard and shares keys; raises what ended the store, for whoever runs this process."""
        etcd = self._opened.etcd
        if etcd is None:
            await asyncio.get_running_loop().create_future()
            return
        self._loop = asyncio.get_running_loop()
        etcd.on_death = lambda: self._from_thread(self._dead.set)
        self._catch_up()
        while True:
            etcd.check()
            self._look()
            try:
                await asyncio.wait_for(self._dead.wait(), LOOK)
            except TimeoutError:
                continue

    def _look(self) -> None:
        problem = self._opened.etcd.problem() if self._opened.etcd is not None else None
        self.report(THE_STORE, (problem,) if problem else ())
        for replica, about in self.alive().items():
            if replica != self.id:
                self._placed(replica, Place(str(about.get("node", "")), str(about.get("zone", ""))))
        try:
            if self._keys is not None and not self._keys.take() and self._keys.share():
                _log.info("keys that were changed here are shared with the other replicas")
        except Unavailable as error:
            _log.warning("keys are not shared now: %s", error)

    def _on_thread(self, news: Sequence[News]) -> None:
        self._held_back.extend(news)
        if self._loop is not None:
            self._from_thread(self._catch_up)

    def _from_thread(self, act: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _catch_up(self) -> None:
        while self._held_back:
            one = self._held_back.popleft()
            for prefix, heard in self._listeners:
                if one.key.startswith(prefix):
                    self._hear(heard, one)

    def _hear(self, heard: Heard, one: News) -> None:
        # What is there by now, so that nobody goes back to what he has himself changed since.
        entry = self._opened.store.read(one.key)
        value, version = (entry.value, entry.version) if entry is not None else (None, one.version)
        try:
            heard(one.key, value, version)
        except (ValueError, KeyError, TypeError) as error:
            # Written by another version of Gossamer: what was before stays.
            _log.warning("%s cannot be understood: %s", one.key, error)

"""The workloads of `gossamer run`: registered, resumed, withdrawn, ended; all of it in the store (seams §21).

A `ResourceSource` named "run": it delivers Workloads, and the Services they own. What is served where and to whom is
not its business, nor is the socket that launchers talk on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace

from gossamer.model.change import Put, Remove, Replace
from gossamer.model.mesh import Mesh
from gossamer.model.names import Key, local
from gossamer.model.service import SERVICE, Service
from gossamer.model.workload import WORKLOAD
from gossamer.ports import Conflict, Deliver, Store, Unavailable, Write
from gossamer.standalone.addresses import Addresses
from gossamer.standalone.registration import LONGEST_FRONT, Asked, Refused, Registration, decode, encode, owned_service
from gossamer.standalone.virtual import Virtual

PREFIX = "registrations/"
# Without its launcher a registration keeps name and address this long (contract of the agent's socket).
LEASE = 30.0
SWEEP = 1.0
MOST = 10_000
# Letters and digits that cannot be mistaken for each other or make a word, as Kubernetes has them.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_log = logging.getLogger("gossamer.registry")


@dataclass(frozen=True, slots=True)
class Held:
    """A registration in the hands of one connection: `lease` tells it from an earlier connection's."""

    registration: Registration
    lease: int

    @property
    def key(self) -> Key:
        return self.registration.key


class Registry:
    name = "run"

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        virtual: Virtual,
        mesh: Mesh,
        node: str,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._addresses = addresses
        self._virtual = virtual
        self._mesh = mesh
        self._node = node
        self._clock = clock
        self._random = random
        self._deliver: Deliver | None = None
        # Called when nothing is left of a workload.
        self.ended: Callable[[Key], None] = lambda key: None
        self._leases: dict[Key, int] = {}
        self._next_lease = 1
        self._services: dict[Key, Service] = {}
        now = clock()
        self._held: dict[Key, Registration] = {}
        for entry in store.scan(PREFIX):
            registration = decode(entry.value)
            # Its launcher has been waiting for this process: it counts until its lease ends.
            end = registration.lease_end
            self._held[registration.key] = replace(registration, lease_end=now + LEASE if end is None else end)

    async def run(self, deliver: Deliver) -> None:
        """Delivers everything, then ends leases as they run out."""
        self.start(deliver)
        while True:
            await asyncio.sleep(SWEEP)
            try:
                self.expire()
            except Unavailable as error:
                _log.warning("leases cannot be ended now: %s", error)

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        keys = {one.service for one in self._held.values()}
        self._services = {key: self._service(key) for key in keys}
        workloads = [one.workload(self._mesh, self._node) for one in self._held.values()]
        deliver(Replace((*workloads, *self._services.values())))

    def registrations(self) -> tuple[Registration, ...]:
        return tuple(self._held.values())

    def find(self, key: Key) -> Registration | None:
        return self._held.get(key)

    def register(self, what: Asked, pid: int) -> tuple[Held, str]:
        """A new workload and the secret of its session. Raises `Refused` or `Unavailable`."""
        if len(self._held) >= MOST:
            raise Refused(f"{MOST} workloads are registered; end some first")
        session = urlsafe_b64encode(self._random(24)).decode()
        name = self._named(what)
        owner = _owner(local(what.namespace, name))
        address = self._addresses.allocate(owner)
        registration = Registration(what, name, str(address), _digest(session), pid, self._clock())
        try:
            self._save(registration)
        except Unavailable:
            self._addresses.release(owner)
            raise
        return self._hold(registration), session

    def resume(self, session: str, pid: int) -> Held:
        """The registration of a session, in the hands of a new connection. Raises `Refused`."""
        digest = _digest(session)
        for registration in self._held.values():
            if registration.session == digest:
                resumed = replace(registration, lease_end=None, pid=pid)
                self._save(resumed)
                return self._hold(resumed)
        raise Refused("the session is unknown or its lease has ended; start the program again")

    def listening(self, held: Held, ports: tuple[int, ...]) -> None:
        """The program listens on these ports: publishes its endpoint."""
        current = self._current(held)
        self._save(replace(current, listening=tuple(sorted(set(ports))), withdrawn=False, published=True))

    def withdraw(self, held: Held) -> None:
        self._save(replace(self._current(held), withdrawn=True))

    def end(self, held: Held) -> None:
        """`bye`: nothing of it is kept."""
        self._remove(self._current(held))

    def lost(self, held: Held) -> None:
        """The connection broke without `bye`: the endpoint goes at once, name and address after the lease."""
        if self._leases.get(held.key) != held.lease:
            return  # another connection has it
        del self._leases[held.key]
        registration = replace(self._held[held.key], published=False, lease_end=self._clock() + LEASE)
        try:
            self._save(registration)
        except Unavailable as error:
            # Nobody waits for an answer; after a restart it would count for one more lease.
            _log.warning("%s was lost and that could not be stored: %s", registration.key, error)
            self._held[registration.key] = registration
            self._say(Put(registration.workload(self._mesh, self._node)))

    def expire(self) -> None:
        now = self._clock()
        for registration in tuple(self._held.values()):
            if registration.lease_end is not None and registration.lease_end <= now:
                _log.info("the lease of %s ended", registration.key)
                self._remove(registration)

    def _named(self, what: Asked) -> str:
        """A free name: the replica's, or the service's with five random characters."""
        if what.replica is not None:
            taken = self._held.get(local(what.namespace, what.replica))
            if taken is None:
                return what.replica
            if taken.key in self._leases:
                raise Refused(f"--replica {what.replica}: it runs already (process {taken.pid}); choose another name")
            self._remove(taken)
            return what.replica
        front = what.service[:LONGEST_FRONT].rstrip("-")
        for _ in range(100):
            random = self._random(5)
            name = f"{front}-{''.join(ALPHABET[byte % len(ALPHABET)] for byte in random)}"
            if local(what.namespace, name) not in self._held:
                return name
        raise Unavailable("no free name was found")

    def _hold(self, registration: Registration) -> Held:
        held = Held(registration, self._next_lease)
        self._next_lease += 1
        self._leases[registration.key] = held.lease
        return held

    def _current(self, held: Held) -> Registration:
        registration = self._held.get(held.key)
        if registration is None or self._leases.get(held.key) != held.lease:
            raise Refused("the registration has ended or another connection has resumed it")
        return registration

    def _save(self, registration: Registration) -> None:
        key = registration.key
        self._write(Write(_place(key), encode(registration), expected=None if key in self._held else 0))
        self._held[key] = registration
        self._say(Put(registration.workload(self._mesh, self._node)))
        self._own(registration.service)

    def _remove(self, registration: Registration) -> None:
        key = registration.key
        self._write(Write(_place(key), None))
        self._held.pop(key, None)
        self._leases.pop(key, None)
        self._addresses.release(_owner(key))
        self._say(Remove(WORKLOAD, key))
        self.ended(key)
        self._own(registration.service)

    def _write(self, write: Write) -> None:
        try:
            self._store.commit([write])
        except Conflict as error:
            raise Unavailable(f"{error}; is a second control plane running?") from error

    def _own(self, key: Key) -> None:
        """The Service lives with its last workload (seams §23). A declared one of the same name takes precedence."""
        if not any(one.service == key for one in self._held.values()):
            if self._services.pop(key, None) is not None:
                self._say(Remove(SERVICE, key))
            return
        service = self._service(key)
        if self._services.get(key) != service:
            self._services[key] = service
            self._say(Put(service))

    def _service(self, key: Key) -> Service:
        replicas = [one for one in self._held.values() if one.service == key]
        return owned_service(key, replicas, self._virtual.of(key))

    def _say(self, change: Put | Remove) -> None:
        if self._deliver is not None:
            self._deliver(change)


def _place(key: Key) -> str:
    return f"{PREFIX}{key.namespace}/{key.name}"


def _owner(key: Key) -> str:
    return f"workload/{key.namespace}/{key.name}"


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()

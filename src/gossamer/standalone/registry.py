"""The workloads of `gossamer run`: registered, resumed, withdrawn, ended; all of it in the store (seams §21).

A `ResourceSource` named "run": it delivers Workloads, and the Services they own. What is served where and to whom is
not its business, nor is the socket that launchers talk on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace

from gossamer.model.change import Put, Remove, Replace
from gossamer.model.machine import Running
from gossamer.model.mesh import WORKLOAD_NETWORK, Mesh
from gossamer.model.names import Key, local
from gossamer.model.service import SERVICE, Service
from gossamer.model.workload import EXTERNAL_WORKLOAD, INBOUND_PORT, WORKLOAD, ExternalWorkload, Workload
from gossamer.ports import Conflict, Deliver, Leadership, Store, Unavailable, Write
from gossamer.standalone.addresses import Addresses, Taken
from gossamer.standalone.advertised import Advertised
from gossamer.standalone.registration import (
    LONGEST_FRONT,
    Asked,
    Offer,
    Place,
    Refused,
    Registration,
    decode,
    encode,
    owned_service,
)
from gossamer.standalone.virtual import Virtual

PREFIX = "registrations/"
# Without its launcher a registration keeps name and address this long (contract of the agent's socket).
LEASE = 30.0
SWEEP = 1.0
# A replica that has not been heard of for so long is away. What runs on its machine goes on, and keeps its endpoints
# until the replica is back, or for ORPHANED seconds.
AWAY = 15.0
ORPHANED = 900.0
# A machine that tells what it runs may not have heard of its newest workload yet.
JUST_REGISTERED = 15.0
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
        *,
        zone: str = "",
        advertised: Advertised | None = None,
        replica: str = "",
        leadership: Leadership | None = None,
        alive: Callable[[], Container[str]] = lambda: (),
    ) -> None:
        """`advertised` None: workloads of this machine cannot be reached from others.

        `replica`: this one's id among those `alive`, of which the leader ends what the others left; "" and None alone.
        """
        self._store = store
        self._addresses = addresses
        self._virtual = virtual
        self._mesh = mesh
        self._places = {"": Place(node, zone)}
        self._advertised = advertised or Advertised(store, random)
        self._clock = clock
        self._random = random
        self._deliver: Deliver | None = None
        # Whether a registration's certificates are revoked (its session's digest): then nobody is sent to it.
        self.barred: Callable[[str], bool] = lambda session: False
        # Called when nothing is left of a workload.
        self.ended: Callable[[Key], None] = lambda key: None
        self._leases: dict[Key, int] = {}
        self._next_lease = 1
        self._services: dict[Key, Service] = {}
        self._replica = replica
        self._leadership = leadership
        self._alive = alive
        # When a replica was first missed.
        self._missed: dict[str, float] = {}
        self._replica_places: dict[str, Place] = {}
        # Services whose address could not be had when somebody else's workload was heard of.
        self._owing: set[Key] = set()
        now = clock()
        self._held: dict[Key, Registration] = {}
        # The version of the store's entry that each is of.
        self._versions: dict[Key, int] = {}
        for entry in store.scan(PREFIX):
            registration = decode(entry.value)
            # Of a joined machine's, its beats tell.
            if registration.replica == replica and not registration.machine:
                # Its launcher has been waiting for this process: it counts until its lease ends.
                end = registration.lease_end
                registration = replace(registration, lease_end=min(now + LEASE, now + LEASE if end is None else end))
            self._held[registration.key] = registration
            self._versions[registration.key] = entry.version

    async def run(self, deliver: Deliver) -> None:
        """Delivers everything, then ends leases as they run out."""
        self.start(deliver)
        while True:
            await asyncio.sleep(SWEEP)
            try:
                self.expire()
                self._settle()
            except Unavailable as error:
                _log.warning("leases cannot be ended now: %s", error)

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        keys = {one.service for one in self._held.values()}
        self._services = {key: self._service(key) for key in keys}
        workloads = [shown for one in self._held.values() for shown in self._shown(one)]
        deliver(Replace((*workloads, *self._services.values())))

    def registrations(self) -> tuple[Registration, ...]:
        return tuple(self._held.values())

    def find(self, key: Key) -> Registration | None:
        return self._held.get(key)

    def register(self, what: Asked, pid: int, offer: Offer | None = None) -> tuple[Held, str]:
        """A new workload and the secret of its session; `offer` where a joined machine runs it.

        Raises `Refused`, `Unavailable`, or `Taken` when what is offered belongs to another workload.
        """
        if what.namespace == self._mesh.control_namespace:
            raise Refused(f"--namespace {what.namespace}: it is the control plane's own; choose another")
        if len(self._held) >= MOST:
            raise Refused(f"{MOST} workloads are registered; end some first")
        session = urlsafe_b64encode(self._random(24)).decode()
        name = self._named(what)
        owner = _owner(local(what.namespace, name))
        try:
            address, advertised = self._reached(owner, offer)
            registration = Registration(what, name, address, _digest(session), pid, self._clock())
            machine = offer.machine if offer else ""
            registration = replace(registration, machine=machine, advertised=advertised, replica=self._replica)
            self._save(registration)
        except (Unavailable, Taken):
            self._release(owner)
            raise
        return self._hold(registration), session

    def resume(self, session: str, pid: int, machine: str = "") -> Held:
        """The registration of a session, in the hands of a new connection. Raises `Refused`."""
        digest = _digest(session)
        for registration in self._held.values():
            if registration.session == digest and registration.machine == machine:
                resumed = replace(registration, lease_end=None, pid=pid, replica=self._replica)
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
        self._lose(self._held[held.key], self._clock() + LEASE)

    def keep(self, machine: str, told: Mapping[Key, Running], *, complete: bool) -> list[Key]:
        """What a joined machine runs now; returns what it believes to run and nobody knows here any more.

        `complete`: whatever else was known of it has lost its launcher.
        """
        now = self._clock()
        for registration in self.of_machine(machine):
            said = told.get(registration.key)
            if said is not None:
                current = replace(
                    registration,
                    listening=said.listening,
                    withdrawn=said.withdrawn,
                    published=True,
                    lease_end=None,
                    replica=self._replica,
                )
                if registration.key not in self._leases:
                    self._hold(registration)
                if current != registration:
                    self._save(current)
            elif complete and registration.lease_end is None and registration.started < now - JUST_REGISTERED:
                self._lose(registration, now + LEASE)
        return [key for key in told if (known := self._held.get(key)) is None or known.machine != machine]

    def lose(self, machine: str, keep: float) -> None:
        """A joined machine is silent: its endpoints go, names and addresses are kept for `keep` seconds."""
        for registration in self.of_machine(machine):
            if registration.lease_end is None:
                self._lose(registration, self._clock() + keep)

    def forget(self, machine: str) -> None:
        """The machine is no longer one of the mesh, or another has taken its name: nothing of it is kept."""
        for registration in self.of_machine(machine):
            self._remove(registration)
        self._places.pop(machine, None)

    def of_machine(self, machine: str) -> tuple[Registration, ...]:
        return tuple(one for one in self._held.values() if one.machine == machine)

    def placed(self, machine: str) -> Place:
        return self._places.get(machine, Place())

    def place(self, machine: str, place: Place) -> None:
        """Where a joined machine is: its workloads inherit it."""
        if self.placed(machine) == place:
            return
        self._places[machine] = place
        for registration in self.of_machine(machine):
            self._show(registration)

    def move(self, machine: str, address: str) -> None:
        """A joined machine has another address now: its workloads are reached there, at the ports they have."""
        for registration in self.of_machine(machine):
            host, _, port = registration.advertised.rpartition(":")
            if host == address or port == str(INBOUND_PORT):
                continue
            place, owner = f"{address}:{port}", _owner(registration.key)
            self._advertised.release(owner)
            try:
                self._advertised.claim(owner, place)
            except Taken as error:
                raise Refused(f"{error}; start {registration.key} again") from error
            self._save(replace(registration, advertised=place))

    def hold(self, key: Key, machine: str) -> Held:
        """What a joined machine runs, in its hands. Raises `Refused`."""
        registration = self._held.get(key)
        if registration is None or registration.machine != machine:
            raise Refused(f"{key.namespace}/{key.name} is not registered by this machine")
        lease = self._leases.get(key)
        return self._hold(registration) if lease is None else Held(registration, lease)

    def expire(self) -> None:
        """Ends what has run out of this replica's own and, where it leads, of those that are away."""
        now = self._clock()
        away = self._away(now) if self._leadership is not None and self._leadership.held() else frozenset()
        for registration in tuple(self._held.values()):
            own = registration.replica == self._replica
            if not own and registration.replica not in away:
                continue
            store = self._store if own or self._leadership is None else self._leadership.store
            if registration.lease_end is None:
                if not own:
                    keep = LEASE if registration.machine else ORPHANED
                    self._save(replace(registration, lease_end=now + keep), store)
            elif registration.lease_end <= now:
                _log.info("the lease of %s ended", registration.key)
                self._remove(registration, store)

    def heard(self, place: str, value: bytes | None, version: int) -> None:
        """Another replica changed the store below `PREFIX`: what it says is so."""
        if value is None:
            namespace, _, name = place.removeprefix(PREFIX).partition("/")
            gone = self._held.get(local(namespace, name))
            if gone is not None:
                self._forgotten(gone)
            return
        registration = decode(value)
        key = registration.key
        if registration.replica != self._replica:
            self._leases.pop(key, None)
        elif key in self._leases and registration.lease_end is not None:
            # Taken for away by the leader: the launcher is here.
            registration = replace(registration, lease_end=None)
        self._held[key] = registration
        self._versions[key] = version
        self._show(registration)
        self._own_later(registration.service)

    def at_replica(self, replica: str, place: Place) -> None:
        """Where another replica is: what runs there inherits it."""
        if self._replica_places.get(replica) != place:
            self._replica_places[replica] = place
            for registration in self.of_machine(""):
                if registration.replica == replica:
                    self._show(registration)

    def _away(self, now: float) -> frozenset[str]:
        """The replicas that have been missed for long."""
        alive = self._alive()
        named = {one.replica for one in self._held.values()} - {self._replica}
        self._missed = {one: self._missed.get(one, now) for one in named if one not in alive}
        return frozenset(one for one, since in self._missed.items() if now - since >= AWAY)

    def _settle(self) -> None:
        for key in tuple(self._owing):
            self._own(key)
            self._owing.discard(key)

    def _own_later(self, key: Key) -> None:
        try:
            self._own(key)
        except Unavailable:
            self._owing.add(key)

    def _lose(self, current: Registration, lease_end: float) -> None:
        self._leases.pop(current.key, None)
        registration = replace(current, published=False, lease_end=lease_end, replica=self._replica)
        try:
            self._save(registration)
        except Unavailable as error:
            # Nobody waits for an answer; after a restart it would count for one more lease.
            _log.warning("%s was lost and that could not be stored: %s", registration.key, error)
            self._held[registration.key] = registration
            self._show(registration)

    def _reached(self, owner: str, offer: Offer | None) -> tuple[str, str]:
        """A workload's address on its machine and, as text, that for other machines."""
        if offer is None:
            return str(self._addresses.allocate(owner)), self._advertised.allocate(owner)
        if offer.address not in WORKLOAD_NETWORK:
            raise Refused(f"{offer.address}: addresses of workloads are in {WORKLOAD_NETWORK}")
        self._addresses.claim(owner, offer.address)
        self._advertised.claim(owner, offer.advertised)
        return str(offer.address), offer.advertised

    def _release(self, owner: str) -> None:
        self._addresses.release(owner)
        self._advertised.release(owner)

    def _named(self, what: Asked) -> str:
        """A free name: the replica's, or the service's with five random characters."""
        if what.replica is not None:
            taken = self._held.get(local(what.namespace, what.replica))
            if taken is None:
                return what.replica
            if taken.key in self._leases or (taken.replica != self._replica and taken.lease_end is None):
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

    def _save(self, registration: Registration, store: Store | None = None) -> None:
        key = registration.key
        self._write(_place(key), encode(registration), self._versions.get(key, 0), store or self._store)
        entry = self._store.read(_place(key))
        self._versions[key] = entry.version if entry is not None else 0
        self._held[key] = registration
        self._show(registration)
        self._own(registration.service)

    def _remove(self, registration: Registration, store: Store | None = None) -> None:
        key = registration.key
        self._write(_place(key), None, self._versions.get(key, 0), store or self._store)
        self._release(_owner(key))
        self._forgotten(registration)

    def _forgotten(self, registration: Registration) -> None:
        key = registration.key
        self._held.pop(key, None)
        self._versions.pop(key, None)
        self._leases.pop(key, None)
        self._say(Remove(WORKLOAD, key))
        self._say(Remove(EXTERNAL_WORKLOAD, key))
        self.ended(key)
        self._own_later(registration.service)

    def _write(self, place: str, value: bytes | None, expected: int, store: Store) -> None:
        try:
            store.commit([Write(place, value, expected)])
        except Conflict as error:
            raise Unavailable(f"{error}; try again") from error

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

    def judge(self) -> None:
        """Who is barred has changed: says anew what of it is to be seen."""
        for registration in self._held.values():
            self._show(registration)

    def _show(self, registration: Registration) -> None:
        for shown in self._shown(registration):
            self._say(Put(shown))

    def _shown(self, registration: Registration) -> tuple[Workload | ExternalWorkload, ...]:
        place = self._placed(registration)
        if self.barred(registration.session):
            registration = replace(registration, withdrawn=True)
        workload = registration.workload(self._mesh, place)
        return (workload, registration.external(self._mesh, place)) if registration.machine else (workload,)

    def _placed(self, registration: Registration) -> Place:
        if registration.machine or registration.replica == self._replica:
            return self.placed(registration.machine)
        return self._replica_places.get(registration.replica, Place())

    def _say(self, change: Put | Remove) -> None:
        if self._deliver is not None:
            self._deliver(change)


def _place(key: Key) -> str:
    return f"{PREFIX}{key.namespace}/{key.name}"


def _owner(key: Key) -> str:
    return f"workload/{key.namespace}/{key.name}"


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()

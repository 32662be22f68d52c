"""Where other machines reach a workload's sidecar: a port of its own on the machine's address, or its own address.

A place is a key `advertised/10.9.0.1:24000` whose value is its owner; an owner's is `advertises/<owner>`. Owners are
those of `addresses`. Whether a place can be listened on is known on its machine only: there it is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from gossamer.model.workload import INBOUND_PORT
from gossamer.ports import Conflict, Store, Unavailable, Write
from gossamer.standalone import addresses
from gossamer.standalone.addresses import Taken

PLACES = "advertised/"
OWNERS = "advertises/"
# Below what kernels give to outgoing connections (net.ipv4.ip_local_port_range), which would be in the way.
PORTS = range(24_000, 32_000)
TRIES = 1000
# Of the front, where nobody says another.
FRONT_PORT = 8443

Random = Callable[[int], bytes]
Usable = Callable[[IPv4Address, int], bool]


@dataclass(frozen=True, slots=True)
class Advertise:
    """What `up --advertise` said: where other machines reach this one's front, and whence workloads have addresses."""

    address: IPv4Address
    port: int
    network: IPv4Network | None = None

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Advertised:
    """Places on one machine's address, or in a network of it; none where it has neither."""

    def __init__(
        self,
        store: Store,
        random: Random,
        advertise: Advertise | None = None,
        usable: Usable = lambda address, port: True,
    ) -> None:
        self._store = store
        self._random = random
        self._advertise = advertise
        self._usable = usable

    def allocate(self, owner: str) -> str:
        """A free place that is now the owner's, as text; "" where nothing is advertised. Raises `Unavailable`."""
        advertise = self._advertise
        if advertise is None:
            return ""
        for _ in range(TRIES):
            address, port = propose(self._random, advertise.address, advertise.network)
            place = f"{address}:{port}"
            if self._store.read(PLACES + place) is not None or not self._usable(address, port):
                continue
            try:
                self._take(owner, place)
            except Conflict:
                continue
            return place
        where = advertise.network or f"{advertise.address}, ports {PORTS.start} to {PORTS.stop - 1}"
        raise Unavailable(f"no free place to advertise a workload found in {where}; is something else using it?")

    def claim(self, owner: str, place: str) -> None:
        """Records what another machine has tried. Raises `Taken`."""
        if not place:
            return
        try:
            self._take(owner, place)
        except Conflict as error:
            raise Taken(f"{place} belongs to another workload") from error

    def release(self, owner: str) -> None:
        """Gives back what the owner has; nothing when it has none."""
        entry = self._store.read(OWNERS + owner)
        if entry is not None:
            gone = [Write(OWNERS + owner, None, expected=entry.version), Write(PLACES + entry.value.decode(), None)]
            self._store.commit(gone)

    def _take(self, owner: str, place: str) -> None:
        writes = [
            Write(PLACES + place, owner.encode(), expected=0),
            Write(OWNERS + owner, place.encode(), expected=0),
        ]
        self._store.commit(writes)


def propose(random: Random, address: IPv4Address, network: IPv4Network | None) -> tuple[IPv4Address, int]:
    """Any place: an address of the network at the sidecars' own port, else a port of the one address."""
    number = int.from_bytes(random(8), "big")
    if network is not None:
        # The first and the last of a network are not for hosts.
        return network[1 + number % max(1, network.num_addresses - 2)], INBOUND_PORT
    return address, PORTS[number % len(PORTS)]


def bindable(address: IPv4Address, port: int) -> bool:
    """Whether this process can listen there now."""
    return addresses.bindable(port)(address)


def said(store: Store, role: str, told: str | None, network: str | None) -> Advertise | None:
    """What is advertised now: what was told, else what was told before; "none" ends it. Raises `Unavailable`.

    It is remembered because machines that have joined know the address, however this control plane is started again.
    `told`: "10.9.0.1" or "10.9.0.1:8443"; `network`: "10.9.1.0/24". `role`: the store's key, one for each replica.
    """
    key = f"mesh/{role}"
    held = store.read(key)
    text = held.value.decode() if held is not None and told is None else f"{told or 'none'} {network or ''}".strip()
    if held is None or held.value.decode() != text:
        store.commit([Write(key, text.encode(), held.version if held is not None else 0)])
    place, _, within = text.partition(" ")
    if place == "none":
        return None
    host, _, port = place.partition(":")
    return Advertise(IPv4Address(host), int(port or FRONT_PORT), IPv4Network(within) if within else None)

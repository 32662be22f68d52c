"""Addresses of workloads and of services, allocated once by compare-and-swap, so that no two ever have the same.

An address is a key `addresses/127.64.1.2` whose value is its owner; an owner's is `owners/<owner>`. Owners are texts
like `workload/default/web-7f3k2` and `service/default/web`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from gossamer.ports import Conflict, Store, Unavailable, Write

ADDRESSES = "addresses/"
OWNERS = "owners/"
TRIES = 1000

Random = Callable[[int], bytes]
Usable = Callable[[IPv4Address], bool]


class Taken(Exception):
    """The address that was asked for belongs to somebody else; the message names both."""


class Addresses:
    """Random free addresses of one network. `usable` has the last word, by trying."""

    def __init__(
        self, store: Store, network: IPv4Network, random: Random, usable: Usable = lambda address: True
    ) -> None:
        self._store = store
        self._network = network
        self._random = random
        self._usable = usable

    def allocate(self, owner: str) -> IPv4Address:
        """The owner's address: the one it has, or a new one. Raises `Unavailable` when none can be found."""
        held = self.of(owner)
        if held is not None:
            return held
        for _ in range(TRIES):
            address = self._candidate()
            if self._store.read(f"{ADDRESSES}{address}") is not None or not self._usable(address):
                continue
            try:
                self._take(owner, address)
            except Conflict:
                held = self.of(owner)
                if held is not None:
                    return held
                continue
            return address
        raise Unavailable(f"no free address found in {self._network} in {TRIES} tries; is something else using it?")

    def claim(self, owner: str, address: IPv4Address) -> None:
        """Records an address that a person wrote. Raises `Taken`."""
        held = self._store.read(f"{ADDRESSES}{address}")
        if held is not None:
            if held.value.decode() != owner:
                raise Taken(f"{address} belongs to {held.value.decode()}")
            return
        self.release(owner)
        try:
            self._take(owner, address)
        except Conflict as error:
            raise Taken(f"{address} was taken a moment ago") from error

    def release(self, owner: str) -> None:
        """Gives back what the owner has; nothing when it has none."""
        entry = self._store.read(OWNERS + owner)
        if entry is not None:
            self._store.commit(
                [
                    Write(OWNERS + owner, None, expected=entry.version),
                    Write(ADDRESSES + entry.value.decode(), None),
                ]
            )

    def of(self, owner: str) -> IPv4Address | None:
        entry = self._store.read(OWNERS + owner)
        return IPv4Address(entry.value.decode()) if entry is not None else None

    def _take(self, owner: str, address: IPv4Address) -> None:
        self._store.commit(
            [
                Write(f"{ADDRESSES}{address}", owner.encode(), expected=0),
                Write(OWNERS + owner, str(address).encode(), expected=0),
            ]
        )

    def _candidate(self) -> IPv4Address:
        """Any address of the network but those that end in 0 or 255, which some programs refuse."""
        size = self._network.num_addresses
        while True:
            address = self._network[int.from_bytes(self._random(8), "big") % size]
            if address.packed[-1] not in (0, 255):
                return address


def bindable(port: int) -> Usable:
    """Whether this process can listen on an address now: another mesh or program may have it."""

    def usable(address: IPv4Address) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
            # As the listener itself will: connections of its predecessor that still linger are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(address), port))
            except OSError:
                return False
        return True

    return usable

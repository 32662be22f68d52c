"""A replica and nothing else: while it leads it writes, as fast as it can, under which tenure it does."""

from __future__ import annotations

import sys
import time

from gossamer.kit.etcd.client import Place, members
from gossamer.ports import Unavailable, Write
from gossamer.standalone.etcd.store import EtcdStore


def main() -> None:
    addresses, prefix, replica = sys.argv[1:]
    store = EtcdStore(Place(tuple(members(addresses))), prefix, replica, "etcd")
    store.announce({}, candidate=True)
    while True:
        try:
            guard = store.guard()
            # Nothing keeps a process from being stopped just here.
            store.commit_while([Write("tenure", f"{guard.equals} {replica}".encode())], (guard,))
        except Unavailable:
            time.sleep(0.05)


if __name__ == "__main__":
    main()

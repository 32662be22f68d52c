"""Join tokens: single use, short-lived, bound to one identity (seams §3). The store holds their hashes only."""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable

from gossamer.ports import Conflict, Denied, Entry, Holder, Leadership, Store, Unavailable, Write

TTL = 60.0
PREFIX = "tokens/"
# Not yet used and not yet expired. A launcher asks for one at a time.
MOST = 20_000
# Of those that have expired, forgotten at once: a store takes so many changes in one commit.
SWEPT = 100

NOBODY = Holder()

Random = Callable[[int], bytes]
_log = logging.getLogger("gossamer.tokens")


class Tokens:
    """The `TokenVerifier` port, and where tokens come from. Times are seconds since the epoch."""

    def __init__(self, store: Store, random: Random, leadership: Leadership | None = None) -> None:
        """Of several replicas the leader forgets those that have expired."""
        self._store = store
        self._leadership = leadership
        self._random = random
        self._outstanding = len(store.scan(PREFIX))
        # Whether a registration (its session's digest) gets no more certificates.
        self.barred: Callable[[str], bool] = lambda session: False

    def issue(self, identity: str, now: float, ttl: float = TTL, holder: Holder = NOBODY) -> str:
        """A fresh token: 256 random bits, URL-safe text. Raises `Denied` when too many are unused, or none is due."""
        if holder.session and self.barred(holder.session):
            raise Denied(f"{holder.workload} was revoked; end the program and start it again")
        if self._outstanding >= MOST:
            self.expire(now)
            if self._outstanding >= MOST:
                raise Denied(f"{MOST} join tokens are unused; wait until they expire")
        token = urlsafe_b64encode(self._random(32)).rstrip(b"=")
        value = json.dumps(
            {"identity": identity, "expires": now + ttl, "for": [holder.workload, holder.session]}
        ).encode()
        self._store.commit([Write(_key(token), value, expected=0)])
        self._outstanding += 1
        return token.decode()

    def check(self, token: bytes, identity: str, now: float) -> Holder:
        return self._holder(self._find(token, identity, now))

    def redeem(self, token: bytes, identity: str, now: float) -> Holder:
        entry = self._find(token, identity, now)
        try:
            self._store.commit([Write(entry.key, None, expected=entry.version)])
        except Conflict as error:
            raise Denied("the join token is unknown, used up or expired") from error
        self._outstanding -= 1
        return self._holder(entry)

    def expire(self, now: float) -> None:
        """Forgets tokens that nobody can use any more."""
        entries = self._store.scan(PREFIX)
        dead = [entry for entry in entries if json.loads(entry.value)["expires"] <= now]
        self._outstanding = len(entries) - len(dead)
        if self._leadership is not None and not self._leadership.held():
            return
        store = self._store if self._leadership is None else self._leadership.store
        try:
            for first in range(0, len(dead), SWEPT):
                store.commit([Write(entry.key, None) for entry in dead[first : first + SWEPT]])
        except Unavailable as error:
            _log.warning("expired join tokens stay stored, unusable: %s", error)

    def _find(self, token: bytes, identity: str, now: float) -> Entry:
        """One answer for every kind of wrong, so that nothing is learnt from it."""
        entry = self._store.read(_key(token))
        if entry is not None:
            held = json.loads(entry.value)
            if held["identity"] == identity and now < held["expires"]:
                return entry
        raise Denied("the join token is unknown, used up or expired")

    def _holder(self, entry: Entry) -> Holder:
        """For whom it was made. Raises `Denied` when that registration was revoked since."""
        holder = Holder(*json.loads(entry.value).get("for", ()))
        if holder.session and self.barred(holder.session):
            raise Denied("this workload's registration is revoked; start the program again")
        return holder


def _key(token: bytes) -> str:
    return PREFIX + hashlib.sha256(token).hexdigest()

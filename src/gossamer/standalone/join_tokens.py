"""Join tokens for machines, as the control plane keeps them: hashed, single use, for one machine, for a short time.

A used or expired one is remembered for a while, so that whoever shows it again can be told what happened. A wrong guess
learns nothing and costs the guesser his next tries.
"""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address, ip_network

from gossamer.kit.budget import Buckets, Budget, Rate
from gossamer.model.machine import Ticket
from gossamer.ports import Denied, Entry, Store, Write
from gossamer.standalone.tokens import SWEPT

PREFIX = "join-tokens/"
MOST = 1_000
LONGEST_TTL = 24 * 3600.0
# A token that is used up or expired is told apart from a guess for so long.
REMEMBERED = 24 * 3600.0
# Wrong guesses of one address, and of all: what is above is refused without a look and without a line in the log.
GUESSES = Rate(10, 0.2)
ALL_GUESSES = Rate(200, 10)

_log = logging.getLogger("gossamer.machines")


@dataclass(frozen=True, slots=True)
class Kept:
    """A ticket as it is stored; `id` is for people, and no secret."""

    id: str
    ticket: Ticket
    entry: Entry


class JoinTokens:
    def __init__(self, store: Store, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._random = random
        self._guesses = Buckets(GUESSES)
        self._all_guesses = Budget(ALL_GUESSES)

    def create(self, ticket: Ticket) -> tuple[str, str]:
        """Its secret, 256 random bits as URL-safe text, and its id. Raises `Denied`."""
        self.expire(ticket.created)
        if len(self._store.scan(PREFIX)) >= MOST:
            raise Denied(f"there are {MOST} join tokens; revoke some with `gossamer token revoke`")
        secret = urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        key = _key(secret)
        self._store.commit([Write(key, _value(ticket), expected=0)])
        return secret, _id(key)

    def find(self, secret: str, source: str, now: float) -> Kept:
        """The ticket of a token that may be used from `source` now. Raises `Denied` in one line."""
        entry = self._store.read(_key(secret))
        if entry is None:
            raise self._guessed(source, now)
        kept = _kept(entry)
        ticket = kept.ticket
        if ticket.used:
            raise _refused(
                kept, source, f"the join token was used {_ago(now - ticket.used)}, by machine {ticket.used_by}"
            )
        if now >= ticket.expires:
            raise _refused(kept, source, f"the join token expired {_ago(now - ticket.expires)}")
        if ticket.source and not _within(source, ticket.source):
            raise _refused(
                kept, source, f"the join token is for machines in {ticket.source}, and this is {source or '?'}"
            )
        return kept

    def used(self, kept: Kept, by: str, now: float) -> Write:
        """The write that uses it up, for the commit that makes the machine: only one can succeed."""
        ticket = replace(kept.ticket, used=now, used_by=by)
        return Write(kept.entry.key, _value(ticket), expected=kept.entry.version)

    def known(self) -> list[Kept]:
        return [_kept(entry) for entry in self._store.scan(PREFIX)]

    def revoke(self, ident: str) -> bool:
        """Whether there was one."""
        found = [one for one in self.known() if one.id == ident]
        for one in found:
            self._store.commit([Write(one.entry.key, None)])
        return bool(found)

    def expire(self, now: float) -> None:
        """Forgets those that nobody needs to be told of any more."""
        gone = [one for one in self.known() if now > max(one.ticket.expires, one.ticket.used) + REMEMBERED]
        for first in range(0, len(gone), SWEPT):
            self._store.commit([Write(one.entry.key, None) for one in gone[first : first + SWEPT]])

    def _guessed(self, source: str, now: float) -> Denied:
        if not self._guesses.spend(source, now) or not self._all_guesses.spend(now):
            return Denied("too many wrong join tokens; try again later")
        _log.warning("a join token that is none was shown from %s", source or "an unknown address")
        return Denied("the join token is not known to this control plane; make one with `gossamer token create`")


def _refused(kept: Kept, source: str, why: str) -> Denied:
    _log.warning("token %s refused to %s: %s", kept.id, source or "an unknown address", why)
    return Denied(f"{why}; make another with `gossamer token create`")


def _within(source: str, network: str) -> bool:
    try:
        return ip_address(source) in ip_network(network)
    except ValueError:
        return False


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, int(seconds))} s ago"
    return f"{int(seconds // 60)} min ago" if seconds < 7200 else f"{int(seconds // 3600)} h ago"


def _key(secret: str) -> str:
    return PREFIX + hashlib.sha256(secret.encode()).hexdigest()


def _id(key: str) -> str:
    return key.removeprefix(PREFIX)[:8]


def _value(ticket: Ticket) -> bytes:
    return json.dumps(asdict(ticket), separators=(",", ":")).encode()


def _kept(entry: Entry) -> Kept:
    words = json.loads(entry.value)
    known = {name: words[name] for name in Ticket.__dataclass_fields__ if name in words}
    known["accounts"] = tuple(known.get("accounts", ()))
    return Kept(_id(entry.key), Ticket(**known), entry)

"""A certificate for whoever proved who it is: by a join token the first time, by its current certificate later.

Codes on the wire (reference §2.4.3), for the adapter that serves this: `InvalidRequest` INVALID_ARGUMENT, `Denied`
FAILED_PRECONDITION, `Unavailable` UNAVAILABLE, `Busy` RESOURCE_EXHAUSTED; anything else is our bug, INTERNAL.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.identity.authority import Authority, Leaf, Random, from_timestamp
from gossamer.identity.request import InvalidRequest, parse
from gossamer.kit.budget import Buckets, Rate
from gossamer.ports import Denied, Holder, TokenVerifier

LARGEST_TOKEN = 4096
# Renewals per caller: a thousand replicas may come back at once, a loop may not take the core (M22-1, F-28).
RENEWALS = Rate(2000, 100)


class Busy(Exception):
    """Too many renewals of one caller."""


class Renewals:
    """How often each caller renewed lately. The one thing here that remembers."""

    def __init__(self, rate: Rate = RENEWALS) -> None:
        self._buckets = Buckets(rate)

    def spend(self, caller: str, now: float) -> None:
        if not self._buckets.spend(caller, now):
            raise Busy("too many certificates for this workload; try again later")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller says (`identity`, `token`, `csr`), and what is known: `peer`, its verified current identity."""

    identity: str
    token: bytes
    csr: bytes
    peer: str | None

    @property
    def renewal(self) -> bool:
        return self.peer is not None and self.peer == self.identity


def admitted(shown: Shown, tokens: TokenVerifier, renewals: Renewals, caller: str, now: float) -> Holder:
    """Whether it is worth the work: cheap, and nothing is used up but the caller's budget. `now`: epoch seconds.

    Whom a token was made for; nobody in particular for a renewal. Raises `InvalidRequest`, `Denied` or `Busy`.
    """
    if len(shown.token) > LARGEST_TOKEN:
        raise InvalidRequest(f"the token has {len(shown.token)} bytes; at most {LARGEST_TOKEN} are taken")
    if shown.renewal:
        renewals.spend(caller, now)
        return Holder()
    if not shown.token:
        raise Denied("neither a join token nor a certificate of this identity was presented")
    return tokens.check(shown.token, shown.identity, now)


def certify(
    shown: Shown, *, authority: Authority, tokens: TokenVerifier, now: float, random: Random
) -> tuple[Leaf, Holder]:
    """For a caller that was `admitted`. A token is used up only when everything else is right; whom it was made for.

    Raises `InvalidRequest`, `Denied` or `Unavailable`.
    """
    request = parse(shown.csr, shown.identity)
    moment = from_timestamp(now)
    authority.current(moment)
    holder = Holder() if shown.renewal else tokens.redeem(shown.token, shown.identity, now)
    return authority.issue(request, moment, random), holder

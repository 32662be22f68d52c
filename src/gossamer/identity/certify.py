"""A certificate for whoever proved who it is: by a join token the first time, by its current certificate later.

Codes on the wire (reference §2.4.3), for the adapter that serves this: `InvalidRequest` INVALID_ARGUMENT, `Denied`
FAILED_PRECONDITION, `Unavailable` UNAVAILABLE, `Busy` RESOURCE_EXHAUSTED; anything else is our bug, INTERNAL.
"""

from __future__ import annotations

from gossamer.identity.authority import Authority, Leaf, Random, from_timestamp
from gossamer.identity.request import InvalidRequest, parse
from gossamer.kit.budget import Buckets, Rate
from gossamer.ports import Denied, TokenVerifier

LARGEST_TOKEN = 4096
# Renewals per identity: a thousand replicas may come back at once, a loop may not take the core (M22-1, F-28).
RENEWALS = Rate(2000, 100)


class Busy(Exception):
    """Too many renewals under one identity."""


class Renewals:
    """How often each identity renewed lately. The one thing here that remembers."""

    def __init__(self, rate: Rate = RENEWALS) -> None:
        self._buckets = Buckets(rate)

    def spend(self, identity: str, now: float) -> None:
        if not self._buckets.spend(identity, now):
            raise Busy("too many certificates under this identity; try again later")


def certify(
    identity: str,
    token: bytes,
    csr: bytes,
    peer: str | None,
    *,
    authority: Authority,
    tokens: TokenVerifier,
    renewals: Renewals,
    now: float,
    random: Random,
) -> Leaf:
    """`identity`, `token` and `csr` are the caller's words; `peer` is its verified current identity, if it has one.

    Cheap refusals come first, and a token is used up only when everything else is right. `now`: epoch seconds.
    Raises `InvalidRequest`, `Denied`, `Busy` or `Unavailable`.
    """
    if len(token) > LARGEST_TOKEN:
        raise InvalidRequest(f"the token has {len(token)} bytes; at most {LARGEST_TOKEN} are taken")
    renewal = peer is not None and peer == identity
    if renewal:
        renewals.spend(identity, now)
    elif token:
        tokens.check(token, identity, now)
    else:
        raise Denied("neither a join token nor a certificate of this identity was presented")
    request = parse(csr, identity)
    moment = from_timestamp(now)
    authority.current(moment)
    if not renewal:
        tokens.redeem(token, identity, now)
    return authority.issue(request, moment, random)

"""Certificates that nobody accepts any more: what is said of them to sidecars, and for how long. Decisions only.

A workload's certificates are named by their serials, as the issuance log knows them; an identity's by the moment of its
revocation. A revocation is forgotten when none of them can be valid any more. The registration stays barred: it gets
neither tokens nor certificates until it ends, and `gossamer run` makes another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from gossamer.model.mesh import Revocation

# As many as a bundle may hold; every sidecar holds all of them.
MOST = 1_000
MOST_SERIALS = 4_096


@dataclass(frozen=True, slots=True)
class Revoked:
    """`subject`: as it was named, "default/web-0" or an identity. `barred`: registrations, by their session's digest.

    Times are seconds since the epoch; after `forget` no revoked certificate can be valid.
    """

    revocation: Revocation
    subject: str
    barred: tuple[str, ...] = ()
    when: float = 0.0
    forget: float = 0.0


class TooMany(Exception):
    """There is no room for another revocation; one line."""


def added(revoked: tuple[Revoked, ...], new: Revoked) -> tuple[Revoked, ...]:
    """With one more; the same subject again is one. Raises `TooMany`."""
    if len(new.revocation.serials) > MOST_SERIALS:
        raise TooMany(f"{new.subject} has more than {MOST_SERIALS} valid certificates; revoke its identity instead")
    same = next((one for one in revoked if (one.subject, one.revocation.identity) == _place(new)), None)
    others = tuple(one for one in revoked if one is not same)
    if len(others) >= MOST:
        raise TooMany(f"{MOST} revocations are in force; `gossamer identity revoke --undo` some, or rotate the anchor")
    return (*others, _merged(same, new) if same is not None else new)


def without(revoked: tuple[Revoked, ...], subject: str) -> tuple[Revoked, ...]:
    return tuple(one for one in revoked if one.subject != subject)


def told(revoked: Iterable[Revoked], now: float) -> tuple[Revocation, ...]:
    """What sidecars have to know now."""
    return tuple(one.revocation for one in revoked if now < one.forget)


def remembered(revoked: tuple[Revoked, ...], registered: Collection[str], now: float) -> tuple[Revoked, ...]:
    """Without those of which neither a certificate nor a registration is left."""
    kept = []
    for one in revoked:
        barred = tuple(session for session in one.barred if session in registered)
        if now < one.forget:
            kept.append(one)
        elif barred:
            kept.append(replace(one, barred=barred))
    return tuple(kept)


def barred(revoked: Iterable[Revoked], session: str) -> bool:
    """Whether a registration gets no more certificates."""
    return any(session in one.barred for one in revoked)


def covers(one: Revocation, identity: str, serial: bytes, not_before: float | None) -> bool:
    """Whether a certificate is meant. `not_before` None: unknown, then only its serial tells."""
    if one.identity != identity:
        return False
    return serial in one.serials or (not_before is not None and not_before < one.issued_before)


def serial_bytes(serial: int) -> bytes:
    """Big-endian, without leading zeros."""
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")


def serial_of(text: str) -> bytes:
    """The same from hexadecimal; b"" from "", which is no certificate's."""
    return serial_bytes(int(text, 16)) if text else b""


def _place(one: Revoked) -> tuple[str, str]:
    return one.subject, one.revocation.identity


def _merged(old: Revoked, new: Revoked) -> Revoked:
    serials = tuple(dict.fromkeys((*old.revocation.serials, *new.revocation.serials)))[-MOST_SERIALS:]
    before = max(old.revocation.issued_before, new.revocation.issued_before)
    return Revoked(
        Revocation(new.revocation.identity, before, serials),
        new.subject,
        tuple(dict.fromkeys((*old.barred, *new.barred))),
        new.when,
        max(old.forget, new.forget),
    )

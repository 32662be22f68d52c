"""How trust moves without a moment in which two workloads do not trust each other. Decisions only: values in and out.

    PREPARE   everything wanted is trusted beside what was     until every live sidecar has heard of it
    ACTIVATE  certificates come from an issuer under `target`  until every live sidecar holds one
    STEADY    what is no longer wanted is trusted no more

Why this is enough: certificates under an anchor exist only after everybody trusts it, and it goes only after nobody has
one. Two promises of sidecars belong to it: one that starts reads a file that is never older than what it acknowledged,
and one that has acknowledged a generation installs no certificate that chains to another anchor than that generation's
`active_anchor`. tests/laws/test_rotation.py runs these functions through every interleaving of two sidecars, the
identity service, losses, restarts and an abort.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gossamer.model.mesh import Bundle, Revocation

MOST = 16


class Phase(StrEnum):
    """In the order in which they come."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    STEADY = "steady"


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom the mesh trusts, and where it is on the way to whom it will trust. Anchors are named by `name_of`."""

    # DER; what sidecars trust in this generation, and the generation in which each came.
    anchors: tuple[bytes, ...]
    added: tuple[int, ...]
    # What stays at the end.
    wanted: tuple[bytes, ...]
    # Certificates chain to it now, and will.
    active: bytes
    target: bytes
    generation: int = 1
    phase: Phase = Phase.STEADY
    # The generation in which `active` became so, and when the phase began.
    activated: int = 1
    since: float = 0.0
    # Names of anchors under which certificates may exist.
    used: tuple[bytes, ...] = ()
    # The last phase that may be reached without another word.
    permitted: Phase = Phase.STEADY
    # What an abort goes back to.
    before: tuple[bytes, ...] = ()
    # Seconds within which certificates move to `active`.
    renew_within: int = 0

    @property
    def leaving(self) -> tuple[bytes, ...]:
        return tuple(one for one in map(name_of, self.anchors) if one not in self.wanted)

    @property
    def moving(self) -> bool:
        return self.phase is not Phase.STEADY

    @property
    def needed(self) -> int:
        """The generation that every live sidecar must acknowledge before this phase may end."""
        if self.phase is not Phase.PREPARE:
            return self.activated
        return next(when for one, when in zip(self.anchors, self.added, strict=True) if name_of(one) == self.target)


@dataclass(frozen=True, slots=True)
class Live:
    """A sidecar that may have connections, and what it last said: `heard` is when, None when it said nothing yet."""

    name: str
    generation: int = 0
    anchor: bytes = b""
    heard: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a phase does not end. `name` is "" where it is not about a sidecar."""

    name: str
    why: str
    heard: float | None = None


class CannotMove(Exception):
    """What was asked for is no step from where the rotation is; one line for the person who asked."""


def name_of(anchor: bytes) -> bytes:
    """SHA-256 of an anchor's DER."""
    return hashlib.sha256(anchor).digest()


def first(anchors: Sequence[bytes], active: bytes, now: float, generation: int = 1) -> Trusted:
    """The beginning of a mesh, or of one whose trust was not kept."""
    names = tuple(map(name_of, anchors))
    added = (generation,) * len(names)
    return Trusted(
        tuple(anchors), added, names, active, active, generation, activated=generation, since=now, used=(active,)
    )


def follow(state: Trusted, wanted: Sequence[bytes], target: bytes, now: float, by_hand: bool = False) -> Trusted:
    """Sets out for another set of anchors (DER), or another one to chain to. `by_hand`: each step is asked for.

    Nothing is taken away here. Raises `CannotMove`.
    """
    names = tuple(map(name_of, wanted))
    if target not in names:
        raise CannotMove("the anchor that certificates are to chain to is not among those to be trusted")
    if (set(names), target) == (set(state.wanted), state.target):
        return state
    new = tuple(one for one in wanted if one not in state.anchors)
    if len(state.anchors) + len(new) > MOST:
        raise CannotMove(f"more than {MOST} trust anchors at once; wait until the rotation under way has ended")
    generation = state.generation + bool(new)
    return replace(
        state,
        anchors=state.anchors + new,
        added=state.added + (generation,) * len(new),
        wanted=names,
        target=target,
        generation=generation,
        phase=Phase.PREPARE,
        since=now,
        permitted=Phase.PREPARE if by_hand else Phase.STEADY,
        before=state.before if state.moving else (state.active, *state.wanted),
    )


def abort(state: Trusted, now: float) -> Trusted:
    """Turns back to what was before the rotation. Raises `CannotMove` when there is none."""
    if not state.moving or not state.before:
        raise CannotMove("no rotation is under way; what has ended is undone by rotating again")
    active, *wanted = state.before
    ders = [one for one in state.anchors if name_of(one) in wanted]
    return replace(follow(state, ders, active, now), permitted=Phase.STEADY)


def permit(state: Trusted, everything: bool = False) -> Trusted:
    """Another word: the next step, or all the rest, may be taken."""
    if everything:
        return replace(state, permitted=Phase.STEADY)
    return replace(state, permitted=_NEXT[state.phase])


def advance(state: Trusted, live: Iterable[Live], ready: Collection[bytes], now: float, renew_within: int) -> Trusted:
    """The next step if nothing stands in its way, else the same object. `ready`: anchors with an issuer under them."""
    if not state.moving or waiting(state, live, ready):
        return state
    if state.phase is Phase.PREPARE:
        if state.target == state.active:
            # Nothing to renew: what leaves was never used, or everybody has left it already.
            return replace(state, phase=Phase.ACTIVATE, since=now)
        generation = state.generation + 1
        return replace(
            state,
            active=state.target,
            generation=generation,
            phase=Phase.ACTIVATE,
            activated=generation,
            since=now,
            used=tuple(dict.fromkeys((*state.used, state.target))),
            renew_within=renew_within,
        )
    kept = [(one, when) for one, when in zip(state.anchors, state.added, strict=True) if name_of(one) in state.wanted]
    return replace(
        state,
        anchors=tuple(one for one, _ in kept),
        added=tuple(when for _, when in kept),
        generation=state.generation + (len(kept) < len(state.anchors)),
        phase=Phase.STEADY,
        since=now,
        used=tuple(one for one in state.used if one in state.wanted),
        permitted=Phase.STEADY,
        before=(),
    )


def waiting(state: Trusted, live: Iterable[Live], ready: Collection[bytes]) -> tuple[Waiting, ...]:
    """Everything that keeps the phase from ending; empty when nothing does."""
    if state.phase is Phase.STEADY:
        return ()
    found: list[Waiting] = []
    if _NEXT[state.phase] is not state.permitted and state.permitted is not Phase.STEADY:
        found.append(Waiting("", f"the next step, {_STEP[state.phase]}, waits for a word"))
    if state.phase is Phase.PREPARE:
        if state.target != state.active:
            if state.target not in ready:
                found.append(Waiting("", "there is no issuer under the new trust anchor yet"))
            found += [_unheard(one) for one in live if one.generation < state.needed]
        return tuple(found)
    if not set(state.leaving) & set(state.used):
        return tuple(found)
    for one in live:
        if one.generation < state.needed:
            found.append(_unheard(one))
        elif one.anchor != state.active:
            found.append(Waiting(one.name, "its certificate does not chain to the new trust anchor yet", one.heard))
    return tuple(found)


def bundle(state: Trusted, trust_domain: str, revoked: Sequence[Revocation] = ()) -> Bundle:
    return Bundle({trust_domain: state.anchors}, state.generation, state.active, state.renew_within, tuple(revoked))


def _unheard(one: Live) -> Waiting:
    why = "has not said whom it trusts" if one.heard is None else "has not heard of the newest trust anchors"
    return Waiting(one.name, why, one.heard)


_NEXT = {Phase.PREPARE: Phase.ACTIVATE, Phase.ACTIVATE: Phase.STEADY, Phase.STEADY: Phase.STEADY}
_STEP = {Phase.PREPARE: "activate", Phase.ACTIVATE: "retire"}

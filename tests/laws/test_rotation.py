"""The law of rotation: there is no moment in which some pair of workloads does not trust each other.

Checked in every interleaving: two sidecars, the identity service and the rotation take their steps in any order, every
message may be late or lost, sidecars and the control plane may start anew, and a person may abort at any moment.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from gossamer.identity import rotation
from gossamer.identity.rotation import Live, Phase, Trusted, name_of

OLD, NEW = b"old", b"new"
NAMES = {name_of(OLD): OLD, name_of(NEW): NEW}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What it trusts since which generation, the anchor of its certificate, and what is under way from and to it."""

    trusts: tuple[bytes, ...] = (OLD,)
    generation: int = 1
    leaf: bytes = OLD
    active: bytes = OLD
    arriving: bytes = b""
    told: tuple[int, bytes] | None = None
    heard: tuple[int, bytes] = (0, b"")


@dataclass(frozen=True, slots=True)
class World:
    trusted: Trusted
    sidecars: tuple[Sidecar, Sidecar]
    begun: bool = False
    aborted: bool = False
    restarts: int = 0


Advance = Callable[..., Trusted]


def steps(world: World, advance: Advance) -> Iterator[World]:
    trusted = world.trusted
    active = NAMES[trusted.active]
    if not world.begun:
        begun = rotation.follow(trusted, [NEW], name_of(NEW), 0.0)
        yield replace(world, trusted=begun, begun=True)
    if trusted.moving and not world.aborted:
        yield replace(world, trusted=rotation.abort(trusted, 0.0), aborted=True)
    live = [Live(str(i), generation, name_of(leaf) if leaf else b"") for i, (generation, leaf) in heard(world)]
    # No time is waited for: the promises alone must do.
    moved = advance(trusted, live, set(NAMES), math.inf, 5)
    if moved is not trusted:
        yield replace(world, trusted=moved)
    if world.restarts < 1:
        # The control plane starts anew: what it was told is forgotten, what it stored is not.
        yield with_all(replace(world, restarts=1), lambda one: replace(one, heard=(0, b""), told=None, arriving=b""))
    for number, one in enumerate(world.sidecars):
        for after in alone(one, trusted, active):
            yield replace(world, sidecars=put(world.sidecars, number, after))
        if world.restarts < 1:
            fresh = Sidecar(trusted.anchors, trusted.generation, active, active, heard=one.heard)
            yield replace(world, sidecars=put(world.sidecars, number, fresh), restarts=1)


# Sidecars install no certificate of another anchor than the one they have acknowledged as active.
PROMISED = True


def alone(one: Sidecar, trusted: Trusted, active: bytes) -> Iterator[Sidecar]:
    """What may happen at one sidecar: hearing, asking, getting or losing a certificate, telling or losing what it told."""
    if one.generation < trusted.generation:
        yield replace(one, trusts=trusted.anchors, generation=trusted.generation, active=active)
    if not one.arriving:
        yield replace(one, arriving=active)
    else:
        yield replace(one, arriving=b"")
        if one.arriving == one.active or not PROMISED:
            yield replace(one, leaf=one.arriving, arriving=b"")
    if one.told is None:
        if (one.generation, one.leaf) != one.heard:
            yield replace(one, told=(one.generation, one.leaf))
    else:
        yield replace(one, heard=one.told, told=None)
        yield replace(one, told=None)


def heard(world: World) -> Iterator[tuple[int, tuple[int, bytes]]]:
    return enumerate(one.heard for one in world.sidecars)


def with_all(world: World, change: Callable[[Sidecar], Sidecar]) -> World:
    first, second = map(change, world.sidecars)
    return replace(world, sidecars=(first, second))


def put(pair: tuple[Sidecar, Sidecar], number: int, one: Sidecar) -> tuple[Sidecar, Sidecar]:
    return (one, pair[1]) if number == 0 else (pair[0], one)


def broken(world: World) -> bool:
    first, second = world.sidecars
    # The identity service's front holds a certificate under the active anchor, and trusts what is trusted.
    front = Sidecar(world.trusted.anchors, leaf=NAMES[world.trusted.active])
    pairs = [(first, second), (second, first), (first, front), (front, first), (second, front), (front, second)]
    return any(one.leaf not in other.trusts for one, other in pairs)


def explored(advance: Advance = rotation.advance, most: int = 400_000) -> tuple[set[World], World | None]:
    start = World(rotation.first([OLD], name_of(OLD), 0.0), (Sidecar(), Sidecar()))
    seen, waiting = {start}, deque([start])
    while waiting:
        for world in steps(waiting.popleft(), advance):
            if world in seen:
                continue
            if broken(world):
                return seen, world
            seen.add(world)
            waiting.append(world)
            assert len(seen) < most, "more states than were thought possible"
    return seen, None


def test_no_interleaving_leaves_a_pair_that_does_not_trust_each_other() -> None:
    seen, found = explored()
    assert found is None, found
    ends = {(world.trusted.anchors, world.trusted.phase, world.aborted) for world in seen}
    assert ((NEW,), Phase.STEADY, False) in ends, "a rotation can end"
    assert ((OLD,), Phase.STEADY, True) in ends, "and so can an abort"
    assert len(seen) > 10_000


def test_the_law_needs_the_promise_of_sidecars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PROMISED", False)
    _, found = explored()
    assert found is not None and found.aborted


def hasty(state: Trusted, live: list[Live], ready: set[bytes], now: float, within: int) -> Trusted:
    return rotation.advance(state, [], ready, now, within)


def forgetful(state: Trusted, live: list[Live], ready: set[bytes], now: float, within: int) -> Trusted:
    """Believes that a generation heard is a certificate renewed."""
    return rotation.advance(state, [replace(one, anchor=state.active) for one in live], ready, now, within)


def partial(state: Trusted, live: list[Live], ready: set[bytes], now: float, within: int) -> Trusted:
    return rotation.advance(state, live[:1], ready, now, within)


@pytest.mark.parametrize("advance", [hasty, forgetful, partial])
def test_the_law_notices_a_rotation_that_does_not_wait(advance: Advance) -> None:
    _, found = explored(advance)
    assert found is not None

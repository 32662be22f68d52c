"""Growing pauses between attempts, with jitter. Chance is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def pauses(first: float, longest: float, rng: Callable[[], float]) -> Iterator[float]:
    """Seconds: between half and all of `first`, then of its doubles, up to `longest`. `rng` returns 0..1."""
    pause = first
    while True:
        yield pause / 2 + pause / 2 * rng()
        pause = min(pause * 2, longest)

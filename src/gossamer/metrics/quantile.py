"""Percentiles of a histogram, by linear interpolation inside a bucket (as Prometheus' histogram_quantile)."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(q: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """The value below which the share `q` (0..1) lies, in the unit of `bounds`; None for an empty histogram.

    `counts[i]` belongs to (bounds[i-1], bounds[i]]; a last count beyond the bounds is +Inf, answered by the
    highest bound, since nothing more is known of it.
    """
    total = sum(counts)
    if total == 0 or not bounds:
        return None
    wanted = q * total
    seen = 0
    lower = 0.0
    for count, upper in zip(counts, bounds, strict=False):
        if count and seen + count >= wanted:
            return lower + (upper - lower) * (wanted - seen) / count
        seen += count
        lower = upper
    return bounds[-1]

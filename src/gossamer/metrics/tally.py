"""Counting: totals of sidecars into differences, differences into the last minute.

Sidecars send totals since their start, so a lost report costs resolution, never a request. A total that went down
means that the sidecar dropped an idle series and began it anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gossamer.model.edge import Author, Totals

# Seconds of history; the widest window anybody may ask for.
HISTORY = 60
TEN = 10

Failures = dict[tuple[Author, str], int]


@dataclass(slots=True)
class Counts:
    """What happened in some stretch of time. `latency` is sparse: index of the bucket → count."""

    requests: int = 0
    successes: int = 0
    denied: int = 0
    opened: int = 0
    closed: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    failures: Failures = field(default_factory=dict)
    latency: dict[int, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        self.requests += other.requests
        self.successes += other.successes
        self.denied += other.denied
        self.opened += other.opened
        self.closed += other.closed
        self.read_bytes += other.read_bytes
        self.write_bytes += other.write_bytes
        for what, count in other.failures.items():
            self.failures[what] = self.failures.get(what, 0) + count
        for bucket, count in other.latency.items():
            self.latency[bucket] = self.latency.get(bucket, 0) + count

    def failed(self) -> int:
        return sum(self.failures.values())

    def __bool__(self) -> bool:
        return bool(
            self.requests or self.successes or self.denied or self.opened or self.closed
            or self.read_bytes or self.write_bytes or self.failures or self.latency
        )  # fmt: skip


def difference(before: Totals | None, after: Totals) -> Counts:
    """What happened between two totals of one series; everything in `after` when it was begun anew."""
    if before is None or restarted(before, after):
        before = Totals()
    known = {(one.author, one.reason): one.count for one in before.failures}
    latency = before.latency if before.bounds_ms == after.bounds_ms else ()
    return Counts(
        requests=after.requests - before.requests,
        successes=after.successes - before.successes,
        denied=after.denied - before.denied,
        opened=after.tcp_open - before.tcp_open,
        closed=after.tcp_close - before.tcp_close,
        read_bytes=after.read_bytes - before.read_bytes,
        write_bytes=after.write_bytes - before.write_bytes,
        failures={
            (one.author, one.reason): new
            for one in after.failures
            if (new := one.count - known.get((one.author, one.reason), 0)) > 0
        },
        latency={
            bucket: new
            for bucket, count in enumerate(after.latency)
            if (new := count - (latency[bucket] if bucket < len(latency) else 0)) > 0
        },
    )


def restarted(before: Totals, after: Totals) -> bool:
    return (
        after.requests < before.requests
        or after.successes < before.successes
        or after.denied < before.denied
        or after.tcp_open < before.tcp_open
        or after.tcp_close < before.tcp_close
        or after.read_bytes < before.read_bytes
        or after.write_bytes < before.write_bytes
    )


@dataclass(slots=True)
class History:
    """The last minute: seconds while they are young, then stretches of ten. Where nothing happened there is nothing."""

    # (when it began, counts), oldest first; the tens are all older than the seconds.
    tens: deque[tuple[int, Counts]] = field(default_factory=deque)
    seconds: deque[tuple[int, Counts]] = field(default_factory=deque)

    def add(self, now: float, counts: Counts) -> None:
        second = int(now)
        while self.seconds and self.seconds[0][0] < second - second % TEN - TEN:
            self._age(*self.seconds.popleft())
        while self.tens and self.tens[0][0] <= second - HISTORY - 2 * TEN:
            self.tens.popleft()
        _added(self.seconds, second, counts)

    def sum(self, now: float, window: float) -> Counts:
        """What happened since `since(now, window)`."""
        start = since(now, window)
        total = Counts()
        for stretches in (self.seconds, self.tens):
            for began, counts in reversed(stretches):
                if began < start:
                    break
                total.add(counts)
        return total

    def _age(self, second: int, counts: Counts) -> None:
        _added(self.tens, second - second % TEN, counts)


def since(now: float, window: float) -> float:
    """Where a window begins: a longer one at a ten, so that no stretch lies in it by half."""
    start = now - window
    return start if window <= TEN else start - start % TEN


def _added(stretches: deque[tuple[int, Counts]], began: int, counts: Counts) -> None:
    if not stretches or stretches[-1][0] < began:
        stretches.append((began, Counts()))
    stretches[-1][1].add(counts)

"""The table of edges: takes the sidecars' reports, answers who talks to whom over the last seconds.

Each conversation is reported from both ends. The client's sidecar knows the name that was called and how long the
answer took; the server's knows the client's proven identity and what policy refused. `rows` joins the two.

Bounded: at most `limit` conversations are remembered, the idlest go first. It reads no clock: `now` is wall time in
seconds, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.metrics.join import Ends, Group, join
from gossamer.metrics.tally import HISTORY, Counts, History, difference, since
from gossamer.model.edge import Direction, Edge, IdentityState, Protocol, Report, Reporter, Totals, TotalsKey

LIMIT = 10_000
# Series of one sidecar; it keeps at most 2,000 of a kind itself.
SERIES_LIMIT = 8_000
IDLE_SECONDS = 600.0
WINDOW_SECONDS = 10.0
TRIM_SECONDS = 10.0

# The client's side: its subject, the name called. The server's side: the client's identity, its own subject.
SideKey = tuple[Direction, str, str, Protocol, bool]


@dataclass(slots=True)
class Side:
    """One end's view of a conversation, summed over the replicas of that end."""

    direction: Direction
    client: str
    server: str
    protocol: Protocol
    tls: bool
    since: float
    changed: float = 0.0
    client_id: str = ""
    server_id: str = ""
    authorization: str = ""
    port: int = 0
    open_now: int = 0
    bounds_ms: tuple[float, ...] = ()
    total: Counts = field(default_factory=Counts)
    history: History = field(default_factory=History)
    last_failure: dict[tuple[str, str], float] = field(default_factory=dict)


@dataclass(slots=True)
class Source:
    """The newest totals of one sidecar, by which the next ones are understood."""

    instance: int
    reporter: Reporter
    totals: dict[TotalsKey, Totals] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """What a sidecar last said of itself, and when."""

    identity: IdentityState
    notes: tuple[str, ...]
    when: float


class Edges:
    """Who talks to whom. `started` is when this control plane began to listen to reports."""

    def __init__(self, started: float, limit: int = LIMIT) -> None:
        self.started = started
        self.limit = limit
        self.dropped = 0
        self._sources: dict[tuple[str, str], Source] = {}
        self._sides: dict[SideKey, Side] = {}
        self._heard: dict[tuple[str, str], Heard] = {}
        self._trimmed = started

    def report(self, reporter: Reporter, report: Report, now: float) -> None:
        """Takes in what the sidecar of a workload (already authenticated by the caller) says."""
        where = (reporter.namespace, reporter.name)
        source = self._sources.get(where)
        # What a sidecar counted before we listened belongs to the totals, not to the last seconds.
        old_news = source is None and reporter.started < self.started
        if source is None or source.instance != report.instance:
            if source is not None:
                self._release(source)
            source = self._sources[where] = Source(report.instance, reporter)
        source.reporter = reporter
        for key, totals in report.edges:
            before = source.totals.get(key)
            if before is None and len(source.totals) >= SERIES_LIMIT:
                self.dropped += 1
                continue
            source.totals[key] = totals
            self._count(reporter, key, totals, difference(before, totals), now, old_news)
        self._hear(where, report, now)
        self._trim(now)

    def heard(self, namespace: str, name: str) -> Heard | None:
        """What the sidecar of a workload last said of itself; None when it has said nothing."""
        return self._heard.get((namespace, name))

    def forget(self, namespace: str, name: str) -> None:
        """The workload is gone: its open connections are, too. What it did stays until it is old."""
        self._heard.pop((namespace, name), None)
        source = self._sources.pop((namespace, name), None)
        if source is not None:
            self._release(source)

    def rows(self, now: float, window: float = WINDOW_SECONDS, group: str = "") -> tuple[Edge, ...]:
        """Every edge seen in the last ten minutes, by client and server; rates over `window` seconds (1 to 60)."""
        window = min(max(window, 1.0), float(HISTORY))
        subjects: dict[str, list[str]] = {}
        for source in self._sources.values():
            known = subjects.setdefault(source.reporter.identity, [])
            if source.reporter.subject not in known:
                known.append(source.reporter.subject)
        covered = now - since(now, window)
        ends = [
            Ends(
                side=side, recent=side.history.sum(now, window), seconds=min(covered, max(1.0, now - side.since + 1.0))
            )
            for side in self._sides.values()
        ]
        return join(ends, subjects, Group(group))

    def _count(
        self, reporter: Reporter, key: TotalsKey, totals: Totals, counts: Counts, now: float, old_news: bool
    ) -> None:
        side = self._side(reporter, key, now)
        if totals.bounds_ms and totals.bounds_ms != side.bounds_ms:
            side.bounds_ms = totals.bounds_ms
            side.total.latency.clear()
            side.history = History()
        for failure in totals.failures:
            what = (failure.author, failure.reason)
            side.last_failure[what] = max(side.last_failure.get(what, 0.0), failure.last)
        if not counts:
            return
        if key.protocol is Protocol.TCP and not counts.requests:
            # What is asked for over TCP is a connection.
            counts.requests = counts.opened
        side.total.add(counts)
        side.open_now += counts.opened - counts.closed
        side.changed = now
        if not old_news:
            side.history.add(now, counts)

    def _side(self, reporter: Reporter, key: TotalsKey, now: float) -> Side:
        outbound = key.direction is Direction.OUTBOUND
        client, server = (reporter.subject, key.dst) if outbound else (key.peer, reporter.subject)
        where = (key.direction, client, server, key.protocol, key.tls)
        side = self._sides.get(where)
        if side is None:
            side = self._sides[where] = Side(key.direction, client, server, key.protocol, key.tls, now, now)
        if outbound:
            side.client_id = reporter.identity
            side.server_id = key.peer or side.server_id
        else:
            side.client_id = key.peer
            side.server_id = reporter.identity
            side.authorization = key.authorization or key.server or side.authorization
        side.port = key.port or side.port
        return side

    def _hear(self, where: tuple[str, str], report: Report, now: float) -> None:
        before = self._heard.get(where)
        identity = report.identity or (before.identity if before is not None else IdentityState())
        self._heard[where] = Heard(identity, report.notes, now)

    def _release(self, source: Source) -> None:
        for key, totals in source.totals.items():
            reporter = source.reporter
            client, server = (
                (reporter.subject, key.dst) if key.direction is Direction.OUTBOUND else (key.peer, reporter.subject)
            )
            side = self._sides.get((key.direction, client, server, key.protocol, key.tls))
            if side is not None:
                side.open_now = max(0, side.open_now - (totals.tcp_open - totals.tcp_close))

    def _trim(self, now: float) -> None:
        if now - self._trimmed < TRIM_SECONDS and len(self._sides) <= self.limit:
            return
        self._trimmed = now
        idle = [
            where for where, side in self._sides.items() if side.open_now <= 0 and now - side.changed > IDLE_SECONDS
        ]
        for where in idle:
            del self._sides[where]
        surplus = len(self._sides) - self.limit
        if surplus > 0:
            idlest = sorted(self._sides, key=lambda where: self._sides[where].changed)
            for where in idlest[: surplus + self.limit // 20]:
                del self._sides[where]
                self.dropped += 1

"""Two ends of a conversation into one edge.

The client's end leads: it knows the name, the latency, and every failure. The server's end adds what only it knows,
the refusals and the authorization, and stands alone where the client is not in the mesh or never got through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol as Shape

from gossamer.metrics.quantile import quantile
from gossamer.metrics.tally import Counts
from gossamer.model.edge import REFUSALS, Author, AuthoredFailure, Direction, Edge, Protocol

UNMESHED = "unmeshed"


class Group(StrEnum):
    """What makes one row."""

    EDGE = ""
    SERVER = "server"
    CLIENT = "client"


class View(Shape):
    """One end's view, as the table keeps it."""

    direction: Direction
    client: str
    server: str
    protocol: Protocol
    tls: bool
    client_id: str
    server_id: str
    authorization: str
    port: int
    open_now: int
    bounds_ms: tuple[float, ...]
    total: Counts
    last_failure: dict[tuple[str, str], float]


@dataclass(slots=True)
class Ends:
    """A view with what happened over the window, `seconds` of which it has existed."""

    side: View
    recent: Counts
    seconds: float


@dataclass(slots=True)
class Pair:
    """The client's views of one edge and the server's that belong to it."""

    clients: list[Ends] = field(default_factory=list)
    servers: list[Ends] = field(default_factory=list)

    @property
    def leading(self) -> list[Ends]:
        """What is counted: both ends count the same requests."""
        return self.clients or self.servers


Pairs = dict[tuple[str, str, Protocol, bool], Pair]


def join(ends: Iterable[Ends], subjects: Mapping[str, Sequence[str]], group: Group = Group.EDGE) -> tuple[Edge, ...]:
    """All edges, sorted by client, server, protocol. `subjects` says which services an identity runs."""
    pairs = pair(ends, subjects)
    if group is Group.EDGE:
        edges = [_edge(*where, [each]) for where, each in pairs.items()]
    else:
        named: dict[str, Pairs] = {}
        for where, each in pairs.items():
            named.setdefault(_end(group, where), {})[where] = each
        edges = [_grouped(group, name, mine) for name, mine in named.items()]
    return tuple(sorted(edges, key=lambda edge: (edge.client, edge.server, edge.protocol, not edge.tls)))


def pair(ends: Iterable[Ends], subjects: Mapping[str, Sequence[str]]) -> Pairs:
    """The views that belong to the same edge, together."""
    pairs: Pairs = {}
    servers = []
    for end in ends:
        if end.side.direction is Direction.OUTBOUND:
            pairs.setdefault(_key(end.side.client, end.side), Pair()).clients.append(end)
        else:
            servers.append(end)
    _fold_failed_connections(pairs)
    homes: dict[tuple[str, str], dict[tuple[str, str, Protocol, bool], Pair]] = {}
    for where, each in pairs.items():
        for one in each.clients:
            homes.setdefault((one.side.client_id, one.side.server), {})[where] = each
    for end in servers:
        home = _home(end, homes.get((end.side.client, end.side.server), {})) if end.side.client else None
        if home is None:
            home = pairs.setdefault(_key(_client_name(end.side.client, subjects), end.side), Pair())
        home.servers.append(end)
    return pairs


def _end(group: Group, where: tuple[str, str, Protocol, bool]) -> str:
    return where[1] if group is Group.SERVER else where[0]


def _grouped(group: Group, name: str, mine: Pairs) -> Edge:
    """One row for one end; of several protocols, the busiest names it. TLS means that all of it was encrypted."""
    busiest = max(mine, key=lambda where: (where[2] is not Protocol.TCP, _requests(mine[where])))
    client, server = ("", name) if group is Group.SERVER else (name, "")
    return _edge(client, server, busiest[2], all(where[3] for where in mine), list(mine.values()))


def _key(client: str, side: View) -> tuple[str, str, Protocol, bool]:
    return client, side.server, side.protocol, side.tls


def _fold_failed_connections(pairs: Pairs) -> None:
    """A connection that was never made was neither encrypted nor plain: it belongs to the encrypted row, if any."""
    for client, server, protocol, tls in list(pairs):
        encrypted = pairs.get((client, server, protocol, True))
        plain = pairs[client, server, protocol, tls]
        if tls or encrypted is None or any(end.side.total.successes for end in plain.clients):
            continue
        encrypted.clients.extend(plain.clients)
        del pairs[client, server, protocol, tls]


def _home(end: Ends, pairs: Pairs) -> Pair | None:
    """Of the rows with the same client's identity and server, the one that a server's view belongs to.

    Same protocol where there is one; where several services share an identity, the one that was refused most.
    """
    exact = {where: each for where, each in pairs.items() if where[2] is end.side.protocol}
    candidates = exact or pairs
    if not candidates:
        return None

    def likeness(where: tuple[str, str, Protocol, bool]) -> tuple[bool, int, int]:
        return where[3] == end.side.tls, _refusals(candidates[where].clients), _requests(candidates[where])

    return candidates[max(candidates, key=likeness)]


def _refusals(ends: Iterable[Ends]) -> int:
    return sum(
        count
        for end in ends
        for (author, reason), count in end.side.total.failures.items()
        if author is Author.INBOUND and reason in REFUSALS
    )


def _requests(pair: Pair) -> int:
    return sum(end.side.total.requests for end in pair.clients)


def _client_name(identity: str, subjects: Mapping[str, Sequence[str]]) -> str:
    """The service behind an identity, or `namespace/serviceaccount` read from it."""
    if not identity:
        return UNMESHED
    known = subjects.get(identity)
    if known:
        return known[0]
    labels = identity.split(".")
    if len(labels) > 4 and labels[2:4] == ["serviceaccount", "identity"]:
        return f"{labels[1]}/{labels[0]}"
    return identity


def _edge(client: str, server: str, protocol: Protocol, tls: bool, pairs: Sequence[Pair]) -> Edge:
    leading = [end for each in pairs for end in each.leading]
    servers = [end for each in pairs for end in each.servers]
    total, recent, connections = Counts(), Counts(), 0
    for end in leading:
        total.add(end.side.total)
        recent.add(end.recent)
        connections += end.recent.requests if end.side.protocol is Protocol.TCP else 0
    seconds = max(end.seconds for end in leading)
    denied = sum(_denied(each) for each in pairs)
    denied_now = max(sum(end.recent.denied for end in servers), recent.denied)
    latency, app_latency = _latency(leading), _latency(servers)
    everyone = [end for each in pairs for end in (*each.servers, *each.clients)]
    return Edge(
        client=client,
        server=server,
        protocol=protocol,
        tls=tls or (len(pairs) == 1 and any(end.side.tls for end in servers)),
        client_id=_first(end.side.client_id for end in everyone) if client else "",
        server_id=_first(end.side.server_id for end in reversed(everyone)) if server else "",
        rps=(recent.requests - connections) / seconds,
        tcp_rps=(connections or recent.opened) / seconds,
        success_rate=_success_rate(recent, denied_now),
        p50_ms=latency(0.50),
        p95_ms=latency(0.95),
        p99_ms=latency(0.99),
        app_p50_ms=app_latency(0.50),
        app_p99_ms=app_latency(0.99),
        requests=total.requests,
        successes=total.successes,
        denied=denied,
        tcp_open=max(0, sum(end.side.open_now for end in leading)),
        read_bytes=total.read_bytes,
        write_bytes=total.write_bytes,
        authorization=_first(end.side.authorization for end in servers),
        port=next((end.side.port for end in everyone if end.side.port), 0),
        failures=_failures(pairs, seconds),
    )


def _denied(pair: Pair) -> int:
    """Both ends may have counted a refusal."""
    return max(
        sum(end.side.total.denied for end in pair.servers),
        sum(end.side.total.denied for end in pair.clients),
        _refusals(pair.clients),
    )


def _latency(ends: Sequence[Ends]) -> Callable[[float], float | None]:
    """Percentiles over these views; where sidecars of two versions count in different buckets, of the first's."""
    bounds = next((end.side.bounds_ms for end in ends if end.side.bounds_ms), ())
    recent = Counts()
    for end in ends:
        if end.side.bounds_ms == bounds:
            recent.add(end.recent)
    counts = [recent.latency.get(bucket, 0) for bucket in range(len(bounds) + 1)]
    return lambda q: quantile(q, counts, bounds)


def _success_rate(recent: Counts, denied: int) -> float | None:
    """Of what has been answered; a refusal that nobody else counted is a failure."""
    judged = recent.successes + recent.failed()
    if judged:
        return recent.successes / judged
    return 0.0 if denied else None


def _failures(pairs: Sequence[Pair], seconds: float) -> tuple[AuthoredFailure, ...]:
    """Both ends may have seen the same failure, or only one of them: of the two counts, the higher."""
    counted: dict[tuple[Author, str], int] = {}
    rates: dict[tuple[Author, str], float] = {}
    last: dict[tuple[str, str], float] = {}
    for each in pairs:
        for what in {what for end in (*each.clients, *each.servers) for what in end.side.total.failures}:
            sides = (each.clients, each.servers)
            counted[what] = counted.get(what, 0) + max(_sum(end.side.total for end in side)[what] for side in sides)
            recent = max(_sum(end.recent for end in side)[what] for side in sides)
            rates[what] = rates.get(what, 0.0) + recent / seconds
        for end in (*each.clients, *each.servers):
            for told, when in end.side.last_failure.items():
                last[told] = max(last.get(told, 0.0), when)
    found = [
        AuthoredFailure(author, reason, count, last.get((author, reason), 0.0), rates[author, reason])
        for (author, reason), count in counted.items()
    ]
    order = list(Author)
    return tuple(sorted(found, key=lambda failure: (order.index(failure.author), -failure.count, failure.reason)))


def _sum(stretches: Iterable[Counts]) -> Counter[tuple[Author, str]]:
    found: Counter[tuple[Author, str]] = Counter()
    for counts in stretches:
        found.update(counts.failures)
    return found


def _first(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")

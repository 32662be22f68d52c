"""Is it the mesh or the application? Verdicts from what the sidecars counted (seams §28).

What one failure means is in `blame`; here the edges, workloads and failures that matter are found and put in order,
with their evidence. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gossamer.api.blame import Known, blame
from gossamer.model.edge import REFUSALS, Author, AuthoredFailure, Edge

NOBODY = "nobody"
# Older failures are history.
RECENT_SECONDS = 300.0
SLOW_MS = 1_000.0
# Of the client's latency; above it, slowness is the application's.
APPLICATION_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Verdict:
    """`author` is one of Author's words, or "nobody". `count` is how often, for the order."""

    subject: str
    author: str
    reason: str
    sentence: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    count: int = 0


def why(
    edges: Iterable[Edge], workloads: Sequence[Known], now: float, subject: str = "", client: str = ""
) -> list[Verdict]:
    """Verdicts about an edge, about everything a service or workload takes part in, or about all; worst first.

    `subject` and `client` are `namespace/name`. With nothing wrong there is one verdict: nobody's fault.
    """
    names = _names(subject, workloads)
    mine = [edge for edge in edges if _about(edge, names, _names(client, workloads))]
    found = [verdict for edge in mine for verdict in _edge(edge, workloads, now)]
    found += [
        verdict for known in workloads if not names or known.subject in names for verdict in _workload(known, now)
    ]
    found.sort(key=lambda verdict: -verdict.count)
    return found or [_healthy(mine, subject)]


def _names(subject: str, workloads: Sequence[Known]) -> frozenset[str]:
    """The ends of edges that a name stands for: a service itself, a workload's service."""
    if not subject:
        return frozenset()
    return frozenset({subject} | {one.subject for one in workloads if subject == f"{one.namespace}/{one.name}"})


def _about(edge: Edge, subject: frozenset[str], client: frozenset[str]) -> bool:
    if client:
        return edge.client in client and (not subject or edge.server in subject)
    return not subject or edge.client in subject or edge.server in subject


def _edge(edge: Edge, workloads: Sequence[Known], now: float) -> Iterator[Verdict]:
    recent = [failure for failure in edge.failures if not failure.last or now - failure.last <= RECENT_SECONDS]
    for failure in recent:
        yield _failure(edge, failure, workloads, now)
    if edge.denied and not any(failure.author is Author.INBOUND for failure in recent) and _still_denied(edge):
        yield _denied(edge, edge.denied, "unauthorized", now, 0.0)
    if not recent and edge.p99_ms is not None and edge.p99_ms >= SLOW_MS:
        yield _slow(edge)


def _still_denied(edge: Edge) -> bool:
    return edge.successes == 0


def _failure(edge: Edge, failure: AuthoredFailure, workloads: Sequence[Known], now: float) -> Verdict:
    if failure.author is Author.INBOUND and failure.reason in REFUSALS:
        return _denied(edge, max(failure.count, edge.denied), failure.reason, now, failure.last)
    cause = blame(edge, failure, workloads)
    return Verdict(
        subject=_subject(edge),
        author=cause.author,
        reason="slow" if cause.author == Author.APPLICATION and failure.reason == "timeout" else failure.reason,
        sentence=cause.sentence,
        evidence=(_counted(failure, now), *_evidence(edge)),
        remedy=cause.remedy,
        count=failure.count,
    )


def _denied(edge: Edge, count: int, reason: str, now: float, last: float) -> Verdict:
    who = edge.client_id or "a caller without an identity"
    decided = f"decided by {edge.authorization}" if edge.authorization else "no authorization admits it"
    evidence = (f"{count} refused" + (f", last {_ago(now - last)}" if last else ""), f"client identity: {who}", decided)
    service = edge.server.rpartition("/")[2]
    return Verdict(
        subject=_subject(edge),
        author=Author.INBOUND,
        reason=reason,
        sentence=f"policy refuses {edge.client} at {edge.server}: nothing admits {who}",
        evidence=evidence,
        remedy=f"if it should be let in, add an AuthorizationPolicy for it (`gossamer describe {service}` shows what "
        f"applies); `gossamer audit --workload {service}` lets it in for a while",
        count=count,
    )


def _slow(edge: Edge) -> Verdict:
    assert edge.p99_ms is not None
    app = edge.app_p99_ms
    evidence = [f"99 % of answers within {_ms(edge.p99_ms)} at the client"]
    if app is not None:
        evidence.append(f"99 % within {_ms(app)} at the application itself")
    if app is None or app >= APPLICATION_SHARE * edge.p99_ms:
        return Verdict(
            _subject(edge),
            Author.APPLICATION,
            "slow",
            f"{edge.server} is slow, and the mesh adds little to it",
            tuple(evidence),
            f"look at {edge.server} itself",
        )
    return Verdict(
        _subject(edge),
        Author.OUTBOUND,
        "slow",
        f"answers of {edge.server} are slow on the way, not in the application",
        tuple(evidence),
        "`gossamer check --proxy`; look at the load of this machine",
    )


def _workload(known: Known, now: float) -> Iterator[Verdict]:
    subject = f"{known.namespace}/{known.name}"
    if known.certificate_not_after and known.certificate_not_after < now:
        yield Verdict(
            subject,
            Author.CONTROL_PLANE,
            "certificate-expired",
            f"the certificate of {subject} expired {_ago(now - known.certificate_not_after)}: peers refuse it",
            (f"{known.refresh_failures} renewals failed",) if known.refresh_failures else (),
            "run `gossamer check`; `gossamer logs --control-plane` says why it was not renewed",
            1,
        )
    for note in known.notes:
        yield Verdict(
            subject,
            Author.CONTROL_PLANE,
            "rejected-configuration",
            f"the sidecar of {subject} could not use what it was told: {note}",
            (),
            "the previous configuration stays in force; correct the resource it names",
        )


def _healthy(edges: Sequence[Edge], subject: str) -> Verdict:
    requests = sum(edge.requests for edge in edges)
    what = subject or "the mesh"
    if not edges:
        sentence, remedy = f"no traffic of {what} was seen in the last ten minutes", "send some, then ask again"
    else:
        sentence, remedy = f"nothing is wrong with {what}: no failure in the last five minutes", ""
    slowest = max((edge.p99_ms for edge in edges if edge.p99_ms is not None), default=None)
    evidence = [f"{requests} requests and connections on {len(edges)} edges"] if edges else []
    if slowest is not None:
        evidence.append(f"slowest edge: 99 % within {_ms(slowest)}")
    return Verdict(what, NOBODY, "healthy" if edges else "no-traffic", sentence, tuple(evidence), remedy)


def _evidence(edge: Edge) -> Iterator[str]:
    judged = edge.successes + sum(failure.count for failure in edge.failures)
    if judged:
        yield f"{edge.successes} of {judged} answers on this edge were successes"
    if edge.tls and edge.server_id:
        yield f"the connection was mutual TLS with {edge.server_id}"


def _counted(failure: AuthoredFailure, now: float) -> str:
    when = f", last {_ago(now - failure.last)}" if failure.last else ""
    times = "once" if failure.count == 1 else f"{failure.count} times"
    return f"{failure.author}: {failure.reason}, {times}{when}"


def _subject(edge: Edge) -> str:
    return f"{edge.client} → {edge.server}"


def _ago(seconds: float) -> str:
    seconds = max(0, int(seconds))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"

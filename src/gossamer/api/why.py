"""Is it the mesh or the application? Verdicts from what the sidecars counted (seams §28).

A sidecar names the author of each failure it sees. Here the two ends and the registrations are put together: a
service nobody serves is the application's, although it was the client's sidecar that gave up. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gossamer.model.edge import REFUSALS, Author, AuthoredFailure, Edge

NOBODY = "nobody"
# Older failures are history.
RECENT_SECONDS = 300.0
SLOW_MS = 1_000.0
# Of the client's latency; above it, slowness is the application's.
APPLICATION_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a workload beside its traffic. Times are wall time in seconds, 0 when unknown."""

    namespace: str
    name: str
    service: str
    ready: bool = True
    connected: bool = True
    certificate_not_after: float = 0.0
    refresh_failures: int = 0
    notes: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return f"{self.namespace}/{self.service or self.name}"


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


Explain = Callable[[Edge, AuthoredFailure, Sequence[Known]], tuple[str, str, str]]
"""→ (author, sentence, remedy)"""


def _failure(edge: Edge, failure: AuthoredFailure, workloads: Sequence[Known], now: float) -> Verdict:
    if failure.author is Author.INBOUND and failure.reason in REFUSALS:
        return _denied(edge, max(failure.count, edge.denied), failure.reason, now, failure.last)
    author, sentence, remedy = _explain(edge, failure, workloads)
    return Verdict(
        subject=_subject(edge),
        author=author,
        reason="slow" if author == Author.APPLICATION and failure.reason == "timeout" else failure.reason,
        sentence=sentence,
        evidence=(_counted(failure, now), *_evidence(edge)),
        remedy=remedy,
        count=failure.count,
    )


def _explain(edge: Edge, failure: AuthoredFailure, workloads: Sequence[Known]) -> tuple[str, str, str]:
    server, reason = edge.server, failure.reason
    match failure.author:
        case Author.APPLICATION:
            return Author.APPLICATION, _of_application(server, reason), f"look at what {server} itself prints"
        case Author.CONTROL_PLANE:
            return (
                Author.CONTROL_PLANE,
                f"{edge.client}'s sidecar had no configuration for {server}: the control plane did not answer it"
                if reason != "invalid-policy"
                else f"{edge.client}'s sidecar could not use the configuration it was given for {server}",
                "run `gossamer check`; `gossamer logs --control-plane` says more",
            )
        case Author.OUTBOUND:
            return _of_outbound(edge, reason, workloads)
        case Author.INBOUND:
            return _of_inbound(server, reason)


def _of_application(server: str, reason: str) -> str:
    known = {
        "refused": f"nothing listens on {server}'s port: its own machine refused the connection",
        "reset": f"{server} itself reset the connection before it had answered",
        "closed": f"{server} itself closed the connection before it had answered",
        "unreachable": f"{server} cannot be reached by its own sidecar",
        "connect-timeout": f"{server} did not accept the connection of its own sidecar in time",
        "timeout": f"{server} did not answer in time; its sidecar had delivered the request",
        "protocol": f"{server} answered with something that is not the protocol it speaks",
        "cancelled": f"{server} had not answered when its caller gave up; the mesh was waiting for it",
    }
    kind, _, number = reason.partition("-")
    if kind == "status":
        return f"{server} itself answered {number}; the mesh delivered it unchanged"
    if kind == "grpc":
        return f"{server} itself answered with gRPC status {number}; the mesh delivered it unchanged"
    return known.get(reason, f"{server} itself failed ({reason})")


def _of_outbound(edge: Edge, reason: str, workloads: Sequence[Known]) -> tuple[str, str, str]:
    server, client = edge.server, edge.client
    serving = [one for one in workloads if one.subject == server]
    if reason in ("timeout", "idle-timeout"):
        return (
            Author.APPLICATION,
            f"{server} was slower than its route's timeout allows; the mesh had delivered the request",
            f"make {server} faster, or raise the timeout of the HTTPRoute",
        )
    if reason in ("failfast", "no-endpoints", "refused", "unreachable", "connect-timeout"):
        if not serving:
            return (
                Author.APPLICATION,
                f"no program serves {server}: none was started with `gossamer run --service`",
                f"start it: gossamer run --service {server.rpartition('/')[2]} -- CMD...",
            )
        if not any(one.ready for one in serving):
            return (
                Author.APPLICATION,
                f"{len(serving)} of {len(serving)} programs of {server} run, and none listens on its port",
                f"look at what {server} itself prints; `gossamer describe {server}` shows its ports",
            )
        return (
            Author.OUTBOUND,
            f"{client}'s sidecar could not connect to the sidecar of {server} ({reason})",
            f"`gossamer check --proxy`, then `gossamer logs {server.rpartition('/')[2]}`",
        )
    sentences = {
        "tls": f"the mutual TLS handshake between {client} and {server} failed",
        "identity": f"what answered for {server} could not prove the identity it must have; nothing was sent to it",
        "no-route": f"no route of {server} matches what {client} asked for",
        "forbidden": f"policy forbids {client} to go to {server}",
        "load-shed": f"{client}'s sidecar had more requests in flight than it may have",
        "draining": f"{client} was shutting down",
        "reset": f"the connection between the sidecars of {client} and {server} was lost",
        "closed": f"the connection between the sidecars of {client} and {server} was lost",
        "host-port": f"{client} may not reach this machine's own ports",
    }
    return (
        Author.OUTBOUND,
        sentences.get(reason, f"{client}'s sidecar could not deliver to {server} ({reason})"),
        f"`gossamer logs {client.rpartition('/')[2]}` shows what its sidecar saw",
    )


def _of_inbound(server: str, reason: str) -> tuple[str, str, str]:
    if reason in ("refused", "unreachable", "connect-timeout", "failfast"):
        return (
            Author.APPLICATION,
            f"{server} does not accept connections: its own sidecar could not reach it ({reason})",
            f"look at what {server} itself prints",
        )
    sentences = {
        "no-route": f"routes are attached to {server}'s Server, and none matches the request",
        "bad-path": f"{server}'s sidecar refused a path that policy cannot be decided on",
        "bad-request": f"{server}'s sidecar refused a malformed request",
        "too-large": f"{server}'s sidecar refused a request whose head is too large",
        "rate-limited": f"a rate limit of {server} was exceeded",
        "load-shed": f"{server}'s sidecar had more requests in flight than it may have",
        "draining": f"{server} was shutting down",
        "tls": f"{server}'s sidecar and the caller could not agree on mutual TLS",
    }
    return (
        Author.INBOUND,
        sentences.get(reason, f"{server}'s sidecar could not deliver to it ({reason})"),
        f"`gossamer logs {server.rpartition('/')[2]}` shows what its sidecar saw",
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

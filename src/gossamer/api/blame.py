"""Whose fault one failure is, in a sentence, and what to do: the words behind `gossamer why` (seams §28).

A sidecar names the author of each failure it sees. Here the registrations are put beside that: a service nobody serves
is the application's, although it was the client's sidecar that gave up. Pure; which failures matter is `why`'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gossamer.api.plane import Sidecar
from gossamer.model.edge import Author, AuthoredFailure, Edge
from gossamer.model.workload import Workload


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


def known_of(workload: Workload, sidecar: Sidecar | None) -> Known:
    return Known(
        namespace=workload.key.namespace,
        name=workload.key.name,
        service=workload.service or "",
        ready=workload.ready,
        connected=sidecar is None or sidecar.connected,
        certificate_not_after=sidecar.identity.not_after if sidecar is not None else 0.0,
        refresh_failures=sidecar.identity.refresh_failures if sidecar is not None else 0,
        notes=sidecar.notes if sidecar is not None else (),
    )


class Cause(NamedTuple):
    author: str
    sentence: str
    remedy: str


def blame(edge: Edge, failure: AuthoredFailure, workloads: Sequence[Known]) -> Cause:
    """Whose fault a failure on an edge is. Refusals by policy are not asked about here."""
    server, reason = edge.server, failure.reason
    match failure.author:
        case Author.APPLICATION:
            return Cause(Author.APPLICATION, _of_application(server, reason), f"look at what {server} itself prints")
        case Author.CONTROL_PLANE:
            return Cause(
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


def _of_outbound(edge: Edge, reason: str, workloads: Sequence[Known]) -> Cause:
    server, client = edge.server, edge.client
    serving = [one for one in workloads if one.subject == server]
    if reason in ("timeout", "idle-timeout"):
        return Cause(
            Author.APPLICATION,
            f"{server} was slower than its route's timeout allows; the mesh had delivered the request",
            f"make {server} faster, or raise the timeout of the HTTPRoute",
        )
    if reason in ("failfast", "no-endpoints", "refused", "unreachable", "connect-timeout"):
        if not serving:
            return Cause(
                Author.APPLICATION,
                f"no program serves {server}: none was started with `gossamer run --service`",
                f"start it: gossamer run --service {server.rpartition('/')[2]} -- CMD...",
            )
        if not any(one.ready for one in serving):
            return Cause(
                Author.APPLICATION,
                f"{len(serving)} of {len(serving)} programs of {server} run, and none listens on its port",
                f"look at what {server} itself prints; `gossamer describe {server}` shows its ports",
            )
        return Cause(
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
    return Cause(
        Author.OUTBOUND,
        sentences.get(reason, f"{client}'s sidecar could not deliver to {server} ({reason})"),
        f"`gossamer logs {client.rpartition('/')[2]}` shows what its sidecar saw",
    )


def _of_inbound(server: str, reason: str) -> Cause:
    if reason in ("refused", "unreachable", "connect-timeout", "failfast"):
        return Cause(
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
    return Cause(
        Author.INBOUND,
        sentences.get(reason, f"{server}'s sidecar could not deliver to it ({reason})"),
        f"`gossamer logs {server.rpartition('/')[2]}` shows what its sidecar saw",
    )

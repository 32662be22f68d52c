"""gossamer.v1.Admin: the one way in for people (seams §22).

Requests are decoded here, the questions are answered by pure functions beside this module, and the answers encoded.
Admission (whose process may call) is the server's business, see `admit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from gossamer.api import authz, changes, checks, describe, diff, fetch, listing, subjects
from gossamer.api.audits import Audits
from gossamer.api.blame import known_of
from gossamer.api.changes import Given
from gossamer.api.diagnose import NoAnswer, diagnose
from gossamer.api.edges import encode_edge
from gossamer.api.encode import admin as encode
from gossamer.api.plane import Plane
from gossamer.api.show import show, whole
from gossamer.api.why import why
from gossamer.kit.grpc.calls import Context, Method, Stream, Streaming, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.edge import Edge
from gossamer.model.workload import WORKLOAD, Workload
from gossamer.pb.v1 import admin_pb2 as pb
from gossamer.ports import Conflict, Unavailable
from gossamer.resources.problem import Where

SERVICE = "gossamer.v1.Admin"
SHORTEST_INTERVAL_MS = 100
LONGEST_AUDIT_SECONDS = 24 * 3600
# `why` looks further back than a table does.
WHY_WINDOW = 60.0

M = TypeVar("M", bound=Message)


class Admin:
    """The service; `methods` is for kit.grpc.server."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._audits = Audits(plane.state)

    def methods(self) -> dict[str, Method]:
        return {
            f"/{SERVICE}/Status": _unary(pb.StatusRequest, self.status),
            f"/{SERVICE}/Apply": _unary(pb.ApplyRequest, self.apply),
            f"/{SERVICE}/Get": _unary(pb.GetRequest, self.get),
            f"/{SERVICE}/Delete": _unary(pb.DeleteRequest, self.delete),
            f"/{SERVICE}/Diff": _unary(pb.DiffRequest, self.diff),
            f"/{SERVICE}/WatchEdges": Streaming(self.watch_edges, _newest),
            f"/{SERVICE}/Describe": _unary(pb.DescribeRequest, self.describe),
            f"/{SERVICE}/Why": _unary(pb.WhyRequest, self.why),
            f"/{SERVICE}/Diagnose": _unary(pb.DiagnoseRequest, self.diagnose),
            f"/{SERVICE}/Audit": _unary(pb.AuditRequest, self.audit),
            f"/{SERVICE}/Shutdown": _unary(pb.ShutdownRequest, self.shutdown),
        }

    def status(self, _: pb.StatusRequest) -> pb.StatusResponse:
        plane = self._plane
        view, now = plane.state.snapshot, plane.now()
        anchors, issuers = plane.certificates()
        sidecars = plane.sidecars()
        control = view.mesh.control_address
        address = f"{control[0]}:{control[1]}" if control is not None else ""
        found = [
            *checks.control_plane(
                plane.state.synced, address, anchors, issuers, plane.problems(), now, plane.concerns()
            ),
            *checks.data_plane(view, sidecars, view.mesh.bundle.generation, now),
        ]
        return pb.StatusResponse(
            version=plane.about.version,
            mesh=plane.about.mesh,
            pid=plane.about.pid,
            started=int(plane.about.started),
            trust_domain=view.mesh.trust_domain,
            control_address=address,
            anchors=[encode.certificate(one) for one in anchors],
            issuers=[encode.certificate(one) for one in issuers],
            workloads=[encode.workload(view, one, sidecars.get(one.key)) for one in self._workloads()],
            checks=[
                pb.Check(category=one.category, name=one.name, result=one.result, error=one.error, hint=one.hint)
                for one in found
            ],
            default_inbound_policy=view.mesh.default_policy.value,
        )

    def apply(self, request: pb.ApplyRequest) -> pb.ApplyResponse:
        try:
            steps = changes.applying(self._plane, _given(request.documents))
            if not request.dry_run:
                changes.carried_out(self._plane, steps)
        except changes.Refused as refused:
            return pb.ApplyResponse(problems=encode.problems(refused.problems))
        return encode.results(steps)

    def delete(self, request: pb.DeleteRequest) -> pb.ApplyResponse:
        try:
            steps = changes.deleting(self._plane, _given(request.documents), request.ignore_missing)
            changes.carried_out(self._plane, steps)
        except changes.Refused as refused:
            return pb.ApplyResponse(problems=encode.problems(refused.problems))
        return encode.results(steps)

    def get(self, request: pb.GetRequest) -> pb.GetResponse:
        try:
            found = list(listing.listed(self._plane, request.kind, request.namespace, request.name))
        except listing.UnknownKind as error:
            return pb.GetResponse(problems=[pb.Problem(source="command line", message=str(error))])
        return pb.GetResponse(
            resources=[
                pb.Resource(
                    kind=one.kind,
                    namespace=one.namespace,
                    name=one.name,
                    origin=one.origin,
                    json=listing.as_json(one.document),
                )
                for one in found
            ]
        )

    def diff(self, request: pb.DiffRequest) -> pb.DiffResponse:
        plane = self._plane
        try:
            steps = changes.applying(plane, _given(request.documents))
        except changes.Refused as refused:
            return pb.DiffResponse(problems=encode.problems(refused.problems))
        before = plane.state.snapshot
        after = before.changed([step.value for step in steps if step.value is not None])
        return pb.DiffResponse(
            changes=[
                pb.ConfigChange(what=one.what, subject=one.subject, before=one.before, after=one.after)
                for one in diff.changes(before, after, whole)
            ],
            denied=[
                pb.DeniedEdge(client_id=one.client_id, server=one.server, port=one.port, reason=one.reason)
                for one in diff.refused(before, after, plane.traffic.rows(plane.now(), WHY_WINDOW))
            ],
        )

    def watch_edges(self, request: bytes, _: Context, stream: Stream[pb.EdgesResponse]) -> Callable[[], None]:
        """Publishes at once, then once per interval; a slow reader gets the newest."""
        asked = _parse(pb.WatchEdgesRequest, request)
        if asked.group not in ("", "server", "client"):
            raise Status(Code.INVALID_ARGUMENT, f"group {asked.group!r}: expected server or client")
        stream.publish(self._edges(asked))
        if not asked.interval_ms:
            stream.finish()
            return lambda: None
        interval = max(asked.interval_ms, SHORTEST_INTERVAL_MS) / 1000
        loop = asyncio.get_running_loop()
        timer: list[asyncio.TimerHandle] = []

        def tick() -> None:
            stream.publish(self._edges(asked))
            timer[0] = loop.call_later(interval, tick)

        timer.append(loop.call_later(interval, tick))
        return lambda: timer[0].cancel()

    def describe(self, request: pb.DescribeRequest) -> pb.DescribeResponse:
        plane = self._plane
        subject = self._find(request.subject, request.namespace)
        view, sidecars = plane.state.snapshot, plane.sidecars()
        workloads = [encode.workload(view, one, sidecars.get(one.key)) for one in subject.workloads]
        ends = {subject.name, *(_edge_end(one) for one in subject.workloads)}
        service = subject.service
        return pb.DescribeResponse(
            workload=workloads[0] if workloads else None,
            workloads=workloads,
            service=str(service.key) if service is not None else "",
            addresses=[str(address) for address in service.cluster_ips] if service is not None else [],
            origin=str(service.origin) if service is not None else "run",
            routes=describe.attached(view, service) if service is not None else (),
            ports=[
                pb.PortPolicy(
                    workload=port.workload,
                    port=port.port,
                    protocol=port.protocol,
                    server=port.server,
                    authorizations=port.authorizations,
                    routes=port.routes,
                    rules=port.rules,
                )
                for workload in subject.workloads
                for port in describe.ports(view, workload)
            ],
            endpoints=describe.endpoints(view, subject),
            edges=[encode_edge(edge) for edge in plane.traffic.rows(plane.now()) if ends & {edge.client, edge.server}],
        )

    def why(self, request: pb.WhyRequest) -> pb.WhyResponse:
        plane = self._plane
        subject, client = (self._name(text, request.namespace) for text in (request.subject, request.client))
        now = plane.now()
        sidecars = plane.sidecars()
        known = [known_of(workload, sidecars.get(workload.key)) for workload in self._workloads()]
        verdicts = why(plane.traffic.rows(now, WHY_WINDOW), known, now, subject, client)
        return pb.WhyResponse(
            verdicts=[
                pb.Verdict(
                    subject=one.subject,
                    author=one.author,
                    reason=one.reason,
                    sentence=one.sentence,
                    evidence=one.evidence,
                    remedy=one.remedy,
                )
                for one in verdicts
            ]
        )

    async def diagnose(self, request: pb.DiagnoseRequest) -> pb.DiagnoseResponse:
        plane = self._plane
        arguments, namespace = list(request.arguments), request.namespace or "default"
        if request.what == "proxy-metrics":
            return pb.DiagnoseResponse(answers=[await self._metrics(name, namespace) for name in arguments])
        if request.what == "controller-metrics":
            return pb.DiagnoseResponse(answers=[plane.metrics()])
        view = plane.state.snapshot
        try:
            match request.what:
                case "explain":
                    answers = list(authz.explained(view, arguments[0] if arguments else "{}", namespace))
                case "suggest":
                    answers = list(authz.suggested(view, plane.traffic.rows(plane.now()), request.namespace))
                case _:
                    answers = diagnose(view, show, request.what, arguments, namespace)
        except NoAnswer as error:
            raise Status(Code.NOT_FOUND, str(error)) from error
        return pb.DiagnoseResponse(answers=answers)

    def audit(self, request: pb.AuditRequest) -> pb.AuditResponse:
        """Opens the window now and ends it by itself; zero seconds end it now. It does not outlive this process."""
        if request.seconds > LONGEST_AUDIT_SECONDS:
            raise Status(Code.INVALID_ARGUMENT, "--for: at most 24h")
        subject = self._find(request.workload, request.namespace)
        until = int(self._plane.now()) + request.seconds if request.seconds else 0
        for workload in subject.workloads:
            self._audits.open(workload.key, until, request.seconds)
        return pb.AuditResponse(until=until)

    def shutdown(self, _: pb.ShutdownRequest) -> pb.ShutdownResponse:
        self._plane.stop()
        return pb.ShutdownResponse()

    async def _metrics(self, name: str, namespace: str) -> str:
        subject = self._find(name, namespace)
        sidecars = self._plane.sidecars()
        texts = []
        for workload in subject.workloads:
            sidecar = sidecars.get(workload.key)
            if sidecar is None or not sidecar.admin_socket:
                raise Status(Code.NOT_FOUND, f"{workload.key} has no admin socket here")
            texts.append(f"# WORKLOAD {workload.key}\n{await fetch.get(sidecar.admin_socket, '/metrics')}")
        return "\n".join(texts)

    def _edges(self, asked: pb.WatchEdgesRequest) -> pb.EdgesResponse:
        now = self._plane.now()
        rows: Iterable[Edge] = self._plane.traffic.rows(now, float(asked.window_s or 10), asked.group)
        return pb.EdgesResponse(time_ms=int(now * 1000), edges=[encode_edge(edge) for edge in rows])

    def _find(self, text: str, namespace: str) -> subjects.Subject:
        try:
            return subjects.find(self._plane.state.snapshot, text, namespace)
        except subjects.Unknown as error:
            raise Status(Code.NOT_FOUND, str(error)) from error

    def _name(self, text: str, namespace: str) -> str:
        """An edge's end as it is called; what is not known any more may still have traffic to tell of."""
        if not text:
            return ""
        try:
            return subjects.find(self._plane.state.snapshot, text, namespace).name
        except subjects.Unknown as error:
            name = text if "/" in text else f"{namespace or 'default'}/{text}"
            if any(name in (edge.client, edge.server) for edge in self._plane.traffic.rows(self._plane.now())):
                return name
            raise Status(Code.NOT_FOUND, str(error)) from error

    def _workloads(self) -> Iterator[Workload]:
        for _, named in sorted(self._plane.state.snapshot.all(WORKLOAD).items()):
            for _, workload in sorted(named.items()):
                yield workload


def _parse(kind: type[M], request: bytes) -> M:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise Status(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}") from error


def _unary(kind: type[M], answer: Callable[[M], Message | Awaitable[Message]]) -> Method:
    """A method of bytes from one of messages, with what the environment cannot do as its status."""

    async def handle(request: bytes, _: Context) -> bytes:
        try:
            found: Any = answer(_parse(kind, request))
            message = await found if isinstance(found, Awaitable) else found
        except (Unavailable, Conflict) as error:
            raise Status(Code.FAILED_PRECONDITION, str(error)) from error
        assert isinstance(message, Message)
        return message.SerializeToString()

    return Unary(handle)


def _newest(sent: pb.EdgesResponse | None, newest: pb.EdgesResponse) -> list[bytes]:
    return [newest.SerializeToString()]


def _given(documents: Iterable[pb.Document]) -> list[Given]:
    return [Given(Where(one.source, one.line, dict(one.lines)), one.json) for one in documents]


def _edge_end(workload: Workload) -> str:
    return f"{workload.key.namespace}/{workload.service or workload.key.name}"

"""What people are answered: model → messages of gossamer.v1.Admin. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gossamer.api import changes
from gossamer.api.plane import Certificate, Sidecar
from gossamer.model.authorization import AUDIT_WINDOW
from gossamer.model.snapshot import Snapshot
from gossamer.model.workload import Workload
from gossamer.pb.v1 import admin_pb2 as pb
from gossamer.resources.problem import InvalidResource


def workload(view: Snapshot, workload: Workload, sidecar: Sidecar | None) -> pb.Workload:
    sidecar = sidecar or Sidecar(workload.key, connected=False)
    window = view.get(AUDIT_WINDOW, workload.key)
    return pb.Workload(
        namespace=workload.key.namespace,
        name=workload.key.name,
        service=workload.service or "",
        service_account=workload.service_account,
        identity=workload.identity,
        address=str(workload.address),
        ports=[
            pb.WorkloadPort(name=port.name, port=port.port, target=port.target, opaque=port.opaque)
            for port in workload.ports
        ],
        labels=dict(workload.labels),
        ready=workload.ready,
        pid=sidecar.pid,
        started=int(sidecar.started),
        certificate_not_before=int(sidecar.identity.not_before),
        certificate_not_after=int(sidecar.identity.not_after),
        bundle_generation=sidecar.identity.bundle_generation,
        refresh_failures=sidecar.identity.refresh_failures,
        notes=sidecar.notes,
        log_file=sidecar.log_file,
        admin_socket=sidecar.admin_socket,
        audit_until=window.until if window is not None else 0,
        connected=sidecar.connected,
    )


def problems(found: Sequence[InvalidResource]) -> list[pb.Problem]:
    return [
        pb.Problem(source=one.where.source, line=one.line, field=one.field, message=one.message, remedy=one.remedy)
        for one in found
    ]


def results(steps: Iterable[changes.Step]) -> pb.ApplyResponse:
    return pb.ApplyResponse(
        results=[
            pb.ApplyResult(
                kind=changes.shown_kind(step.kind), namespace=step.key.namespace, name=step.key.name, action=step.action
            )
            for step in steps
        ]
    )


def certificate(one: Certificate) -> pb.Certificate:
    return pb.Certificate(
        subject=one.subject, sha256=one.sha256, not_before=int(one.not_before), not_after=int(one.not_after)
    )

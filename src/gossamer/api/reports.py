"""gossamer.v1.Reports: what sidecars tell of themselves and of the traffic they carry, handed on to whoever counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError

from gossamer.api import caller
from gossamer.api.edges import decode_report
from gossamer.kit.grpc.server import Context, Method, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.edge import Report, Reporter
from gossamer.model.workload import Workload
from gossamer.pb.v1 import reports_pb2
from gossamer.state import State

Observe = Callable[[Reporter, Report], None]
_TAKEN = reports_pb2.ReportResponse().SerializeToString()


def methods(state: State, observe: Observe) -> Mapping[str, Method]:
    """`observe` gets only reports of workloads that are known, and of the front, each from the right sidecar."""

    def report(request: bytes, context: Context) -> bytes:
        try:
            message = reports_pb2.ReportRequest.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, "not a ReportRequest") from None
        claim = caller.workload(message.workload)
        found = caller.check(claim, context.peer, state.snapshot)
        mesh = state.snapshot.mesh
        if found is None and claim.key == mesh.front and context.peer == mesh.control_identity:
            told = decode_report(message)
            reporter = Reporter(claim.namespace, claim.name, "", mesh.control_identity)
            # Who talks through it tells of that itself.
            observe(reporter, replace(told, edges=()))
            return _TAKEN
        if not isinstance(found, Workload):
            raise Status(Code.NOT_FOUND, f"no workload {claim.namespace}/{claim.name}")
        reporter = Reporter(claim.namespace, claim.name, found.service or "", found.identity, found.started)
        observe(reporter, decode_report(message))
        return _TAKEN

    return {"/gossamer.v1.Reports/Report": Unary(report)}

"""The control plane as the command line sees it: gossamer.v1.Admin, one method per call.

Imports protobuf: only commands that call the control plane may import this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from gossamer.cli.errors import CliError, Exit
from gossamer.kit.grpc.client import Client
from gossamer.kit.grpc.status import Code, Status
from gossamer.pb.v1 import admin_pb2 as pb

M = TypeVar("M", bound=Message)

_EXITS = {
    Code.UNAVAILABLE: Exit.UNREACHABLE,
    Code.DEADLINE_EXCEEDED: Exit.UNREACHABLE,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.INVALID_ARGUMENT: Exit.USAGE,
}


class Connection:
    """Calls to one service of the control plane. Raises CliError."""

    service = ""

    def __init__(self, socket: Path, timeout: float, unreachable: str) -> None:
        self._socket = socket
        self._timeout = timeout
        self._unreachable = unreachable

    def _call(self, method: str, request: Message, response: type[M], timeout: float | None = None) -> M:
        """`timeout` None: the usual one."""
        try:
            with Client(str(self._socket), timeout or self._timeout) as client:
                answer = client.unary(f"/{self.service}/{method}", request.SerializeToString())
        except Status as status:
            raise self._error(status) from status
        return response.FromString(answer)

    def _error(self, status: Status) -> CliError:
        if status.code is Code.UNAVAILABLE:
            return CliError(self._unreachable, Exit.UNREACHABLE)
        if status.code is Code.DEADLINE_EXCEEDED:
            text = "the control plane does not answer in time; see `gossamer logs --control-plane`"
            return CliError(f"{text}, or start it anew: `gossamer down`, then `gossamer up`", Exit.UNREACHABLE)
        return CliError(status.message or status.code.name, _EXITS.get(status.code, Exit.FAILED))


class Admin(Connection):
    """gossamer.v1.Admin, one method per call."""

    service = "gossamer.v1.Admin"

    def status(self) -> pb.StatusResponse:
        return self._call("Status", pb.StatusRequest(), pb.StatusResponse)

    def apply(self, documents: Sequence[pb.Document], dry_run: bool = False) -> pb.ApplyResponse:
        return self._call("Apply", pb.ApplyRequest(documents=documents, dry_run=dry_run), pb.ApplyResponse)

    def get(self, kind: str, namespace: str, name: str) -> pb.GetResponse:
        return self._call("Get", pb.GetRequest(kind=kind, namespace=namespace, name=name), pb.GetResponse)

    def delete(self, documents: Sequence[pb.Document], ignore_missing: bool = False) -> pb.ApplyResponse:
        request = pb.DeleteRequest(documents=documents, ignore_missing=ignore_missing)
        return self._call("Delete", request, pb.ApplyResponse)

    def diff(self, documents: Sequence[pb.Document]) -> pb.DiffResponse:
        return self._call("Diff", pb.DiffRequest(documents=documents), pb.DiffResponse)

    def edges(self, window_s: int = 0, group: str = "") -> pb.EdgesResponse:
        request = pb.WatchEdgesRequest(interval_ms=0, window_s=window_s, group=group)
        for response in self._watch(request, self._timeout):
            return response
        raise CliError(self._unreachable, Exit.UNREACHABLE)

    def watch_edges(self, interval_ms: int, window_s: int = 0, group: str = "") -> Iterator[pb.EdgesResponse]:
        return self._watch(pb.WatchEdgesRequest(interval_ms=interval_ms, window_s=window_s, group=group), None)

    def describe(self, subject: str, namespace: str) -> pb.DescribeResponse:
        return self._call("Describe", pb.DescribeRequest(subject=subject, namespace=namespace), pb.DescribeResponse)

    def why(self, subject: str, namespace: str, client: str) -> pb.WhyResponse:
        request = pb.WhyRequest(subject=subject, namespace=namespace, client=client)
        return self._call("Why", request, pb.WhyResponse)

    def diagnose(self, what: str, arguments: Sequence[str], namespace: str) -> pb.DiagnoseResponse:
        request = pb.DiagnoseRequest(what=what, arguments=arguments, namespace=namespace)
        return self._call("Diagnose", request, pb.DiagnoseResponse)

    def audit(self, workload: str, namespace: str, seconds: int) -> pb.AuditResponse:
        request = pb.AuditRequest(workload=workload, namespace=namespace, seconds=seconds)
        return self._call("Audit", request, pb.AuditResponse)

    def shutdown(self) -> None:
        self._call("Shutdown", pb.ShutdownRequest(), pb.ShutdownResponse)

    def _watch(self, request: Message, timeout: float | None) -> Iterator[pb.EdgesResponse]:
        try:
            with Client(str(self._socket), self._timeout) as client:
                messages = client.stream("/gossamer.v1.Admin/WatchEdges", request.SerializeToString(), timeout)
                for message in messages:
                    yield pb.EdgesResponse.FromString(message)
        except Status as status:
            raise self._error(status) from status

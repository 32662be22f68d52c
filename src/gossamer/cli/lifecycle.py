"""gossamer.v1.Lifecycle as the command line sees it, one method per call.

Imports protobuf: only commands that call the control plane may import this module.
"""

from __future__ import annotations

from gossamer.cli.admin import Connection
from gossamer.pb.v1 import lifecycle_pb2 as pb

# Making a new anchor starts a process; a busy machine takes its time for it.
MAKING = 60.0


class Lifecycle(Connection):
    """Raises CliError."""

    service = "gossamer.v1.Lifecycle"

    def show(self) -> pb.ShowResponse:
        return self._call("Show", pb.ShowRequest(), pb.ShowResponse)

    def rotate_issuer(self) -> pb.RotateResponse:
        return self._call("RotateIssuer", pb.RotateIssuerRequest(), pb.RotateResponse, MAKING)

    def rotate_anchor(self, step: bool, abort: bool) -> pb.RotateResponse:
        request = pb.RotateAnchorRequest(step=step, abort=abort)
        return self._call("RotateAnchor", request, pb.RotateResponse, MAKING)

    def request(self) -> bytes:
        return self._call("RequestIssuer", pb.RequestIssuerRequest(), pb.RequestIssuerResponse).csr

    def install(self, certificate: bytes, key: bytes, anchors: bytes) -> pb.RotateResponse:
        request = pb.InstallRequest(certificate=certificate, key=key, anchors=anchors)
        return self._call("Install", request, pb.RotateResponse)

    def revoke(self, subject: str, namespace: str, undo: bool) -> pb.RevokeResponse:
        return self._call(
            "Revoke", pb.RevokeRequest(subject=subject, namespace=namespace, undo=undo), pb.RevokeResponse
        )

    def log(self, lines: int, verify: bool) -> pb.LogResponse:
        return self._call("Log", pb.LogRequest(lines=lines, verify=verify), pb.LogResponse)

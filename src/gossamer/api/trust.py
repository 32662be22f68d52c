"""gossamer.v1.Trust: whom to trust, as it changes.

A sidecar asks in its workload's name. The front asks as `{"ns": CONTROL_NAMESPACE, "pod": "front"}`, naming itself in
the field in which it names its callers.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from gossamer.api import caller
from gossamer.api.encode import parts, trust
from gossamer.api.watches import Answer, Watches
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.mesh import Bundle
from gossamer.model.subscription import TrustBundle
from gossamer.pb.v1 import trust_pb2
from gossamer.state import State


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        try:
            asked = trust_pb2.TrustRequest.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, "not a TrustRequest") from None
        snapshot = state.snapshot
        caller.check(caller.workload(asked.workload), context.peer, snapshot)
        return watches.watch(TrustBundle(snapshot.mesh.trust_domain), stream)

    return {"/gossamer.v1.Trust/Watch": Streaming(watch, encode)}


def encode(sent: Answer | None, new: Answer) -> list[bytes]:
    if not isinstance(new.value, Bundle) or (sent is not None and sent.value == new.value):
        return []
    return new.encoded(None, _whole)


def _whole(_: Answer | None, new: Answer) -> list[bytes]:
    """One message. A bundle of this control plane has one trust domain, its own."""
    assert isinstance(new.value, Bundle)
    return [parts.serialize(trust.bundle(new.value, domain)) for domain in new.value.anchors]

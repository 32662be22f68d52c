"""gossamer.v1.Endpoints: what is behind the endpoints of a service, from the answer that `Destination.Get` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError

from gossamer.api import caller, target
from gossamer.api.encode import endpoints, parts
from gossamer.api.watches import Answer, Watches
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import EndpointSet
from gossamer.model.subscription import Endpoints, NameTarget
from gossamer.pb.v1 import endpoints_pb2
from gossamer.state import State


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        try:
            asked = endpoints_pb2.EndpointsRequest.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, "not an EndpointsRequest") from None
        wanted = target.authority(asked.authority)
        if not isinstance(wanted, NameTarget):
            raise Status(Code.INVALID_ARGUMENT, f"an address is no authority: {wanted.address}")
        source = caller.source(caller.workload(asked.workload), context.peer, state.snapshot)
        # The question that Destination asks, so that both streams share one answer.
        return watches.watch(Endpoints(replace(source, namespace=""), wanted), stream)

    return {"/gossamer.v1.Endpoints/Watch": Streaming(watch, encode)}


def encode(sent: Answer | None, new: Answer) -> list[bytes]:
    return new.encoded(sent, _whole)


def _whole(sent: Answer | None, new: Answer) -> list[bytes]:
    """The whole set; nothing when what changed is said by `Destination` only, or when there is no set any more."""
    if not isinstance(new.value, EndpointSet):
        return []
    message = parts.serialize(endpoints.metadata(new.value))
    if sent is not None and isinstance(sent.value, EndpointSet):
        return [message] if message != parts.serialize(endpoints.metadata(sent.value)) else []
    return [message]

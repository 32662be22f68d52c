"""io.linkerd.proxy.outbound.OutboundPolicies: how traffic to a target is routed."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from gossamer.api import caller, target
from gossamer.api.encode import outbound, parts
from gossamer.api.watches import Answer, Watches
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import OutboundConfig
from gossamer.model.subscription import Outbound, Source, Target
from gossamer.pb.linkerd import outbound_pb2
from gossamer.state import State

SERVICE = "io.linkerd.proxy.outbound.OutboundPolicies"


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def get(request: bytes, context: Context) -> bytes:
        return _bytes(watches.get(_asked(request, context, state)))

    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        return watches.watch(_asked(request, context, state), stream)

    return {f"/{SERVICE}/Get": Unary(get), f"/{SERVICE}/Watch": Streaming(watch, encode)}


def encode(sent: Answer | None, new: Answer) -> list[bytes]:
    if not isinstance(new.value, OutboundConfig) or (sent is not None and sent.value == new.value):
        return []
    return new.encoded(None, _whole)


def _whole(_: Answer | None, new: Answer) -> list[bytes]:
    return [_bytes(new.value)]


def _bytes(value: object) -> bytes:
    assert isinstance(value, OutboundConfig)
    return parts.serialize(outbound.policy(value))


def _asked(request: bytes, context: Context, state: State) -> Outbound:
    try:
        spec = outbound_pb2.TrafficSpec.FromString(request)
    except DecodeError:
        raise Status(Code.INVALID_ARGUMENT, "not a TrafficSpec") from None
    wanted = _target(spec)
    claim = caller.workload(spec.source_workload)
    caller.check(claim, context.peer, state.snapshot)
    # Of the asker only the namespace matters, so that all of its workloads share one answer.
    return Outbound(Source(claim.namespace), wanted)


def _target(spec: outbound_pb2.TrafficSpec) -> Target:
    match spec.WhichOneof("target"):
        case "addr":
            return target.address(spec.addr)
        case "authority":
            return target.authority(spec.authority)
        case _:
            raise Status(Code.INVALID_ARGUMENT, "target is required")

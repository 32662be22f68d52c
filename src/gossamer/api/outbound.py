"""How traffic to a target is routed: io.linkerd.proxy.outbound.OutboundPolicies and gossamer.v1.OutboundPolicies."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from gossamer.api import caller, target
from gossamer.api.encode import outbound, own
from gossamer.api.watches import Answer, Watches
from gossamer.api.whole import Whole
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.names import Meta
from gossamer.model.proxy_config import OutboundConfig
from gossamer.model.subscription import Outbound, Source, Target
from gossamer.pb.linkerd import outbound_pb2
from gossamer.state import State

SERVICE = "io.linkerd.proxy.outbound.OutboundPolicies"
OWN = "gossamer.v1.OutboundPolicies"

encode = Whole(OutboundConfig, outbound.policy)
encode_own = Whole(OutboundConfig, own.outbound_config)


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def get(request: bytes, context: Context) -> bytes:
        return encode.serialized(watches.get(_asked(request, context, state)))

    def get_own(request: bytes, context: Context) -> bytes:
        return encode_own.serialized(watches.get(_asked(request, context, state)))

    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        return watches.watch(_asked(request, context, state), Steady(stream))

    return {
        f"/{SERVICE}/Get": Unary(get),
        f"/{SERVICE}/Watch": Streaming(watch, encode),
        f"/{OWN}/Get": Unary(get_own),
        f"/{OWN}/Watch": Streaming(watch, encode_own),
    }


class Steady:
    """A stream about one resource: when another one becomes the answer (an EgressNetwork comes or goes) it ends, as
    Linkerd's does, and whoever asks again learns of the new one."""

    __slots__ = ("_about", "_stream")

    def __init__(self, stream: Stream[Answer]) -> None:
        self._stream = stream
        self._about: Meta | None = None

    def publish(self, state: Answer) -> None:
        if not isinstance(state.value, OutboundConfig):
            return
        if self._about is not None and state.value.meta != self._about:
            self._stream.finish()
            return
        self._about = state.value.meta
        self._stream.publish(state)

    def finish(self, status: Status | None = None) -> None:
        self._stream.finish(status)

    @property
    def closed(self) -> bool:
        return self._stream.closed


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

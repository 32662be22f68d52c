"""What a workload's port accepts: io.linkerd.proxy.inbound.InboundServerPolicies and gossamer.v1.InboundPolicies."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from gossamer.api import caller
from gossamer.api.encode import inbound, own
from gossamer.api.watches import Answer, Watches
from gossamer.api.whole import Whole
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import InboundConfig
from gossamer.model.subscription import Inbound
from gossamer.pb.linkerd import inbound_pb2
from gossamer.state import State

SERVICE = "io.linkerd.proxy.inbound.InboundServerPolicies"
OWN = "gossamer.v1.InboundPolicies"
MAX_PORT = 65_535

encode = Whole(InboundConfig, inbound.server)
encode_own = Whole(InboundConfig, own.inbound_config)


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def get(request: bytes, context: Context) -> bytes:
        return encode.serialized(watches.get(_asked(request, context, state)))

    def get_own(request: bytes, context: Context) -> bytes:
        return encode_own.serialized(watches.get(_asked(request, context, state)))

    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        return watches.watch(_asked(request, context, state), stream)

    return {
        f"/{SERVICE}/GetPort": Unary(get),
        f"/{SERVICE}/WatchPort": Streaming(watch, encode),
        f"/{OWN}/GetPort": Unary(get_own),
        f"/{OWN}/WatchPort": Streaming(watch, encode_own),
    }


def _asked(request: bytes, context: Context, state: State) -> Inbound:
    try:
        spec = inbound_pb2.PortSpec.FromString(request)
    except DecodeError:
        raise Status(Code.INVALID_ARGUMENT, "not a PortSpec") from None
    claim = caller.workload(spec.workload)
    if not 0 < spec.port <= MAX_PORT:
        raise Status(Code.INVALID_ARGUMENT, f"Invalid port: {spec.port}")
    caller.check(claim, context.peer, state.snapshot)
    return Inbound(claim.key, spec.port, claim.external)

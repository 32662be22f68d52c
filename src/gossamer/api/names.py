"""gossamer.v1.Names: the names of the mesh, for a sidecar's DNS stub."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from gossamer.api import caller
from gossamer.api.encode import names
from gossamer.api.watches import Answer, Watches
from gossamer.api.whole import Whole
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import NamesTable
from gossamer.model.subscription import Names, Source
from gossamer.pb.v1 import names_pb2
from gossamer.state import State

encode = Whole(NamesTable, names.table)


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def watch(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        try:
            asked = names_pb2.NamesRequest.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, "not a NamesRequest") from None
        claim = caller.workload(asked.workload)
        caller.check(claim, context.peer, state.snapshot)
        return watches.watch(Names(Source(claim.namespace)), stream)

    return {"/gossamer.v1.Names/Watch": Streaming(watch, encode)}

"""io.linkerd.proxy.destination.Destination: endpoints of a service, and what a target is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError

from gossamer.api import caller, target
from gossamer.api.encode import destination, parts
from gossamer.api.watches import Answer, Watches
from gossamer.kit.grpc.server import Closer, Context, Method, Stream, Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import EndpointSet, NotFound, ProfileConfig
from gossamer.model.subscription import AddressTarget, Endpoints, Profile, Source, Target
from gossamer.pb.linkerd import destination_pb2
from gossamer.state import State

SERVICE = "io.linkerd.proxy.destination.Destination"


def methods(state: State, watches: Watches) -> Mapping[str, Method]:
    def get(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        source, wanted = _asked(request, context, state)
        if isinstance(wanted, AddressTarget):
            raise Status(Code.INVALID_ARGUMENT, f"IP queries not supported by Get API: host={wanted.address}")
        # Endpoints depend on where the asker is, not on who it is.
        return watches.watch(Endpoints(replace(source, namespace=""), wanted), stream)

    def profile(request: bytes, context: Context, stream: Stream[Answer]) -> Closer:
        source, wanted = _asked(request, context, state)
        return watches.watch(Profile(Source(source.namespace, machine=source.machine), wanted), stream)

    return {
        f"/{SERVICE}/Get": Streaming(get, encode_updates),
        f"/{SERVICE}/GetProfile": Streaming(profile, encode_profile),
    }


def encode_updates(sent: Answer | None, new: Answer) -> list[bytes]:
    return new.encoded(sent, _updates)


def _updates(sent: Answer | None, new: Answer) -> list[bytes]:
    """The difference between two whole sets; a service that has gone says so before the stream ends."""
    before = sent.value if sent is not None and isinstance(sent.value, EndpointSet) else None
    if isinstance(new.value, EndpointSet):
        return [parts.serialize(one) for one in destination.updates(before, new.value)]
    if before is not None and isinstance(new.value, NotFound):
        return [parts.serialize(destination.gone())]
    return []


def encode_profile(sent: Answer | None, new: Answer) -> list[bytes]:
    if not isinstance(new.value, ProfileConfig) or (sent is not None and sent.value == new.value):
        return []
    return new.encoded(None, _profile)


def _profile(_: Answer | None, new: Answer) -> list[bytes]:
    assert isinstance(new.value, ProfileConfig)
    return [parts.serialize(destination.profile(new.value))]


def _asked(request: bytes, context: Context, state: State) -> tuple[Source, Target]:
    try:
        asked = destination_pb2.GetDestination.FromString(request)
    except DecodeError:
        raise Status(Code.INVALID_ARGUMENT, "not a GetDestination") from None
    wanted = target.authority(asked.path)
    return caller.source(caller.context(asked.context_token), context.peer, state.snapshot), wanted

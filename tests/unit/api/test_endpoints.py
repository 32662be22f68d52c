"""gossamer.v1.Endpoints: whole sets, from the answer that Destination gives, for those who may ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer.api import destination, endpoints
from gossamer.kit.grpc.calls import Context
from gossamer.kit.grpc.server import Closer, Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.change import Remove
from gossamer.model.names import local
from gossamer.model.service import SERVICE
from gossamer.model.workload import Sidecar, Workload
from gossamer.pb.linkerd import destination_pb2
from gossamer.pb.v1 import endpoints_pb2
from gossamer.testing.build import resources, service, workload
from tests.unit.api.test_watches import Reader, World

ASKER = workload("load-0", address="127.64.0.9", service="load")
AUTHORITY = "web.default.svc.cluster.local:80"
OPAQUE = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec: {podSelector: {}, port: 8080, proxyProtocol: opaque}
"""


def web(number: int) -> Workload:
    return replace(workload(f"web-{number}", address=f"127.64.0.{number}", service="web"), sidecar=Sidecar.GOSSAMER)


def ask(world: World, stream: Reader, request: object = None, peer: str | None = ASKER.identity) -> Closer:
    asked = request or endpoints_pb2.EndpointsRequest(workload='{"ns":"default","pod":"load-0"}', authority=AUTHORITY)
    method = endpoints.methods(world.state, world.watches)["/gossamer.v1.Endpoints/Watch"]
    assert isinstance(method, Streaming)
    text = asked if isinstance(asked, bytes) else asked.SerializeToString()  # type: ignore[attr-defined]
    closer: Closer = method.handle(text, Context(peer, {}, None, None), stream)
    return closer


def said(messages: list[bytes]) -> list[list[str]]:
    """The workloads that each message names."""
    return [[one.workload for one in endpoints_pb2.EndpointsMetadata.FromString(m).endpoints] for m in messages]


def test_every_message_is_the_whole_set() -> None:
    world = World(ASKER, service("web"))
    stream = Reader(endpoints.encode)
    ask(world, stream)
    assert said(stream.read()) == [[]]

    world.put(web(1))
    assert said(stream.read()) == [["web-1"]]
    world.put(web(2))
    (message,) = stream.read()
    first, second = endpoints_pb2.EndpointsMetadata.FromString(message).endpoints
    assert (first.address, second.address) == ("127.64.0.1:8080", "127.64.0.2:8080")
    assert (second.namespace, second.workload, second.identity) == ("default", "web-2", web(2).identity)
    assert (second.sidecar, second.link_protocol) == (endpoints_pb2.SIDECAR_GOSSAMER, "")


def test_what_is_no_part_of_it_is_not_said_again() -> None:
    world = World(ASKER, service("web"), web(1))
    stream = Reader(endpoints.encode)
    ask(world, stream)
    stream.read()
    world.put(*resources(OPAQUE))

    assert (stream.published, stream.read()) == (2, [])


def test_one_answer_serves_destination_too_and_each_gets_its_own_messages() -> None:
    world = World(ASKER, service("web"), web(1))
    ours, theirs = Reader(endpoints.encode), Reader(destination.encode_updates)
    ask(world, ours)
    get = destination.methods(world.state, world.watches)[f"/{destination.SERVICE}/Get"]
    assert isinstance(get, Streaming)
    request = destination_pb2.GetDestination(path=AUTHORITY, context_token='{"ns":"default","pod":"load-0"}')
    get.handle(request.SerializeToString(), Context(ASKER.identity, {}, None, None), theirs)

    assert len(world.watches) == 1
    assert said(ours.read()) == [["web-1"]]
    (update,) = theirs.read()
    assert len(destination_pb2.Update.FromString(update).add.addrs) == 1


def test_messages_are_made_once_for_all_streams() -> None:
    world = World(ASKER, service("web"), web(1))
    streams = [Reader(endpoints.encode), Reader(endpoints.encode)]
    for stream in streams:
        ask(world, stream)
    (first,), (second,) = (stream.read() for stream in streams)

    assert first is second


def test_a_service_that_goes_ends_the_stream() -> None:
    world = World(ASKER, service("web"), web(1))
    stream = Reader(endpoints.encode)
    ask(world, stream)
    stream.read()
    world.state.apply("run", Remove(SERVICE, local("default", "web")))
    world.turn()

    assert stream.read() == []
    assert stream.status is not None
    assert stream.status.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "peer", "code"),
    [
        (None, None, Code.PERMISSION_DENIED),
        (None, web(1).identity, Code.PERMISSION_DENIED),
        (b"\xff", ASKER.identity, Code.INVALID_ARGUMENT),
        (
            endpoints_pb2.EndpointsRequest(workload="default:load-0", authority="198.19.0.1:80"),
            ASKER.identity,
            Code.INVALID_ARGUMENT,
        ),
        (endpoints_pb2.EndpointsRequest(authority=AUTHORITY), ASKER.identity, Code.INVALID_ARGUMENT),
        (endpoints_pb2.EndpointsRequest(workload="default:load-0"), ASKER.identity, Code.INVALID_ARGUMENT),
    ],
)
def test_who_may_not_ask_and_what_is_no_question_is_refused(request_: object, peer: str | None, code: Code) -> None:
    world = World(ASKER, service("web"), web(1))
    with pytest.raises(Status) as refused:
        ask(world, Reader(endpoints.encode), request_, peer)

    assert (refused.value.code, len(world.watches)) == (code, 0)

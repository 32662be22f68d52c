"""Streams: answered when everything is read, written when the answer changed, ended when there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from gossamer.api import destination, inbound, outbound
from gossamer.api.watches import Answer, Watches
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.change import Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import local
from gossamer.model.service import SERVICE
from gossamer.model.subscription import Endpoints, Inbound, NameTarget, Outbound, Source
from gossamer.pb.linkerd import destination_pb2
from gossamer.state import State
from gossamer.testing.build import resources, service, workload

WEB = Endpoints(Source(""), NameTarget("web.default.svc.cluster.local", 80))
PORT = Inbound(local("default", "web-0"), 8080)
SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec: {podSelector: {}, port: 8080}
"""


class Reader:
    """A `Stream` whose peer reads when the test says so."""

    def __init__(self, encode: Callable[[Answer | None, Answer], list[bytes]]) -> None:
        self.encode = encode
        self.sent: Answer | None = None
        self.newest: Answer | None = None
        self.published = 0
        self.status: Status | None = None

    def publish(self, state: Answer) -> None:
        self.newest = state
        self.published += 1

    def finish(self, status: Status | None = None) -> None:
        self.status = status

    @property
    def closed(self) -> bool:
        return self.status is not None

    def read(self) -> list[bytes]:
        if self.newest is None:
            return []
        messages, self.sent = self.encode(self.sent, self.newest), self.newest
        return messages


class World:
    def __init__(self, *objects: Object, synced: bool = True) -> None:
        self.calls: list[Callable[[], None]] = []
        self.state = State(("run",), Mesh(), self.calls.append)
        self.watches = Watches(self.state)
        if synced:
            self.state.apply("run", Replace(objects))
            self.turn()

    def turn(self) -> None:
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()

    def put(self, *objects: Object) -> None:
        for one in objects:
            self.state.apply("run", Put(one))
        self.turn()


def test_a_stream_waits_until_everything_has_been_read() -> None:
    world = World(synced=False)
    stream = Reader(inbound.encode)
    world.watches.watch(PORT, stream)
    with pytest.raises(Status) as refused:
        world.watches.get(PORT)
    assert (stream.published, refused.value.code) == (0, Code.UNAVAILABLE)

    world.state.apply("run", Replace((workload("web-0"),)))
    world.turn()
    assert len(stream.read()) == 1


def test_an_answer_is_written_again_only_when_it_changed() -> None:
    world = World(workload("web-0"))
    stream = Reader(inbound.encode)
    world.watches.watch(PORT, stream)
    first = stream.read()
    world.put(workload("api-0", address="127.64.0.2"), service("api"))
    assert stream.published == 1

    world.put(*resources(SERVER))
    second = stream.read()
    assert (len(first), len(second), first != second) == (1, 1, True)


def test_a_slow_reader_gets_one_message_for_many_changes() -> None:
    world = World(service("web"))
    slow, quick = Reader(destination.encode_updates), Reader(destination.encode_updates)
    for stream in (slow, quick):
        world.watches.watch(WEB, stream)
        assert _kinds(stream.read()) == ["no_endpoints"]
    for number in range(1, 6):
        world.put(workload(f"web-{number}", address=f"127.64.0.{number}", labels={"app": "web"}))
        assert _added(quick.read()) == 1

    assert _added(slow.read()) == 5
    assert slow.read() == []


def test_a_set_that_came_and_went_while_nobody_read_says_nothing() -> None:
    world = World(service("web"), workload("web-0", labels={"app": "web"}))
    stream = Reader(destination.encode_updates)
    world.watches.watch(WEB, stream)
    stream.read()
    world.put(workload("web-0", labels={"app": "web"}, ready=False))
    world.put(workload("web-0", labels={"app": "web"}, ready=True))

    assert stream.read() == []


def test_a_service_that_goes_says_so_and_ends_the_stream() -> None:
    world = World(service("web"), workload("web-0", labels={"app": "web"}))
    stream = Reader(destination.encode_updates)
    world.watches.watch(WEB, stream)
    stream.read()
    world.state.apply("run", Remove(SERVICE, local("default", "web")))
    world.turn()

    (message,) = stream.read()
    assert destination_pb2.Update.FromString(message).no_endpoints == destination_pb2.NoEndpoints(exists=False)
    assert stream.status is not None
    assert stream.status.code is Code.NOT_FOUND


def test_what_does_not_exist_ends_at_once_without_a_message() -> None:
    world = World()
    stream = Reader(destination.encode_updates)
    world.watches.watch(WEB, stream)

    assert stream.read() == []
    assert stream.status is not None
    assert stream.status.code is Code.NOT_FOUND


def test_equal_questions_share_one_row_and_one_encoding() -> None:
    world = World(workload("web-0"))
    streams = [Reader(inbound.encode) for _ in range(3)]
    enders = [world.watches.watch(PORT, stream) for stream in streams]
    first, *others = [stream.read()[0] for stream in streams]
    assert len(world.watches) == 1
    assert all(one is first for one in others)

    for end in enders:
        end()
    assert len(world.watches) == 0


def test_a_stream_that_joins_between_change_and_wake_gets_the_newest_once() -> None:
    world = World(workload("web-0"))
    early, late = Reader(inbound.encode), Reader(inbound.encode)
    world.watches.watch(PORT, early)
    early.read()
    world.state.apply("run", Put(resources(SERVER)[0]))
    world.watches.watch(PORT, late)
    assert early.read() == late.read() != []

    world.turn()
    assert early.read() == late.read() == []


def test_a_single_answer_between_change_and_wake_takes_nothing_from_the_streams() -> None:
    world = World(workload("web-0"))
    stream = Reader(inbound.encode)
    world.watches.watch(PORT, stream)
    stream.read()
    world.state.apply("run", Put(resources(SERVER)[0]))
    world.watches.get(PORT)
    world.turn()

    assert len(stream.read()) == 1


def test_a_bug_about_one_thing_keeps_the_last_good_answer_and_spares_the_others() -> None:
    world = World(service("web"), service("api", address="198.19.0.2"))
    outbounds = [
        Outbound(Source("default"), NameTarget(f"{name}.default.svc.cluster.local", 80)) for name in ("web", "api")
    ]
    web, api = Reader(outbound.encode), Reader(outbound.encode)
    for asked, stream in zip(outbounds, (web, api), strict=True):
        world.watches.watch(asked, stream)
        stream.read()
    poisoned = replace(service("web"), ports=None)  # type: ignore[arg-type]
    world.put(poisoned, service("api", address="198.19.0.2", app_protocol="http"))
    assert (len(web.read()), len(api.read())) == (0, 1)

    world.put(service("web", app_protocol="http"))
    assert len(web.read()) == 1


def test_a_retired_answer_holds_none_of_its_predecessors() -> None:
    """Else a busy service would keep every set it ever had."""
    import gc
    import weakref

    class Mark(Answer):
        __slots__ = ("__weakref__",)

    marks = [Mark(Endpoints) for _ in range(3)]  # type: ignore[arg-type]
    for before, after in pairwise(marks):
        after.encoded(before, lambda *_: [])
        before.retire()
    first = weakref.ref(marks[0])
    del before, after
    marks[:2] = []
    gc.collect()

    assert first() is None


def _kinds(messages: list[bytes]) -> list[str | None]:
    return [destination_pb2.Update.FromString(one).WhichOneof("update") for one in messages]


def _added(messages: list[bytes]) -> int:
    return sum(len(destination_pb2.Update.FromString(one).add.addrs) for one in messages)

"""gossamer.v1.Trust and what is reported of it: the whole bundle to whoever may ask, and nobody speaks for the front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer.api import reports, trust
from gossamer.kit.grpc.calls import Context, Unary
from gossamer.kit.grpc.server import Streaming
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.edge import IdentityState, Report, Reporter
from gossamer.model.mesh import Bundle, Mesh, Revocation
from gossamer.pb.v1 import reports_pb2, trust_pb2
from gossamer.testing.build import workload
from tests.unit.api.test_watches import Reader, World

ASKER = workload("load-0", address="127.64.0.9", service="load")
MESH = Mesh()
FRONT = '{"ns":"gossamer","pod":"front"}'
BUNDLE = Bundle(
    {"cluster.local": (b"old", b"new")}, 7, b"\1" * 32, 30, (Revocation("web", 9), Revocation("a", 0, (b"\2",)))
)


def watch(world: World, stream: Reader, who: str = '{"ns":"default","pod":"load-0"}', peer: str | None = None) -> None:
    method = trust.methods(world.state, world.watches)["/gossamer.v1.Trust/Watch"]
    assert isinstance(method, Streaming)
    context = Context(peer or ASKER.identity, {}, None, None)
    method.handle(trust_pb2.TrustRequest(workload=who).SerializeToString(), context, stream)


def test_a_bundle_is_sent_whole_at_once_and_after_each_change() -> None:
    world = World(ASKER)
    world.state.set_mesh(replace(MESH, bundle=BUNDLE))
    stream, front = Reader(trust.encode), Reader(trust.encode)
    watch(world, stream)
    watch(world, front, FRONT, MESH.control_identity)
    (sent,) = stream.read()
    assert front.read() == [sent]
    assert trust_pb2.TrustBundle.FromString(sent) == trust_pb2.TrustBundle(
        generation=7,
        trust_domain="cluster.local",
        anchors=[b"old", b"new"],
        active_anchor=b"\1" * 32,
        renew_within_s=30,
        revoked=[
            trust_pb2.Revocation(identity="web", issued_before=9),
            trust_pb2.Revocation(identity="a", serials=[b"\2"]),
        ],
    )
    world.state.set_mesh(replace(MESH, bundle=replace(BUNDLE, anchors={"cluster.local": (b"new",)}, generation=8)))
    world.turn()
    (sent,) = stream.read()
    assert list(trust_pb2.TrustBundle.FromString(sent).anchors) == [b"new"]


def test_what_is_no_part_of_the_bundle_is_not_said_again() -> None:
    world = World(ASKER)
    world.state.set_mesh(replace(MESH, bundle=BUNDLE))
    stream = Reader(trust.encode)
    watch(world, stream)
    stream.read()
    world.state.set_mesh(replace(MESH, bundle=BUNDLE, opaque_ports=MESH.opaque_ports, control_namespace="other"))
    world.turn()
    assert stream.read() == []


@pytest.mark.parametrize("who", [FRONT, '{"ns":"other","pod":"x"}'])
def test_nobody_asks_in_anothers_name(who: str) -> None:
    with pytest.raises(Status) as refused:
        watch(World(ASKER), Reader(trust.encode), who)
    assert refused.value.code is Code.PERMISSION_DENIED


def test_the_front_tells_of_its_certificate_and_nobody_else_does() -> None:
    world = World(ASKER)
    heard: list[tuple[Reporter, Report]] = []
    method = reports.methods(world.state, lambda who, what: heard.append((who, what)))["/gossamer.v1.Reports/Report"]
    assert isinstance(method, Unary)
    told = reports_pb2.ReportRequest(
        workload=FRONT,
        instance=3,
        identity=reports_pb2.IdentityState(bundle_generation=7, anchor_sha256=b"\1" * 32, serial=b"\5" * 30),
        edges=[reports_pb2.Edge(direction=reports_pb2.DIRECTION_INBOUND, protocol=reports_pb2.PROTOCOL_TCP)],
    ).SerializeToString()
    for peer in (None, ASKER.identity, ASKER.identity.replace("load.default", "x.gossamer")):
        with pytest.raises(Status) as refused:
            method.handle(told, Context(peer, {}, None, None))
        assert refused.value.code in (Code.PERMISSION_DENIED, Code.NOT_FOUND)
    method.handle(told, Context(MESH.control_identity, {}, None, None))
    identity = IdentityState(bundle_generation=7, anchor_sha256=b"\1" * 32, serial=b"\5" * 20)
    assert heard == [(Reporter("gossamer", "front", "", MESH.control_identity), Report(3, (), identity))]

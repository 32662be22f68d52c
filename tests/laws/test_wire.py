"""Laws of the wire: a client that follows the messages knows what the control plane meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.api.encode import destination, inbound, names, outbound, own, parts
from gossamer.compile import compile
from gossamer.model.kinds import Object
from gossamer.model.proxy_config import EndpointSet, InboundConfig, NamesTable, OutboundConfig, ProfileConfig
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Endpoints, NameTarget, Source, Subscription
from gossamer.pb.linkerd import destination_pb2, inbound_pb2, outbound_pb2
from gossamer.pb.v1 import names_pb2, policy_pb2
from tests.laws.worlds import name_targets, sources, subscriptions, worlds


@given(worlds, subscriptions)
def test_encode_then_decode_is_identity(world: list[Object], subscription: Subscription) -> None:
    config = compile(Snapshot().changed(world), subscription)
    match config:
        case InboundConfig():
            server = inbound.server(config)
            assert inbound_pb2.Server.FromString(parts.serialize(server)) == server
            whole = own.inbound_config(config)
            assert policy_pb2.InboundConfig.FromString(parts.serialize(whole)) == whole
        case OutboundConfig():
            policy = outbound.policy(config)
            assert outbound_pb2.OutboundPolicy.FromString(parts.serialize(policy)) == policy
            beside = own.outbound_config(config)
            assert policy_pb2.OutboundConfig.FromString(parts.serialize(beside)) == beside
        case ProfileConfig():
            profile = destination.profile(config)
            assert destination_pb2.DestinationProfile.FromString(parts.serialize(profile)) == profile
        case NamesTable():
            table = names.table(config)
            assert names_pb2.NamesTable.FromString(parts.serialize(table)) == table
        case _:
            pass


@given(worlds, subscriptions)
def test_equal_configurations_are_equal_bytes(world: list[Object], subscription: Subscription) -> None:
    one, other = (compile(Snapshot().changed(order), subscription) for order in (world, world[::-1]))
    if isinstance(one, InboundConfig) and isinstance(other, InboundConfig):
        assert parts.serialize(inbound.server(one)) == parts.serialize(inbound.server(other))
        assert parts.serialize(own.inbound_config(one)) == parts.serialize(own.inbound_config(other))
    if isinstance(one, OutboundConfig) and isinstance(other, OutboundConfig):
        assert parts.serialize(outbound.policy(one)) == parts.serialize(outbound.policy(other))
        assert parts.serialize(own.outbound_config(one)) == parts.serialize(own.outbound_config(other))


@given(st.lists(worlds, min_size=1, max_size=4), sources, name_targets)
def test_following_the_updates_leads_to_the_endpoint_set(
    history: list[list[Object]], source: Source, target: NameTarget
) -> None:
    """From any set that was sent to any later one, whatever lay between."""
    asked = Endpoints(source, target)
    found = [compile(Snapshot().changed(world), asked) for world in history]
    known: dict[bytes, destination_pb2.WeightedAddr] = {}
    sent: EndpointSet | None = None
    for new in found:
        if isinstance(new, EndpointSet):
            messages = destination.updates(sent, new)
            for message in messages:
                _follow(known, message)
            assert sent is not None or messages, "the first answer must say something"
            assert sent != new or not messages, "an equal set says nothing"
            sent = new

            meant = map(destination.weighted_address, new.endpoints)
            assert known == {one.addr.SerializeToString(): one for one in meant}


def _follow(known: dict[bytes, destination_pb2.WeightedAddr], message: destination_pb2.Update) -> None:
    match message.WhichOneof("update"):
        case "add":
            known.update({one.addr.SerializeToString(): one for one in message.add.addrs})
        case "remove":
            for address in message.remove.addrs:
                known.pop(address.SerializeToString(), None)
        case "no_endpoints":
            known.clear()

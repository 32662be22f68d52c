"""What a request asks about."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gossamer.api import target
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.subscription import AddressTarget, NameTarget, Target
from gossamer.pb.linkerd import net_pb2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web.default.svc.cluster.local:8080", NameTarget("web.default.svc.cluster.local", 8080)),
        ("Web.Default.svc.cluster.local.", NameTarget("web.default.svc.cluster.local", 80)),
        ("198.19.0.1:80", AddressTarget(ip_address("198.19.0.1"), 80)),
        ("[::1]:80", AddressTarget(ip_address("::1"), 80)),
        ("[fd00::1]", AddressTarget(ip_address("fd00::1"), 80)),
        ("::ffff:198.19.0.1", AddressTarget(ip_address("198.19.0.1"), 80)),
    ],
)
def test_an_authority_is_a_name_or_an_address_with_a_port(text: str, expected: Target) -> None:
    assert target.authority(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "a:0", "a:65536", "a:x", "a:-1", "a" * 254, "[::1]x", "a:٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Status) as refused:
        target.authority(text)

    assert refused.value.code is Code.INVALID_ARGUMENT


def test_an_address_message_is_an_original_destination() -> None:
    four = net_pb2.TcpAddress(ip=net_pb2.IPAddress(ipv4=0xC6130001), port=80)
    mapped = net_pb2.TcpAddress(ip=net_pb2.IPAddress(ipv6=net_pb2.IPv6(last=0xFFFFC6130001)), port=80)

    assert target.address(four) == target.address(mapped) == AddressTarget(ip_address("198.19.0.1"), 80)
    for message in (
        net_pb2.TcpAddress(port=80),
        net_pb2.TcpAddress(ip=four.ip),
        net_pb2.TcpAddress(ip=four.ip, port=1 << 17),
    ):
        with pytest.raises(Status):
            target.address(message)

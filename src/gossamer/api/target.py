"""What a request asks about: `host:port`, an address, or a protobuf one → a target of the model."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from gossamer.kit.grpc.status import Code, Status
from gossamer.model.names import IPAddress
from gossamer.model.subscription import AddressTarget, NameTarget, Target
from gossamer.pb.linkerd import net_pb2

DEFAULT_PORT = 80
MAX_NAME = 253
MAX_PORT = 65_535


def authority(text: str) -> Target:
    """`host[:port]`, `[v6]:port`; the port defaults to 80. Raises Status INVALID_ARGUMENT."""
    host, port = _split(text)
    if not host or len(host) > MAX_NAME or port is None:
        raise Status(Code.INVALID_ARGUMENT, f"Invalid authority: {text[:256]}")
    try:
        return AddressTarget(_unmapped(ip_address(host)), port)
    except ValueError:
        return NameTarget(host.lower().removesuffix("."), port)


def address(message: net_pb2.TcpAddress) -> AddressTarget:
    """Raises Status INVALID_ARGUMENT for an address that is none."""
    if not 0 < message.port <= MAX_PORT:
        raise Status(Code.INVALID_ARGUMENT, "port outside valid range" if message.port else "port cannot be zero")
    match message.ip.WhichOneof("ip"):
        case "ipv4":
            return AddressTarget(IPv4Address(message.ip.ipv4), message.port)
        case "ipv6":
            number = message.ip.ipv6.first << 64 | message.ip.ipv6.last
            return AddressTarget(_unmapped(IPv6Address(number)), message.port)
        case _:
            raise Status(Code.INVALID_ARGUMENT, "traffic target must have an IP")


def _split(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else rest
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not port:
        return host, DEFAULT_PORT
    return host, int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(
        port
    ) <= MAX_PORT else None


def _unmapped(found: IPAddress) -> IPAddress:
    """`::ffff:198.19.0.1` is what a dual-stack socket calls 198.19.0.1."""
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found

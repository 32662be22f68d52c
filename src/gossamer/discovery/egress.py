"""Traffic to addresses that are no service's (reference §1.3, Egress)."""

from __future__ import annotations

from gossamer.discovery import splits
from gossamer.discovery.splits import DETECT_TIMEOUT, Towards
from gossamer.model.attachment import Parent, routes_of
from gossamer.model.authorization import Network
from gossamer.model.egress import EGRESS_NETWORK, LINK_LOCAL, EgressNetwork, is_link_local
from gossamer.model.names import Default, IPAddress, IPNetwork
from gossamer.model.proxy_config import (
    DetectOutbound,
    Empty,
    FirstAvailable,
    GrpcOutbound,
    NotFound,
    OpaqueOutbound,
    OpaqueRoute,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    OutboundRule,
    RouteBackend,
    TlsOutbound,
)
from gossamer.model.route import GRPC_ROUTE, HTTP, TCP_ROUTE, TLS_ROUTE, Fail, HttpMatch
from gossamer.model.selection import egress_is_opaque
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget

FORBIDDEN, PERMISSION_DENIED = 403, 7
WHY = "traffic not allowed"


def outbound(view: View, to: AddressTarget, client: str) -> OutboundConfig | NotFound:
    """By the EgressNetwork that the address is in; without one, as addressed, unless it is of the cluster or of the
    wire that the machine hangs on."""
    network = resolve(view, to.address, client)
    if network is not None:
        about = splits.egress_meta(network.key, to.port)
        towards = Towards(splits.forwarded(about, to), network.traffic, None, network, to)
        return OutboundConfig(about, _protocol(view, network, to.port, client, towards))
    if is_link_local(to.address):
        refuse = OpaqueRoute(Default("link-local"), Empty(), forbidden=True)
        return OutboundConfig(Default("link-local"), OpaqueOutbound(refuse))
    if any(_contains(net, to.address) for net in view.mesh.cluster_networks):
        return NotFound("No such service")
    return _fallback(to)


def resolve(view: View, address: IPAddress, client: str) -> EgressNetwork | None:
    """Of the client's namespace, or where that has none of the mesh's: the one that names the address most closely,
    then the oldest, then the first by name. A link-local address is only in one that names link-local networks."""
    candidates = view.within(EGRESS_NETWORK, client) or view.within(EGRESS_NETWORK, view.mesh.egress_namespace)
    found = []
    for network in candidates.values():
        sizes = [_size(block) for block in _blocks(view, network, address) if _includes(block, address)]
        if sizes:
            found.append((min(sizes), network.created, network.key, network))
    return min(found, key=lambda one: one[:3])[3] if found else None


def _blocks(view: View, network: EgressNetwork, address: IPAddress) -> tuple[Network, ...]:
    if network.networks is None:
        return () if is_link_local(address) else _outside(view, address)
    if not is_link_local(address):
        return network.networks
    return tuple(block for block in network.networks if any(_covers(net, block.cidr) for net in LINK_LOCAL))


def _outside(view: View, address: IPAddress) -> tuple[Network, ...]:
    """Everything that is not the cluster's, of the address's family."""
    everything = splits.EVERYTHING[address.version]
    return (Network(everything, tuple(net for net in view.mesh.cluster_networks if net.version == address.version)),)


def _includes(block: Network, address: IPAddress) -> bool:
    return _contains(block.cidr, address) and not any(_contains(hole, address) for hole in block.excepted)


def _contains(net: IPNetwork, address: IPAddress) -> bool:
    return net.version == address.version and address in net


def _covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _size(block: Network) -> int:
    return block.cidr.num_addresses - sum(hole.num_addresses for hole in block.excepted)


def _protocol(view: View, network: EgressNetwork, port: int, client: str, towards: Towards) -> OutboundProtocol:
    """As of a service, but a default route stands behind those attached: allowed, or denied."""
    parent = Parent(EGRESS_NETWORK, network.key, port)
    allow, accrual = network.allow, network.traffic.accrual
    if egress_is_opaque(view, network, port):
        found = routes_of(view, (TCP_ROUTE,), parent, client)
        return OpaqueOutbound(splits.stream(view, found[0], towards) if found else _stream("tcp", allow, towards))
    grpc = [splits.http(view, one, towards) for one in routes_of(view, (GRPC_ROUTE,), parent, client)]
    if grpc:
        return GrpcOutbound((*grpc, _grpc(allow, towards)), accrual)
    http = [splits.http(view, one, towards) for one in routes_of(view, HTTP, parent, client)]
    if not http:
        tls = [splits.stream(view, one, towards) for one in routes_of(view, (TLS_ROUTE,), parent, client)]
        if tls:
            return TlsOutbound((*tls, _stream("tls", allow, towards)))
        tcp = routes_of(view, (TCP_ROUTE,), parent, client)
        if tcp:
            return OpaqueOutbound(splits.stream(view, tcp[0], towards))
    routes = (*http, _http(allow, towards))
    return DetectOutbound(DETECT_TIMEOUT, _stream("tcp", allow, towards), routes, routes, accrual)


def _http(allow: bool, towards: Towards) -> OutboundRoute:
    name = "http-egress-allow" if allow else "http-egress-deny"
    return splits.every_request(name, towards, () if allow else (Fail(FORBIDDEN, WHY),))


def _grpc(allow: bool, towards: Towards) -> OutboundRoute:
    rule = OutboundRule(
        (),
        FirstAvailable(RouteBackend(1, towards.own)),
        () if allow else (Fail(PERMISSION_DENIED, WHY),),
        towards.traffic.timeouts,
        towards.traffic.grpc_retry,
    )
    return OutboundRoute(Default("grpc-egress-allow" if allow else "grpc-egress-deny"), (rule,))


def _stream(kind: str, allow: bool, towards: Towards) -> OpaqueRoute:
    about = Default(f"{kind}-egress-{'allow' if allow else 'deny'}")
    return OpaqueRoute(about, FirstAvailable(RouteBackend(1, towards.own)), forbidden=not allow)


def _fallback(to: AddressTarget) -> OutboundConfig:
    about = Default("egress-fallback")
    every = FirstAvailable(RouteBackend(1, splits.forwarded(about, to)))
    route = OutboundRoute(about, (OutboundRule((HttpMatch(),), every, timeouts=None),))
    return OutboundConfig(about, DetectOutbound(DETECT_TIMEOUT, OpaqueRoute(about, every), (route,), (route,)))

"""Would this client be let in? The rules' own question (proxy/rules), answered for people and for predictions.

Sidecars decide; nothing here is on the path of a request. Names and networks are compared as they compare them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gossamer.model.authorization import Network
from gossamer.model.names import IPAddress, Meta
from gossamer.model.proxy_config import (
    Authorization,
    DetectInbound,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    Identities,
    InboundConfig,
    InboundRoute,
    Unauthenticated,
)


@dataclass(frozen=True, slots=True)
class Client:
    """What is known of a client. `identity` is "" without a certificate; `addresses` are all it may come from."""

    identity: str
    tls: bool
    addresses: tuple[IPAddress, ...] = ()


def admits(config: InboundConfig, client: Client) -> Meta | None:
    """The authorization that lets the client at least somewhere in, the Server's before a route's; None refuses.

    A client of unknown address is taken to be in every network.
    """
    for authorization in (*config.authorizations, *_routes(config)):
        if admitted_by(authorization, client):
            return authorization.meta
    return None


def admitted_by(authorization: Authorization, client: Client) -> bool:
    return _known(authorization, client) and (
        not client.addresses or any(_within(authorization.networks, address) for address in client.addresses)
    )


def routes(config: InboundConfig) -> tuple[InboundRoute, ...]:
    match config.protocol:
        case DetectInbound() | Http1Inbound() | Http2Inbound() | GrpcInbound():
            return config.protocol.routes
        case _:
            return ()


def _routes(config: InboundConfig) -> Iterable[Authorization]:
    return (authorization for route in routes(config) for authorization in route.authorizations)


def _known(authorization: Authorization, client: Client) -> bool:
    match authorization.clients:
        case Unauthenticated(tls):
            return client.tls or not tls
        case Identities(exact, suffixes):
            if not client.identity:
                return False
            labels = tuple(client.identity.split("."))
            return client.identity in exact or any(
                not suffix or (len(labels) > len(suffix) and labels[-len(suffix) :] == suffix) for suffix in suffixes
            )


def _within(networks: Iterable[Network], address: IPAddress) -> bool:
    return any(
        address.version == network.cidr.version
        and address in network.cidr
        and not any(address.version == hole.version and address in hole for hole in network.excepted)
        for network in networks
    )

"""Would this client be let in? The rules' own question (proxy/rules), answered for people and for predictions.

Sidecars decide; nothing here is on the path of a request. Names and networks are compared as they compare them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gossamer.model.access import Action
from gossamer.model.authorization import Network
from gossamer.model.names import IPAddress, Meta
from gossamer.model.proxy_config import (
    AccessRule,
    Authorization,
    ClientRule,
    DetectInbound,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    Identities,
    InboundConfig,
    InboundRoute,
    Unauthenticated,
)
from gossamer.policy.decide import is_among


@dataclass(frozen=True, slots=True)
class Client:
    """What is known of a client. `identity` is "" without a certificate; `addresses` are all it may come from."""

    identity: str
    tls: bool
    addresses: tuple[IPAddress, ...] = ()


def admits(config: InboundConfig, client: Client) -> Meta | None:
    """The authorization that lets the client at least somewhere in, the Server's before a route's; None refuses.

    A client of unknown address is taken to be in every network. Of rules only those count that are about clients and
    nothing else: whether a request is denied is a question about that request (`policy.decide`).
    """
    if not config.audit_denials and any(_is_about(rule, client) for rule in config.rules if rule.action is Action.DENY):
        return None
    for rule in config.rules:
        if rule.action is Action.ALLOW and _is_about(rule, client):
            return rule.meta
    for authorization in (*config.authorizations, *_routes(config)):
        if admitted_by(authorization, client):
            return authorization.meta
    return None


def _is_about(rule: AccessRule, client: Client) -> bool:
    if rule.requests or rule.route is not None:
        return False
    return not rule.clients or any(_is_client(one, client) for one in rule.clients)


def _is_client(rule: ClientRule, client: Client) -> bool:
    if rule.among is not None and not is_among(client.identity, rule.among):
        return False
    if rule.not_among is not None and is_among(client.identity, rule.not_among):
        return False
    if rule.anonymous and client.identity:
        return False
    return all(
        (not rule.networks or _within(rule.networks, address)) and not _within(rule.not_networks, address)
        for address in client.addresses
    )


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
        case Identities() as names:
            return is_among(client.identity, names)


def _within(networks: Iterable[Network], address: IPAddress) -> bool:
    return any(
        address.version == network.cidr.version
        and address in network.cidr
        and not any(address.version == hole.version and address in hole for hole in network.excepted)
        for network in networks
    )

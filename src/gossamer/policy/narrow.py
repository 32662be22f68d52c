"""What remains of a policy for a sidecar that knows Linkerd's messages only.

Linkerd's messages cannot say "not". So an Allow that has conditions on requests is left out, and from everything that
admits is taken whatever a Deny might be about: exactly where the words suffice (an identity from a list, a network by
`except`), and the whole authorization where they do not. Never admits more than the rules do; often less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gossamer.model.access import Action
from gossamer.model.authorization import Network
from gossamer.model.names import Default, IPNetwork, Resource, is_uri
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
    InboundProtocol,
    InboundRoute,
    Unauthenticated,
)
from gossamer.policy.authorize import ANYONE_WITH_A_CERTIFICATE, EVERYWHERE

Suffix = tuple[str, ...]


def narrowed(config: InboundConfig) -> InboundConfig:
    """The same port without rules: every authorization that is left is one that the rules grant."""
    config = replace(config, protocol=_without_probes(config.protocol))
    if not config.rules:
        return config
    denials = [] if config.audit_denials else [one for one in config.rules if one.action is Action.DENY]
    allowed = [one for one in config.rules if one.action is Action.ALLOW and not one.requests]
    everywhere = [one for one in allowed if one.route is None]
    return replace(
        config,
        authorizations=_left((*config.authorizations, *_granted(everywhere)), denials),
        protocol=_protocol(config.protocol, allowed, denials),
        rules=(),
        audit_denials=False,
    )


def _without_probes(protocol: InboundProtocol) -> InboundProtocol:
    """Linkerd knows probe routes only while no route is attached (reference §1.4), and its answers are kept."""
    match protocol:
        case DetectInbound(routes=routes) | Http1Inbound(routes=routes) | Http2Inbound(routes=routes):
            if any(isinstance(one.meta, Resource) for one in routes):
                return replace(protocol, routes=tuple(one for one in routes if one.meta != Default("probe")))
        case _:
            pass
    return protocol


def _protocol(protocol: InboundProtocol, allowed: list[AccessRule], denials: list[AccessRule]) -> InboundProtocol:
    match protocol:
        case DetectInbound() | Http1Inbound() | Http2Inbound() | GrpcInbound():
            return replace(protocol, routes=tuple(_route(one, allowed, denials) for one in protocol.routes))
        case _:
            return protocol


def _route(route: InboundRoute, allowed: list[AccessRule], denials: list[AccessRule]) -> InboundRoute:
    more = _granted(one for one in allowed if one.route == route.meta)
    return replace(route, authorizations=_left((*route.authorizations, *more), denials))


def _granted(rules: Iterable[AccessRule]) -> tuple[Authorization, ...]:
    """For clients without an identity, and for no others, there are no words."""
    return tuple(
        Authorization(rule.meta, client.networks or EVERYWHERE, client.among or Unauthenticated())
        for rule in rules
        for client in rule.clients
        if not client.anonymous
    )


def _left(authorizations: Iterable[Authorization], denials: list[AccessRule]) -> tuple[Authorization, ...]:
    found = []
    for authorization in authorizations:
        left: Authorization | None = authorization
        for denial in denials:
            # Everyone is denied by a rule that names no clients.
            for client in denial.clients or (ClientRule(),):
                left = left and without(left, client)
        if left is not None:
            found.append(left)
    return tuple(found)


def without(authorization: Authorization, denied: ClientRule) -> Authorization | None:
    """What an authorization grants to nobody that `denied` is about; None when nothing is left to say."""
    if _apart(authorization.networks, denied.networks) or _strangers(authorization.clients, denied):
        return authorization
    if denied.among is None and denied.not_among is None and not denied.anonymous:
        networks = _outside(authorization.networks, denied.networks)
        return replace(authorization, networks=networks) if networks else None
    left = _others(authorization.clients, denied)
    return replace(authorization, clients=left) if left is not None and left != Identities() else None


def _apart(networks: tuple[Network, ...], denied: tuple[Network, ...]) -> bool:
    """No address is in both. Holes are not looked at."""
    return bool(denied) and not any(_overlap(one.cidr, other.cidr) for one in networks for other in denied)


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _outside(networks: tuple[Network, ...], denied: tuple[Network, ...]) -> tuple[Network, ...]:
    """`networks` with `denied` as further holes; nothing when no network is named."""
    found = []
    for one in networks if denied else ():
        touching = [other.cidr for other in denied if _overlap(one.cidr, other.cidr)]
        if not any(_covers(cidr, one.cidr) for cidr in touching):
            holes = dict.fromkeys((*one.excepted, *touching))
            found.append(Network(one.cidr, tuple(holes)))
    return tuple(found)


def _covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _strangers(clients: Unauthenticated | Identities, denied: ClientRule) -> bool:
    """Certainly no client of both. Where anybody is admitted the denied are among them."""
    if not isinstance(clients, Identities):
        return False
    if denied.anonymous:
        return True
    return (denied.among is not None or denied.not_among is not None) and _others(clients, denied) == clients


def _others(clients: Unauthenticated | Identities, denied: ClientRule) -> Identities | None:
    """Those identities that the denial is certainly not about; None when there are no words for them."""
    named = clients if isinstance(clients, Identities) else ANYONE_WITH_A_CERTIFICATE
    if denied.anonymous:
        return named
    if denied.not_among is not None:
        return _both(named, denied.not_among)
    if not isinstance(clients, Identities):
        return None
    names = denied.among or Identities()
    return Identities(
        tuple(one for one in clients.exact if not _is_among(one, names)),
        tuple(
            suffix
            for suffix in clients.suffixes
            if not any(_ends(one, suffix) for one in names.exact)
            and not any(_within(suffix, other) or _within(other, suffix) for other in names.suffixes)
        ),
    )


def _both(one: Identities, other: Identities) -> Identities:
    """The names that are in both."""
    exact = [name for name in one.exact if _is_among(name, other)]
    exact += [name for name in other.exact if _is_among(name, one)]
    suffixes = [inner for inner in one.suffixes if any(_within(inner, outer) for outer in other.suffixes)]
    suffixes += [inner for inner in other.suffixes if any(_within(inner, outer) for outer in one.suffixes)]
    return Identities(tuple(dict.fromkeys(exact)), tuple(dict.fromkeys(suffixes)))


def _is_among(identity: str, names: Identities) -> bool:
    """A suffix is of DNS-like names; an empty one is any name."""
    return identity in names.exact or any(
        not suffix or (not is_uri(identity) and _ends(identity, suffix)) for suffix in names.suffixes
    )


def _ends(identity: str, suffix: Suffix) -> bool:
    return not suffix or identity.endswith("." + ".".join(suffix))


def _within(inner: Suffix, outer: Suffix) -> bool:
    """Whether whatever ends in `inner` ends in `outer`."""
    return not outer or inner[-len(outer) :] == outer

"""Laws of authorization: taking an authorization away never admits more."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import assume, given
from hypothesis import strategies as st

from gossamer.compile import compile
from gossamer.model.authorization import (
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER_AUTHORIZATION,
)
from gossamer.model.kinds import Object
from gossamer.model.names import Key
from gossamer.model.proxy_config import (
    Authorization,
    DetectInbound,
    Http1Inbound,
    Http2Inbound,
    Identities,
    InboundConfig,
    Unauthenticated,
)
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Inbound
from tests.laws.worlds import keys, ports, worlds

ADMITTING = (AUTHORIZATION_POLICY, MESH_TLS_AUTHENTICATION, NETWORK_AUTHENTICATION, SERVER_AUTHORIZATION)
# Clients of every sort that a rule can tell apart: identity (None: no TLS, "": TLS without a certificate), address.
CLIENTS = [
    (identity, IPv4Address(address))
    for identity in (None, "", "a.x.id", "b.x.id", "a.y.id", "a.x.serviceaccount.identity.gossamer.cluster.local")
    for address in ("127.0.0.1", "10.0.0.1", "192.0.2.1")
]
Admitted = set[tuple[str, str | None, IPv4Address]]


@given(worlds, keys, ports, st.data())
def test_removing_an_authorization_never_admits_more(
    world: list[Object], key: Key, port: int, data: st.DataObject
) -> None:
    removable = [one for one in world if one.kind in ADMITTING]
    assume(removable)
    gone = data.draw(st.sampled_from(removable))
    asked = Inbound(key, port)
    whole = Snapshot().changed(world)

    assert _admitted(whole.changed([], [(gone.kind, gone.key)]), asked) <= _admitted(whole, asked)


def _admitted(snapshot: Snapshot, asked: Inbound) -> Admitted:
    """(route or "", identity, address) of everybody who is let in, by the contract's words (inbound.proto)."""
    config = compile(snapshot, asked)
    if not isinstance(config, InboundConfig):
        return set()
    found = _by(config.authorizations, "")
    match config.protocol:
        case DetectInbound(_, routes) | Http1Inbound(routes) | Http2Inbound(routes):
            for route in routes:
                found |= _by((*config.authorizations, *route.authorizations), str(route.meta))
        case _:
            pass
    return found


def _by(authorizations: tuple[Authorization, ...], where: str) -> Admitted:
    return {
        (where, identity, address)
        for identity, address in CLIENTS
        for one in authorizations
        if _knows(one, identity)
        and any(
            address in net.cidr and not any(address in hole for hole in net.excepted)
            for net in one.networks
            if net.cidr.version == 4
        )
    }


def _knows(one: Authorization, identity: str | None) -> bool:
    match one.clients:
        case Unauthenticated(tls):
            return identity is not None or not tls
        case Identities(exact, suffixes):
            return bool(identity) and (
                identity in exact
                or any(not parts or str(identity).endswith("." + ".".join(parts)) for parts in suffixes)
            )

"""Who may: authorizations of a Server, of a route, and of the defaults.

What refers to something that does not exist authorizes nobody: an authorization is dropped, never widened.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, TypeVar

from gossamer.model.authorization import (
    AUDIT_WINDOW,
    AUTHORIZATION_POLICY,
    MESH_TLS_AUTHENTICATION,
    NETWORK_AUTHENTICATION,
    SERVER,
    SERVER_AUTHORIZATION,
    AuthorizationPolicy,
    DefaultPolicy,
    MeshTLSAuthentication,
    Network,
    Server,
    ServerAuthorization,
    TargetRef,
)
from gossamer.model.names import Default, Key, Kind, identity, meta
from gossamer.model.proxy_config import Authorization, Identities, Unauthenticated
from gossamer.model.route import GrpcRoute, HttpRoute
from gossamer.model.snapshot import View
from gossamer.model.workload import NAMESPACE, SERVICE_ACCOUNT

T = TypeVar("T")
EVERYWHERE = (Network(ip_network("0.0.0.0/0")), Network(ip_network("::/0")))
ANYONE_WITH_A_CERTIFICATE = Identities(suffixes=((),))


def for_server(view: View, server: Server) -> tuple[Authorization, ...]:
    """Of everything that names the Server or its namespace, then of its own `accessPolicy`. Order: kind, then name."""
    found: list[Authorization | None] = [
        _server_authorization(view, saz)
        for saz in _sorted(view.within(SERVER_AUTHORIZATION, server.key.namespace, server.key.cluster))
        if _selects(saz, server)
    ]
    found += [_policy(view, policy) for policy in _of_server(view, server)]
    return (*(one for one in found if one is not None), *by_default(view, server.access_policy))


def for_route(view: View, route: HttpRoute | GrpcRoute) -> tuple[Authorization, ...]:
    """Of every policy that names the route; they are in addition to the Server's."""
    found = [_policy(view, policy) for policy in _of_route(view, route)]
    return tuple(one for one in found if one is not None)


def with_identity(policy: DefaultPolicy) -> DefaultPolicy:
    """What a default becomes on a port that requires identity; `deny` and `audit` stay."""
    return _AUTHENTICATED.get(policy, policy)


_AUTHENTICATED = {
    DefaultPolicy.ALL_UNAUTHENTICATED: DefaultPolicy.ALL_AUTHENTICATED,
    DefaultPolicy.CLUSTER_UNAUTHENTICATED: DefaultPolicy.CLUSTER_AUTHENTICATED,
}


def by_default(view: View, policy: DefaultPolicy) -> tuple[Authorization, ...]:
    """What a default policy admits (reference §1.4); `deny` admits nobody."""
    authenticated, within_cluster = _DEFAULTS[policy]
    if authenticated is None:
        return ()
    networks = tuple(Network(net) for net in view.mesh.peer_networks) if within_cluster else EVERYWHERE
    clients = ANYONE_WITH_A_CERTIFICATE if authenticated else Unauthenticated()
    return (Authorization(Default(policy.value), networks, clients),)


def probes(view: View) -> tuple[Authorization, ...]:
    """Whoever probes: from the networks that probes come from, without a certificate."""
    networks = tuple(Network(net) for net in view.mesh.probe_networks)
    return (Authorization(Default("probe"), networks, Unauthenticated()),) if networks else ()


def published() -> tuple[Authorization, ...]:
    """What `run --publish` says of a port that no Server selects: whoever reaches its listener may call."""
    return (Authorization(Default("published"), EVERYWHERE, Unauthenticated()),)


def audited(view: View, workload: Key) -> tuple[Authorization, ...]:
    """Break-glass: last in order, so that it is used only where nothing else admits; still mesh TLS (seams 33)."""
    if view.get(AUDIT_WINDOW, workload) is None:
        return ()
    return (Authorization(Default("audit"), EVERYWHERE, ANYONE_WITH_A_CERTIFICATE),)


# policy → (a certificate is needed, or None for nobody at all; only from the cluster's networks)
_DEFAULTS: dict[DefaultPolicy, tuple[bool | None, bool]] = {
    DefaultPolicy.ALL_UNAUTHENTICATED: (False, False),
    DefaultPolicy.ALL_AUTHENTICATED: (True, False),
    DefaultPolicy.CLUSTER_UNAUTHENTICATED: (False, True),
    DefaultPolicy.CLUSTER_AUTHENTICATED: (True, True),
    DefaultPolicy.DENY: (None, False),
    DefaultPolicy.AUDIT: (False, False),
}


def _sorted(named: Mapping[str, T]) -> list[T]:
    return [named[name] for name in sorted(named)]


def _of_server(view: View, server: Server) -> list[AuthorizationPolicy]:
    """The policies that name a Server, or the namespace it lies in."""
    key = server.key
    named = view.about(AUTHORIZATION_POLICY, (SERVER.name, key.name), key.namespace, key.cluster)
    whole = view.about(AUTHORIZATION_POLICY, (NAMESPACE.name, key.namespace), key.namespace, key.cluster)
    return _sorted({**named, **whole})


def _of_route(view: View, route: HttpRoute | GrpcRoute) -> list[AuthorizationPolicy]:
    key = route.key
    named = view.about(AUTHORIZATION_POLICY, (route.kind.name, key.name), key.namespace, key.cluster)
    return [policy for policy in _sorted(named) if policy.target.group == route.kind.group]


def _policy(view: View, policy: AuthorizationPolicy) -> Authorization | None:
    """All of `requiredAuthenticationRefs` at once, or None when one of them leads nowhere."""
    clients: Unauthenticated | Identities = Unauthenticated()
    networks: tuple[Network, ...] = EVERYWHERE
    for required in policy.required:
        key = _refers(required, policy.key)
        if required.kind == NETWORK_AUTHENTICATION.name:
            network = view.get(NETWORK_AUTHENTICATION, key)
            if network is None:
                return None
            networks = network.networks
        elif required.kind == MESH_TLS_AUTHENTICATION.name:
            mesh_tls = view.get(MESH_TLS_AUTHENTICATION, key)
            if mesh_tls is None:
                return None
            clients = _identities(view, mesh_tls)
        else:
            clients = Identities(exact=(account(view, key.namespace, key.name),))
    return Authorization(meta(AUTHORIZATION_POLICY, policy.key), networks, clients)


def lost(view: View, policy: AuthorizationPolicy) -> TargetRef | None:
    """The first authentication it requires that is not there."""
    for required in policy.required:
        kind = next((one for one in _AUTHENTICATIONS if one.name == required.kind), None)
        if kind is not None and view.get(kind, _refers(required, policy.key)) is None:
            return required
    return None


_AUTHENTICATIONS: tuple[Kind[Any], ...] = (MESH_TLS_AUTHENTICATION, NETWORK_AUTHENTICATION)


def _identities(view: View, authentication: MeshTLSAuthentication) -> Identities:
    names = list(authentication.identities)
    for ref in authentication.identity_refs:
        if ref.kind == SERVICE_ACCOUNT.name:
            names.append(account(view, ref.namespace or authentication.key.namespace, ref.name))
        else:
            names.append(of_namespace(view, ref.name))
    return match_identities(names)


def match_identities(names: list[str]) -> Identities:
    """Exact names, `*.suffix` and `*`, as people write them."""
    exact = tuple(sorted({name for name in names if name != "*" and not name.startswith("*.")}))
    suffixes = tuple(sorted({tuple(name.split(".")[1:]) for name in names if name == "*" or name.startswith("*.")}))
    return Identities(exact, suffixes)


def of_namespace(view: View, namespace: str) -> str:
    """What all accounts of a namespace have in common."""
    return f"*.{namespace}.serviceaccount.identity.{view.mesh.control_namespace}.{view.mesh.trust_domain}"


def account(view: View, namespace: str, name: str) -> str:
    """A service account's identity."""
    return identity(name, namespace, view.mesh.control_namespace, view.mesh.trust_domain)


def _refers(ref: TargetRef, beside: Key) -> Key:
    return Key(beside.cluster, ref.namespace or beside.namespace, ref.name)


def _selects(authorization: ServerAuthorization, server: Server) -> bool:
    if authorization.server_name is not None:
        return authorization.server_name == server.key.name
    return authorization.server_selector.matches(server.labels)


def _server_authorization(view: View, authorization: ServerAuthorization) -> Authorization:
    client = authorization.client
    networks = client.networks or tuple(Network(net) for net in view.mesh.peer_networks)
    clients: Unauthenticated | Identities
    if client.unauthenticated:
        clients = Unauthenticated()
    elif client.unauthenticated_tls:
        clients = Unauthenticated(tls=True)
    else:
        accounts = [
            account(view, namespace or authorization.key.namespace, name) for namespace, name in client.service_accounts
        ]
        clients = match_identities([*client.identities, *accounts])
    return Authorization(meta(SERVER_AUTHORIZATION, authorization.key), networks, clients)

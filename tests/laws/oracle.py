"""Who may, read from the documentation and nothing else: slow, obvious, and sharing no line with policy/.

Sources: docs/decisions/deny-rules.md, docs/decisions/how-policy-reads-a-request.md, reference §1.4 (policy resources),
Gateway API (route matching). Where this and the control plane disagree, one of them has not read the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from gossamer.model.access import AccessPolicy, Action
from gossamer.model.authorization import (
    AuthorizationPolicy,
    DefaultPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Server,
    ServerProtocol,
)
from gossamer.model.kinds import Object
from gossamer.model.names import IPAddress, Key
from gossamer.model.route import GrpcRoute, How, HttpRoute
from gossamer.model.workload import Namespace, Workload

DOMAIN = "serviceaccount.identity.gossamer.cluster.local"
OPAQUE = {25, 587, 3306, 4444, 5432, 6379, 9300, 11211}
CLUSTER = ("127.64.0.0/10", "198.19.0.0/16")


@dataclass(frozen=True)
class Asked:
    """`identity` "" is nobody; `path` None is a connection whose bytes are not HTTP."""

    identity: str
    address: IPAddress
    path: str | None = "/"
    method: str = "GET"
    host: str = "a.x"
    headers: tuple[tuple[str, str], ...] = ()


class Oracle:
    def __init__(self, world: list[Object]) -> None:
        self.world = world

    def admits(self, workload: Key, port: int, asked: Asked) -> bool:
        pods = [one for one in self.all(Workload) if one.key == workload]
        if not pods:
            return False
        pod = pods[0]
        server = self.server(pod, port)
        opaque = self.is_opaque(pod, port, server)
        path = None if opaque else asked.path
        routes = [] if opaque or path is None else self.routes(server)
        route: Any = None
        if path is not None:
            if server is not None and server.protocol is ServerProtocol.GRPC:
                segments = path.split("/")
                if len(segments) != 3 or not segments[1] or not segments[2]:
                    return False
            if routes:
                route = self.best(routes, asked, path)
                if route is None:
                    return False
        if self.denied(pod, port, server, route, asked, path):
            return False
        return self.allowed(pod, port, server, route, asked, path)

    # --- which Server, which routes

    def all(self, kind: Any) -> list[Any]:
        return [one for one in self.world if isinstance(one, kind)]

    def server(self, pod: Workload, port: int) -> Server | None:
        found = []
        for server in self.all(Server):
            selectors = [server.pod_selector, server.external_workload_selector]
            selected = any(
                one is not None and all(pod.labels.get(name) == value for name, value in one.labels)
                for one in selectors
            )
            named = [one.target for one in pod.ports if one.name == server.port]
            right_port = server.port == port if isinstance(server.port, int) else port in named
            if server.key.namespace == pod.key.namespace and selected and right_port:
                found.append(server)
        found.sort(key=lambda one: (one.created if one.created else 10**12, one.key.name))
        return found[0] if found else None

    def is_opaque(self, pod: Workload, port: int, server: Server | None) -> bool:
        if server is not None:
            return server.protocol in (ServerProtocol.OPAQUE, ServerProtocol.TLS)
        if any(one.target == port and one.opaque for one in pod.ports):
            return True
        namespace = [one for one in self.all(Namespace) if one.key.name == pod.key.namespace]
        if namespace and namespace[0].opaque_ports is not None:
            return port in namespace[0].opaque_ports
        return port in OPAQUE

    def routes(self, server: Server | None) -> list[Any]:
        """Of the kind that the Server's protocol reads; a GRPCRoute takes the place of HTTPRoutes."""
        if server is None:
            return []
        attached = [
            one
            for one in [*self.all(HttpRoute), *self.all(GrpcRoute)]
            if one.key.namespace == server.key.namespace
            and any((ref.kind, ref.name) == ("Server", server.key.name) for ref in one.parents)
        ]
        grpc = [one for one in attached if isinstance(one, GrpcRoute)]
        if server.protocol is ServerProtocol.GRPC:
            return grpc
        return [] if grpc else attached

    def best(self, routes: list[Any], asked: Asked, path: str) -> Any:
        scored = []
        for route in routes:
            host = self.host(route.hostnames, asked.host)
            for rule in route.rules:
                for match in rule.matches or (None,):
                    score = self.score(match, asked, path)
                    if host is not None and score is not None:
                        age = route.created if route.created else 10**12
                        scored.append((host, score, (-age,), route))
        if not scored:
            return None
        top = max((host, score) for host, score, _, _ in scored)
        equal = [route for host, score, _, route in scored if (host, score) == top]
        order = {"gateway.networking.k8s.io": 0, "policy.linkerd.io": 1}
        return min(
            equal,
            key=lambda one: (one.created if one.created else 10**12, one.key.name, order[one.kind.group]),
        )

    def host(self, names: tuple[str, ...], host: str) -> Any:
        if not names:
            return (0, 0)
        found = []
        for name in names:
            if name == host:
                found.append((2, len(name)))
            elif name.startswith("*.") and host.endswith(name[1:]) and host != name[1:]:
                found.append((1, len(name)))
        return max(found) if found else None

    def score(self, match: Any, asked: Asked, path: str) -> Any:
        if match is None:
            return (0, 0, 0, 0)
        for header in match.headers:
            values = [value for name, value in asked.headers if name == header.name]
            if not values or any(value != header.value for value in values):
                return None
        if hasattr(match, "service"):
            segments = path.split("/")
            if match.service and segments[1] != match.service:
                return None
            if match.method and segments[2] != match.method:
                return None
            return (0, len(match.service), 1 if match.method else 0, len(match.headers))
        if match.method is not None and match.method != asked.method:
            return None
        if match.path.how is How.EXACT:
            if path != match.path.value:
                return None
            kind, length = 3, len(path)
        else:
            bare = match.path.value.rstrip("/")
            if path != bare and not path.startswith(bare + "/"):
                return None
            kind, length = 1, len(bare)
        return (kind, length, 1 if match.method else 0, len(match.headers))

    # --- who

    def is_one(self, identity: str, written: str) -> bool:
        if not identity:
            return False
        if written == "*":
            return True
        if written.startswith("*."):
            return "://" not in identity and identity.endswith(written[1:])
        return identity == written

    def inside(self, address: IPAddress, network: Any) -> bool:
        return address in network.cidr and not any(address in hole for hole in network.excepted)

    # --- denials and what allows beside

    def clauses(self, pod: Workload, port: int, server: Server | None, route: Any, action: Action) -> list[Any]:
        found = []
        for policy in self.all(AccessPolicy):
            if not policy.mesh_wide and policy.key.namespace != pod.key.namespace:
                continue
            if policy.selector is not None and not all(
                pod.labels.get(name) == value for name, value in policy.selector.labels
            ):
                continue
            names = {one.name for one in pod.ports if one.target == port}
            if policy.ports and port not in policy.ports and not names & set(policy.ports):
                continue
            if policy.target is not None and policy.target.kind == "Server":
                if server is None or server.key.name != policy.target.name:
                    continue
            elif policy.target is not None:
                wanted = (policy.target.group, policy.target.kind, policy.target.name)
                if route is None or (route.kind.group, route.kind.name, route.key.name) != wanted:
                    continue
            found += [one for one in policy.rules if one.action is action]
        return found

    def denied(self, pod: Any, port: int, server: Any, route: Any, asked: Asked, path: str | None) -> bool:
        for clause in self.clauses(pod, port, server, route, Action.DENY):
            who = not clause.clients or any(self.client(one, asked) for one in clause.clients)
            # Of bytes that are not read every request might be the denied one.
            what = (
                path is None
                or not clause.requests
                or any(self.request(one, asked, path, True) for one in clause.requests)
            )
            if who and what:
                return True
        return False

    def client(self, clause: Any, asked: Asked) -> bool:
        identity = asked.identity
        if clause.who and not any(self.is_one(identity, one) for one in clause.who.identities):
            return False
        if clause.not_who and any(self.is_one(identity, one) for one in clause.not_who.identities):
            return False
        if clause.unauthenticated and identity:
            return False
        if clause.networks and not any(self.inside(asked.address, one) for one in clause.networks):
            return False
        return not any(self.inside(asked.address, one) for one in clause.not_networks)

    def request(self, clause: Any, asked: Asked, path: str, denies: bool) -> bool:
        if clause.methods and asked.method not in clause.methods:
            return False
        if clause.hosts and self.host(clause.hosts, asked.host) is None:
            return False
        if clause.paths and not any(self.path(one, path, denies) for one in clause.paths):
            return False
        for header in clause.headers:
            values = [value for name, value in asked.headers if name == header.name]
            good = [
                header.how is None or value == header.value or (header.how is How.REGEX and value in ("1", "2"))
                for value in values
            ]
            if not good or not (any(good) if denies else all(good)):
                return False
        return True

    def path(self, clause: Any, path: str, denies: bool) -> bool:
        if clause.how is How.PREFIX:
            bare = clause.value.rstrip("/")
            return path == bare or path.startswith(bare + "/")
        if clause.how is How.REGEX:
            # The only one these worlds know: "/a/?b?".
            return path in ("/a", "/a/", "/ab", "/a/b")
        tried = {path}
        if denies:
            tried |= {path + "/", path[:-1] if path.endswith("/") and len(path) > 1 else path}
        if clause.how is How.EXACT:
            return clause.value in tried
        wanted = clause.value.split("/")
        for one in tried:
            given = one.split("/")
            if len(given) == len(wanted) and all(
                have != "" if want.startswith("{") else want == have for want, have in zip(wanted, given, strict=True)
            ):
                return True
        return False

    # --- what admits

    def allowed(self, pod: Any, port: int, server: Any, route: Any, asked: Asked, path: str | None) -> bool:
        for clause in self.clauses(pod, port, server, route, Action.ALLOW):
            who = any(self.client(one, asked) for one in clause.clients)
            if path is None:
                what = not clause.requests
            else:
                what = not clause.requests or any(self.request(one, asked, path, False) for one in clause.requests)
            if who and what:
                return True
        if server is None:
            return self.default(self.default_of(pod), asked)
        if self.default(server.access_policy, asked):
            return True
        for policy in self.all(AuthorizationPolicy):
            near = policy.key.namespace == server.key.namespace
            if near and self.targets(policy, server, route) and self.satisfies(policy, asked):
                return True
        return False

    def targets(self, policy: AuthorizationPolicy, server: Server, route: Any) -> bool:
        target = policy.target
        if target.kind == "Namespace":
            return target.name == policy.key.namespace
        if target.kind == "Server":
            return target.name == server.key.name
        return route is not None and (route.kind.group, route.kind.name, route.key.name) == (
            target.group,
            target.kind,
            target.name,
        )

    def satisfies(self, policy: AuthorizationPolicy, asked: Asked) -> bool:
        for ref in policy.required:
            namespace = ref.namespace or policy.key.namespace
            if ref.kind == "ServiceAccount":
                if asked.identity != f"{ref.name}.{namespace}.{DOMAIN}":
                    return False
                continue
            kind = MeshTLSAuthentication if ref.kind == "MeshTLSAuthentication" else NetworkAuthentication
            found = [one for one in self.all(kind) if (one.key.namespace, one.key.name) == (namespace, ref.name)]
            if not found:
                return False
            if kind is NetworkAuthentication:
                if not any(self.inside(asked.address, one) for one in found[0].networks):
                    return False
            elif not any(self.is_one(asked.identity, one) for one in found[0].identities):
                return False
        return True

    def default_of(self, pod: Workload) -> DefaultPolicy:
        if pod.default_policy is not None:
            return pod.default_policy
        namespace = [one for one in self.all(Namespace) if one.key.name == pod.key.namespace]
        said: DefaultPolicy | None = namespace[0].default_policy if namespace else None
        return DefaultPolicy.ALL_AUTHENTICATED if said is None else said

    def default(self, policy: DefaultPolicy, asked: Asked) -> bool:
        near = any(asked.address in ip_network(one) for one in CLUSTER)
        match policy:
            case DefaultPolicy.DENY:
                return False
            case DefaultPolicy.ALL_UNAUTHENTICATED | DefaultPolicy.AUDIT:
                return True
            case DefaultPolicy.ALL_AUTHENTICATED:
                return bool(asked.identity)
            case DefaultPolicy.CLUSTER_UNAUTHENTICATED:
                return near
            case DefaultPolicy.CLUSTER_AUTHENTICATED:
                return near and bool(asked.identity)

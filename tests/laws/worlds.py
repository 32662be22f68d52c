"""Small random meshes: few names, so that things refer to each other often."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from gossamer.model.access import (
    AccessClause,
    AccessPolicy,
    Action,
    ClientClause,
    HeaderClause,
    PathClause,
    RequestClause,
    Who,
)
from gossamer.model.authorization import (
    AuthorizationPolicy,
    DefaultPolicy,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    RateLimitOverride,
    RateLimitPolicy,
    Server,
    ServerProtocol,
    TargetRef,
)
from gossamer.model.egress import EgressNetwork
from gossamer.model.kinds import Object
from gossamer.model.names import Key, local
from gossamer.model.ports import port_set
from gossamer.model.profile import PathLike, ProfileRoute, ServiceProfile
from gossamer.model.route import (
    GATEWAY_GROUP,
    POLICY_GROUP,
    BackendRef,
    GrpcMatch,
    GrpcRoute,
    GrpcRule,
    How,
    HttpMatch,
    HttpRoute,
    HttpRule,
    Mirror,
    ParentRef,
    PathMatch,
    Rewrite,
    TcpRoute,
    TlsRoute,
    ValueMatch,
)
from gossamer.model.selector import Selector
from gossamer.model.service import EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort
from gossamer.model.subscription import (
    AddressTarget,
    Endpoints,
    Inbound,
    Names,
    NameTarget,
    Outbound,
    Profile,
    Source,
    Subscription,
)
from gossamer.model.traffic import Consecutive, HttpRetry, Penalty, Timeouts, Traffic, Unified
from gossamer.model.workload import ExternalWorkload, Namespace, WorkloadPort
from gossamer.testing import build

NAMESPACES = ("x", "y")
NAMES = ("a", "b", "c")
PORTS = (80, 5432)
ADDRESSES = tuple(ip_address(f"127.64.0.{number}") for number in range(1, 5))
VIRTUAL = tuple(ip_address(f"198.19.0.{number}") for number in range(1, 4))

names = st.sampled_from(NAMES)
namespaces = st.sampled_from(NAMESPACES)
keys: st.SearchStrategy[Key] = st.builds(local, namespaces, names)
ports = st.sampled_from(PORTS)
labels = st.dictionaries(st.sampled_from(("app", "tier")), names, max_size=2)
selectors = st.builds(Selector, labels.map(lambda found: tuple(sorted(found.items()))))
created = st.sampled_from((0, 1, 2))
policies = st.sampled_from(DefaultPolicy)
maybe_ports = st.none() | st.lists(ports).map(port_set)
named_ports = st.lists(st.builds(WorkloadPort, names, ports, ports, st.booleans()), max_size=2).map(tuple)

workloads = st.builds(
    lambda key, address, found, **more: build.workload(
        key.name, namespace=key.namespace, address=str(address), service=found, **more
    ),
    keys,
    st.sampled_from(ADDRESSES),
    st.none() | names,
    labels=labels,
    ports=named_ports,
    ready=st.booleans(),
)
externals = st.builds(
    lambda key, address, found, ready: ExternalWorkload(
        key, f"{key.name}.id", f"{key.name}.sni", (address,), labels=found, ready=ready
    ),
    keys,
    st.sampled_from(ADDRESSES),
    labels,
    st.booleans(),
)
services = st.builds(
    Service,
    key=keys,
    ports=st.lists(
        st.builds(ServicePort, names, ports, ports | names, st.sampled_from(("", "http", "kubernetes.io/h2c", "odd"))),
        max_size=2,
    ).map(tuple),
    selector=st.none() | selectors,
    cluster_ips=st.lists(st.sampled_from(VIRTUAL), max_size=1).map(tuple),
    headless=st.booleans(),
    owned=st.booleans(),
    opaque_ports=maybe_ports,
    traffic=st.builds(
        Traffic,
        st.sampled_from((None, Consecutive(), Unified())),
        st.sampled_from((None, Penalty())),
        st.sampled_from((None, HttpRetry(2, None, ((500, 599),)))),
    ),
)
slices = st.builds(
    EndpointSlice,
    key=keys,
    service=names,
    endpoints=st.lists(
        st.builds(SliceEndpoint, st.sampled_from(ADDRESSES).map(lambda one: (one,)), st.booleans()), max_size=2
    ).map(tuple),
    ports=st.lists(st.builds(SlicePort, names, ports), max_size=2).map(tuple),
)
servers = st.builds(
    lambda key, port, selector, external, protocol, access, when: Server(
        key, port, None if external else selector, selector if external else None, protocol, access, {}, when
    ),
    keys,
    ports | names,
    selectors,
    st.booleans(),
    st.sampled_from(ServerProtocol),
    policies,
    created,
)
authentications = st.sampled_from(
    (
        TargetRef("", "ServiceAccount", None, "a"),
        TargetRef(POLICY_GROUP, "MeshTLSAuthentication", None, "a"),
        TargetRef(POLICY_GROUP, "NetworkAuthentication", "x", "a"),
    )
)
targets = st.one_of(
    st.builds(TargetRef, st.just(POLICY_GROUP), st.just("Server"), st.none(), names),
    st.builds(TargetRef, st.just(POLICY_GROUP), st.just("HTTPRoute"), st.none(), names),
    st.builds(TargetRef, st.just(GATEWAY_GROUP), st.sampled_from(("GRPCRoute", "HTTPRoute")), st.none(), names),
    st.builds(TargetRef, st.just(""), st.just("Namespace"), st.none(), namespaces),
)
authorization_policies = st.builds(
    AuthorizationPolicy, keys, targets, st.lists(authentications, max_size=2, unique=True).map(tuple)
)
mesh_tls = st.builds(
    MeshTLSAuthentication, keys, st.lists(st.sampled_from(("*", "*.x.id", "a.x.id")), min_size=1).map(tuple)
)
networks = st.builds(
    NetworkAuthentication,
    keys,
    st.sampled_from(("127.0.0.0/8", "10.0.0.0/8")).map(lambda one: (Network(ip_network(one)),)),
)
parents = st.one_of(
    st.builds(ParentRef, st.just(POLICY_GROUP), st.just("Server"), st.none(), names),
    st.builds(ParentRef, st.just(""), st.just("Service"), st.none() | namespaces, names, st.none(), st.none() | ports),
    st.builds(
        ParentRef, st.just(POLICY_GROUP), st.just("EgressNetwork"), st.none() | namespaces, names, st.none(), ports
    ),
)
many_parents = st.lists(parents, max_size=2).map(tuple)
backends = st.lists(
    st.one_of(
        st.builds(BackendRef, st.just(""), st.just("Service"), st.none() | namespaces, names, ports, st.integers(0, 9)),
        st.builds(BackendRef, st.just(POLICY_GROUP), st.just("EgressNetwork"), st.none(), names, st.none()),
    ),
    max_size=2,
).map(tuple)
headers = st.lists(
    st.builds(ValueMatch, st.just("h"), st.sampled_from((How.EXACT, How.REGEX)), st.sampled_from(("1", "2"))),
    max_size=1,
).map(tuple)
PATHS = ("/", "/a", "/a/b")
http_matches = st.builds(
    HttpMatch,
    path=st.builds(PathMatch, st.sampled_from((How.PREFIX, How.EXACT)), st.sampled_from(PATHS)),
    headers=headers,
    method=st.sampled_from((None, "GET", "POST")),
)
rules = st.builds(
    HttpRule,
    matches=st.lists(http_matches, max_size=2).map(tuple),
    filters=st.lists(
        st.sampled_from((Rewrite(host="b"), Mirror(BackendRef("", "Service", None, "a", 80)))), max_size=1
    ).map(tuple),
    backends=backends,
    timeouts=st.builds(Timeouts, st.none() | st.just(500)),
)
hosts = st.lists(st.sampled_from(("a.x", "*.x")), max_size=1).map(tuple)
http_routes = st.builds(
    HttpRoute,
    keys,
    st.sampled_from((GATEWAY_GROUP, POLICY_GROUP)),
    many_parents,
    hostnames=hosts,
    rules=st.lists(rules, max_size=2).map(tuple),
    created=created,
)
grpc_rules = st.builds(
    GrpcRule,
    st.lists(st.builds(GrpcMatch, st.sampled_from(("", "s.S")), st.sampled_from(("", "M")), headers), max_size=2).map(
        tuple
    ),
    backends=backends,
)
grpc_routes = st.builds(
    GrpcRoute, keys, many_parents, rules=st.lists(grpc_rules, max_size=2).map(tuple), created=created
)
routes = st.one_of(
    http_routes,
    grpc_routes,
    st.builds(TlsRoute, keys, many_parents, hosts, backends, created),
    st.builds(TcpRoute, keys, many_parents, backends, created),
)
egress_networks = st.builds(
    EgressNetwork,
    keys,
    st.booleans(),
    st.sampled_from((None, (Network(ip_network("192.0.2.0/24")),), (Network(ip_network("127.0.0.0/8")),))),
    created=created,
)
rate_limits = st.builds(
    RateLimitPolicy,
    keys,
    names,
    st.none() | st.just(10),
    st.none() | st.just(5),
    st.sampled_from(((), (RateLimitOverride(7, ((None, "a"),)),))),
    created,
)
profiles = st.builds(
    lambda key, where, route: ServiceProfile(
        local(where, f"{key.name}.{key.namespace}.svc.cluster.local"),
        (ProfileRoute("r", PathLike("/.*")),) if route else (),
    ),
    keys,
    namespaces,
    st.booleans(),
)
IDENTITIES = ("a.x.id", "b.x.id", "a.y.id", "*.x.id", "*", "spiffe://r/a")
some_identities = st.lists(st.sampled_from(IDENTITIES), min_size=1, max_size=2, unique=True).map(tuple)
NETWORKS = (
    Network(ip_network("127.0.0.0/8")),
    Network(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),)),
)
a_network = st.sampled_from(NETWORKS).map(lambda one: (one,))
some_networks = st.just(()) | a_network
client_clauses = st.one_of(
    st.builds(ClientClause, st.builds(Who, some_identities), networks=some_networks),
    st.builds(ClientClause, unauthenticated=st.just(True), networks=some_networks),
    st.builds(ClientClause, networks=a_network),
)
denied_clauses = client_clauses | st.builds(
    ClientClause, not_who=st.builds(Who, some_identities), networks=some_networks, not_networks=some_networks
)
request_clauses = st.builds(
    RequestClause,
    st.lists(st.sampled_from(("GET", "POST")), max_size=1).map(tuple),
    st.lists(
        st.builds(PathClause, st.sampled_from((How.EXACT, How.PREFIX)), st.sampled_from(PATHS))
        | st.sampled_from((PathClause(None, "/{x}"), PathClause(None, "/a/{x}"), PathClause(How.REGEX, "/a/?b?"))),
        max_size=1,
    ).map(tuple),
    st.lists(
        st.sampled_from((HeaderClause("h"), HeaderClause("h", How.EXACT, "1"), HeaderClause("h", How.REGEX, "[12]"))),
        max_size=1,
    ).map(tuple),
    hosts,
).filter(lambda one: one != RequestClause())
some_requests = st.lists(request_clauses, max_size=1).map(tuple)
denials = st.builds(
    AccessClause, st.just("d"), st.just(Action.DENY), st.lists(denied_clauses, max_size=2).map(tuple), some_requests
)
allowances = st.builds(
    AccessClause,
    st.just("p"),
    st.just(Action.ALLOW),
    st.lists(client_clauses, min_size=1, max_size=2).map(tuple),
    some_requests,
)
access_targets = st.one_of(
    st.none(),
    st.builds(TargetRef, st.just(POLICY_GROUP), st.sampled_from(("Server", "HTTPRoute")), st.none(), names),
)


def access_of(clauses: st.SearchStrategy[AccessClause]) -> st.SearchStrategy[AccessPolicy]:
    """Of a namespace or the whole mesh, narrowed or not."""
    some = st.lists(clauses, min_size=1, max_size=2).map(tuple)
    of_namespace = st.builds(AccessPolicy, keys, some, access_targets)
    narrowed = st.builds(
        AccessPolicy, keys, some, selector=selectors, ports=st.lists(ports | names, max_size=1).map(tuple)
    )
    of_mesh = st.builds(AccessPolicy, names.map(lambda name: Key("", "", name)), some, mesh_wide=st.just(True))
    return of_namespace | narrowed | of_mesh


access_policies = access_of(denials | allowances)
namespace_objects = st.builds(
    lambda name, opaque, policy: Namespace(Key("", "", name), {}, opaque, policy),
    namespaces,
    maybe_ports,
    st.none() | policies,
)
objects: st.SearchStrategy[Object] = st.one_of(
    workloads,
    externals,
    services,
    slices,
    servers,
    authorization_policies,
    mesh_tls,
    networks,
    routes,
    access_policies,
    egress_networks,
    rate_limits,
    profiles,
    namespace_objects,
)
# Each object at most once: two of one kind and key are two versions of one thing.
worlds = st.lists(objects, max_size=12, unique_by=lambda one: (one.kind, one.key))

sources = st.builds(Source, namespaces)
name_targets = st.builds(
    lambda key, port: NameTarget(f"{key.name}.{key.namespace}.svc.cluster.local", port), keys, ports
)
OUTSIDE = (ip_address("192.0.2.7"), ip_address("169.254.169.254"))
all_targets = name_targets | st.builds(AddressTarget, st.sampled_from(ADDRESSES + VIRTUAL + OUTSIDE), ports)
subscriptions: st.SearchStrategy[Subscription] = st.one_of(
    st.builds(Inbound, keys, ports, st.booleans()),
    st.builds(Outbound, sources, all_targets),
    st.builds(Endpoints, sources, name_targets),
    st.builds(Profile, sources, all_targets),
    st.builds(Names, sources),
)

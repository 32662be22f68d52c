"""Small random meshes: few names, so that things refer to each other often."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from gossamer.model.authorization import (
    AuthorizationPolicy,
    DefaultPolicy,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    Server,
    ServerProtocol,
    TargetRef,
)
from gossamer.model.kinds import Object
from gossamer.model.names import Key, local
from gossamer.model.ports import port_set
from gossamer.model.route import (
    GATEWAY_GROUP,
    POLICY_GROUP,
    BackendRef,
    How,
    HttpMatch,
    HttpRoute,
    HttpRule,
    ParentRef,
    PathMatch,
    Timeouts,
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
)
rules = st.builds(
    HttpRule,
    matches=st.lists(
        st.builds(HttpMatch, path=st.builds(PathMatch, st.just(How.PREFIX), st.sampled_from(("/", "/a")))), max_size=2
    ).map(tuple),
    backends=st.lists(
        st.builds(BackendRef, st.just(""), st.just("Service"), st.none() | namespaces, names, ports, st.integers(0, 9)),
        max_size=2,
    ).map(tuple),
    timeouts=st.builds(Timeouts, st.none() | st.just(500)),
)
routes = st.builds(
    HttpRoute,
    keys,
    st.sampled_from((GATEWAY_GROUP, POLICY_GROUP)),
    st.lists(parents, max_size=2).map(tuple),
    rules=st.lists(rules, max_size=2).map(tuple),
    created=created,
)
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
    namespace_objects,
)
# Each object at most once: two of one kind and key are two versions of one thing.
worlds = st.lists(objects, max_size=12, unique_by=lambda one: (one.kind, one.key))

sources = st.builds(Source, namespaces)
name_targets = st.builds(
    lambda key, port: NameTarget(f"{key.name}.{key.namespace}.svc.cluster.local", port), keys, ports
)
all_targets = name_targets | st.builds(AddressTarget, st.sampled_from(ADDRESSES + VIRTUAL), ports)
subscriptions: st.SearchStrategy[Subscription] = st.one_of(
    st.builds(Inbound, keys, ports, st.booleans()),
    st.builds(Outbound, sources, all_targets),
    st.builds(Endpoints, sources, name_targets),
    st.builds(Profile, sources, all_targets),
    st.builds(Names, sources),
)

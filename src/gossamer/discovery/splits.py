"""Routes attached to a service or egress network, and how each rule splits its traffic over backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from gossamer.discovery import lookup
from gossamer.model.egress import EGRESS_NETWORK, FAULT_INJECTION, EgressNetwork
from gossamer.model.names import Default, IPNetwork, Key, Meta, Resource, meta
from gossamer.model.proxy_config import (
    Backend,
    Balance,
    Beyond,
    Distribution,
    Endpoint,
    Fault,
    FirstAvailable,
    Forward,
    MirrorTo,
    Nowhere,
    OpaqueRoute,
    OutboundRoute,
    OutboundRule,
    RewriteTo,
    RouteBackend,
    Weighted,
)
from gossamer.model.route import (
    BackendRef,
    Fail,
    Filter,
    GrpcRoute,
    GrpcRule,
    How,
    HttpMatch,
    HttpRoute,
    HttpRule,
    Inject,
    Mirror,
    PathMatch,
    Rewrite,
    Route,
    RuleFilter,
    TcpRoute,
    TlsRoute,
)
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget
from gossamer.model.traffic import Penalty, Timeouts, Traffic

DETECT_TIMEOUT = 10_000
ANY_REQUEST = HttpMatch(path=PathMatch(How.PREFIX, "/"))
EVERYTHING: Mapping[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Towards:
    """What the traffic was meant for: a port of a service, or an address of an egress network."""

    # Where a rule leads that names no backend.
    own: Backend
    traffic: Traffic
    # Of every balancer of HTTP and gRPC, whichever service it is for.
    penalty: Penalty | None = None
    egress: EgressNetwork | None = None
    original: AddressTarget | None = None


def every_request(name: str, towards: Towards, filters: tuple[Filter, ...] = ()) -> OutboundRoute:
    """The route of a default."""
    traffic = towards.traffic
    backends = FirstAvailable(RouteBackend(1, towards.own))
    rule = OutboundRule((ANY_REQUEST,), backends, filters, traffic.timeouts, traffic.http_retry)
    return OutboundRoute(Default(name), (rule,))


def http(view: View, written: HttpRoute | GrpcRoute, towards: Towards) -> OutboundRoute:
    """Of HTTP or gRPC."""
    rules = tuple(_rule(view, written, rule, towards) for rule in written.rules)
    return OutboundRoute(meta(written.kind, written.key), rules, written.hostnames)


def stream(view: View, written: TlsRoute | TcpRoute, towards: Towards) -> OpaqueRoute:
    """Of TLS that is passed through, or of bytes."""
    backends = _distribution(view, written, written.backends, towards, None)
    names = written.hostnames if isinstance(written, TlsRoute) else ()
    return OpaqueRoute(meta(written.kind, written.key), backends, names=names)


def balanced(view: View, service: Service, port: int, penalty: Penalty | None = None) -> Backend:
    """A port of a service as a backend."""
    authority = lookup.authority(service.key, port, view.mesh.cluster_domain)
    return Backend(
        lookup.service_meta(service.key, port),
        Balance(authority, penalty=penalty, balancing=service.traffic.balancing),
    )


def forwarded(about: Meta, to: AddressTarget, weight: int = 1) -> Backend:
    """The very address that was called."""
    return Backend(about, Forward(Endpoint(to.address, to.port, weight=weight)))


def egress_meta(network: Key, port: int) -> Resource:
    return meta(EGRESS_NETWORK, network, port=port)


def _rule(view: View, written: HttpRoute | GrpcRoute, rule: HttpRule | GrpcRule, towards: Towards) -> OutboundRule:
    """What the route does not say of timeouts and retries, the annotations of its parent do."""
    traffic = towards.traffic
    inherited = traffic.http_retry if isinstance(written, HttpRoute) else traffic.grpc_retry
    beyond, failures = _beyond(view, written, rule.filters, towards)
    return OutboundRule(
        rule.matches,
        _distribution(view, written, rule.backends, towards, towards.penalty),
        (*(one for one in rule.filters if isinstance(one, Filter)), *failures),
        traffic.timeouts if rule.timeouts == Timeouts() else rule.timeouts,
        inherited if written.retry is None else written.retry,
        view.mesh.request_headers,
        beyond,
    )


def _beyond(
    view: View, written: HttpRoute | GrpcRoute, filters: tuple[RuleFilter, ...], towards: Towards
) -> tuple[Beyond, tuple[Filter, ...]]:
    """What Linkerd's filters do not say; what refers to nothing answers 500 instead of doing half of it."""
    rewrite: RewriteTo | None = None
    mirrors: list[MirrorTo] = []
    fault: Fault | None = None
    failures: list[Filter] = []
    for one in filters:
        match one:
            case Rewrite(host, full, prefix):
                rewrite = RewriteTo(host, full, prefix)
            case Mirror(ref, numerator, denominator):
                copy = _backend(view, written, ref, towards, None).backend
                # A copy that cannot be made is no reason to fail the original.
                if numerator and not isinstance(copy.to, Nowhere):
                    mirrors.append(MirrorTo(copy, numerator, denominator))
            case Inject(name):
                found = view.get(FAULT_INJECTION, Key(written.key.cluster, written.key.namespace, name))
                if found is None:
                    failures.append(Fail(_failed(written), f"FaultInjection not found {name}"))
                else:
                    fault = Fault(found.delay, found.abort)
            case _:
                pass
    return Beyond(rewrite, tuple(mirrors), fault, written.idempotent), tuple(failures)


def _failed(written: Route) -> int:
    """500, or gRPC's INTERNAL."""
    return 13 if isinstance(written, GrpcRoute) else 500


def _distribution(
    view: View, written: Route, refs: tuple[BackendRef, ...], towards: Towards, penalty: Penalty | None
) -> Distribution:
    if not refs:
        return FirstAvailable(RouteBackend(1, towards.own))
    return Weighted(tuple(_backend(view, written, ref, towards, penalty) for ref in refs))


def _backend(view: View, written: Route, ref: BackendRef, towards: Towards, penalty: Penalty | None) -> RouteBackend:
    key = Key(written.key.cluster, ref.namespace or written.key.namespace, ref.name)
    if (ref.group, ref.kind) == (EGRESS_NETWORK.group, EGRESS_NETWORK.name):
        return _egress(view, key, ref, towards)
    if (ref.group, ref.kind) != (SERVICE.group, SERVICE.name):
        return _nowhere(ref, Default("invalid"), f"unsupported backend type {ref.group or 'core'} {ref.kind}")
    if ref.port is None:
        return _nowhere(ref, Default("invalid"), f"missing port for backend Service {ref.name}")
    service = view.get(SERVICE, key)
    if service is None:
        return _nowhere(ref, lookup.service_meta(key, ref.port), f"Service not found {ref.name}")
    return RouteBackend(ref.weight, balanced(view, service, ref.port, penalty), ref.filters)


def _egress(view: View, key: Key, ref: BackendRef, towards: Towards) -> RouteBackend:
    """Only the network that the traffic was meant for: there the address is known."""
    original = towards.original
    about = egress_meta(key, ref.port or (original.port if original else 0))
    if view.get(EGRESS_NETWORK, key) is None:
        return _nowhere(ref, about, f"EgressNetwork not found {ref.name}")
    if towards.egress is None or original is None:
        return _nowhere(ref, about, "EgressNetwork backends attach to EgressNetwork parents only")
    if towards.egress.key != key:
        why = "Route with EgressNetwork backend needs to have the same EgressNetwork as a parent"
        return _nowhere(ref, about, why)
    return RouteBackend(ref.weight, forwarded(about, original, ref.weight), ref.filters)


def _nowhere(ref: BackendRef, about: Meta, why: str) -> RouteBackend:
    """A share of the traffic that is answered 500, as Gateway API asks for a backend that does not exist."""
    return RouteBackend(ref.weight, Backend(about, Nowhere()), (Fail(500, why),))

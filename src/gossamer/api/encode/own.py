"""`gossamer.v1.InboundConfig` and `OutboundConfig`: Linkerd's messages whole, and beside them what they cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gossamer.api.encode import destination, inbound, outbound, parts
from gossamer.api.encode.backend import backend
from gossamer.model.access import Action, HeaderClause, PathClause
from gossamer.model.names import Resource
from gossamer.model.proxy_config import (
    AccessRule,
    Backend,
    Balance,
    Beyond,
    ClientRule,
    DetectOutbound,
    Distribution,
    FirstAvailable,
    GrpcOutbound,
    Http1Outbound,
    Http2Outbound,
    Identities,
    InboundConfig,
    OpaqueOutbound,
    OutboundConfig,
    OutboundProtocol,
    OutboundRoute,
    RequestRule,
    TlsOutbound,
    Weighted,
)
from gossamer.model.route import How
from gossamer.model.traffic import Balancing, Prefer, Sticky, StickyBy
from gossamer.pb.linkerd import http_route_pb2, meta_pb2
from gossamer.pb.v1 import policy_pb2

# What this encoder's messages take to be understood (policy.proto).
LEVEL = 1
_Share = tuple[int, int]
_WHOLE = 10_000


def inbound_config(config: InboundConfig) -> policy_pb2.InboundConfig:
    return policy_pb2.InboundConfig(
        level=LEVEL,
        policy=inbound.whole(config),
        rules=[_rule(one) for one in config.rules],
        audit_denials=config.audit_denials,
    )


def _rule(one: AccessRule) -> policy_pb2.AccessRule:
    action = policy_pb2.AccessRule.DENY if one.action is Action.DENY else policy_pb2.AccessRule.ALLOW
    return policy_pb2.AccessRule(
        metadata=parts.meta(one.meta),
        action=action,
        clients=[_client(client) for client in one.clients],
        requests=[_request(request) for request in one.requests],
        # As the route itself is named in `policy`.
        route=inbound.unplaced(one.route) if one.route is not None else None,
    )


def _client(one: ClientRule) -> policy_pb2.ClientRule:
    message = policy_pb2.ClientRule(
        networks=inbound.networks(one.networks), not_networks=inbound.networks(one.not_networks)
    )
    if one.among is not None:
        getattr(message, "is").CopyFrom(_identities(one.among))
    elif one.not_among is not None:
        message.is_not.CopyFrom(_identities(one.not_among))
    elif one.anonymous:
        message.anonymous.SetInParent()
    return message


def _identities(found: Identities) -> policy_pb2.IdentityList:
    return policy_pb2.IdentityList(identities=inbound.names(found.exact), suffixes=inbound.endings(found.suffixes))


def _request(one: RequestRule) -> policy_pb2.RequestRule:
    return policy_pb2.RequestRule(
        methods=one.methods,
        paths=[_path(path) for path in one.paths],
        headers=[_header(header) for header in one.headers],
        hosts=parts.hosts(one.hosts),
    )


def _path(one: PathClause) -> policy_pb2.PathRule:
    match one.how:
        case How.EXACT:
            return policy_pb2.PathRule(exact=one.value)
        case How.PREFIX:
            return policy_pb2.PathRule(prefix=one.value)
        case How.REGEX:
            return policy_pb2.PathRule(regex=one.value)
        case None:
            segments = [_segment(text) for text in one.value.split("/")[1:]]
            return policy_pb2.PathRule(template=policy_pb2.PathTemplate(segments=segments))


def _segment(text: str) -> policy_pb2.PathTemplate.Segment:
    if text.startswith("{"):
        return policy_pb2.PathTemplate.Segment(wildcard=text[1:-1])
    return policy_pb2.PathTemplate.Segment(literal=text)


def _header(one: HeaderClause) -> policy_pb2.HeaderRule:
    match one.how:
        case How.EXACT:
            return policy_pb2.HeaderRule(name=one.name, exact=one.value.encode())
        case How.REGEX:
            return policy_pb2.HeaderRule(name=one.name, regex=one.value)
        case _:
            return policy_pb2.HeaderRule(name=one.name, present=policy_pb2.HeaderRule.Present())


def outbound_config(config: OutboundConfig) -> policy_pb2.OutboundConfig:
    routes = _routes(config.protocol)
    return policy_pb2.OutboundConfig(
        level=LEVEL,
        policy=outbound.whole(config),
        profile=destination.profile(config.profile) if config.profile is not None else None,
        rules=list(_extensions(routes)),
        backends=_backends(config.protocol, routes),
    )


def _routes(protocol: OutboundProtocol) -> tuple[OutboundRoute, ...]:
    """Each once: detection has the same for both versions of HTTP."""
    match protocol:
        case DetectOutbound(http1=routes) | Http1Outbound(routes) | Http2Outbound(routes) | GrpcOutbound(routes):
            return routes
        case TlsOutbound() | OpaqueOutbound():
            return ()


def _extensions(routes: Iterable[OutboundRoute]) -> Iterator[policy_pb2.RuleExtension]:
    for route in routes:
        for index, rule in enumerate(route.rules):
            if rule.beyond != Beyond():
                yield _extension(parts.meta(route.meta), index, rule.beyond)


def _extension(route: meta_pb2.Metadata, index: int, beyond: Beyond) -> policy_pb2.RuleExtension:
    message = policy_pb2.RuleExtension(
        route=route,
        rule=index,
        mirrors=[
            policy_pb2.Mirror(backend=backend(one.backend), ratio=_ratio((one.numerator, one.denominator)))
            for one in beyond.mirrors
        ],
        idempotent=beyond.idempotent,
    )
    if beyond.rewrite is not None:
        path = parts.path_modifier(beyond.rewrite.full_path, beyond.rewrite.prefix_path)
        message.rewrite.CopyFrom(policy_pb2.Rewrite(hostname=beyond.rewrite.host or "", path=path))
    if beyond.fault is not None and beyond.fault.delay is not None:
        after, share = beyond.fault.delay
        delay = policy_pb2.Fault.Delay(duration=parts.duration(after), ratio=_ratio((share, _WHOLE)))
        message.fault.delay.CopyFrom(delay)
    if beyond.fault is not None and beyond.fault.abort is not None:
        status, code, text, share = beyond.fault.abort
        abort = policy_pb2.Fault.Abort(http_status=status, grpc_code=code, message=text, ratio=_ratio((share, _WHOLE)))
        message.fault.abort.CopyFrom(abort)
    return message


def _ratio(share: _Share) -> http_route_pb2.Ratio | None:
    """None for all."""
    return None if share[0] >= share[1] else parts.ratio(share)


def _backends(protocol: OutboundProtocol, routes: Iterable[OutboundRoute]) -> list[policy_pb2.BackendExtension]:
    """Of every balancer, mirrors' included, once; in the order in which the policy names them."""
    found: dict[Resource, Balancing] = {}
    for one in _named(protocol, routes):
        if isinstance(one.to, Balance) and isinstance(one.meta, Resource):
            found.setdefault(one.meta, one.to.balancing)
    return [_balancing(parts.meta(about), balancing) for about, balancing in found.items()]


def _named(protocol: OutboundProtocol, routes: Iterable[OutboundRoute]) -> Iterator[Backend]:
    match protocol:
        case DetectOutbound(opaque=stream) | OpaqueOutbound(stream):
            yield from _of(stream.backends)
        case TlsOutbound(streams):
            for stream in streams:
                yield from _of(stream.backends)
        case _:
            pass
    for route in routes:
        for rule in route.rules:
            yield from _of(rule.backends)
            yield from (one.backend for one in rule.beyond.mirrors)


def _of(distribution: Distribution) -> Iterator[Backend]:
    match distribution:
        case FirstAvailable(one):
            yield one.backend
        case Weighted(several):
            yield from (one.backend for one in several)
        case _:
            pass


_PREFER = {
    Prefer.NONE: policy_pb2.Locality.NONE,
    Prefer.ZONE: policy_pb2.Locality.ZONE,
    Prefer.NODE: policy_pb2.Locality.NODE,
    Prefer.ZONE_ONLY: policy_pb2.Locality.ZONE_ONLY,
}


def _balancing(about: meta_pb2.Metadata, balancing: Balancing) -> policy_pb2.BackendExtension:
    return policy_pb2.BackendExtension(
        backend=about,
        sticky=_sticky(balancing.sticky) if balancing.sticky is not None else None,
        locality=policy_pb2.Locality(prefer=_PREFER[balancing.prefer]),
        panic_floor=balancing.panic_floor,
        slow_start=parts.duration(balancing.slow_start) if balancing.slow_start else None,
    )


def _sticky(sticky: Sticky) -> policy_pb2.Sticky:
    match sticky.by:
        case StickyBy.HEADER:
            return policy_pb2.Sticky(header=sticky.name)
        case StickyBy.COOKIE:
            cookie = policy_pb2.Sticky.Cookie(name=sticky.name, ttl=parts.optional_duration(sticky.ttl))
            return policy_pb2.Sticky(cookie=cookie)
        case StickyBy.SOURCE:
            return policy_pb2.Sticky(source=policy_pb2.Sticky.Source())

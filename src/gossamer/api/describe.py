"""Everything about one workload or service, in words: identity, endpoints, the policy that applies. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gossamer.api.judge import routes
from gossamer.api.subjects import Subject
from gossamer.compile import compile
from gossamer.model.access import Action
from gossamer.model.authorization import Network
from gossamer.model.names import Default, Meta, Resource, service_name
from gossamer.model.proxy_config import (
    AccessRule,
    Authorization,
    ClientRule,
    DetectInbound,
    Endpoint,
    EndpointSet,
    GrpcInbound,
    Http1Inbound,
    Http2Inbound,
    Identities,
    InboundConfig,
    InboundProtocol,
    InboundRoute,
    OpaqueInbound,
    TlsInbound,
    Unauthenticated,
)
from gossamer.model.route import RANKS, GrpcMatch, How, HttpMatch
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View
from gossamer.model.status import ParentStatus
from gossamer.model.subscription import Endpoints, Inbound, NameTarget, Source
from gossamer.model.workload import INBOUND_PORT, Workload
from gossamer.policy import conditions

EVERYWHERE = {"0.0.0.0/0", "::/0"}


@dataclass(frozen=True, slots=True)
class PortWords:
    """The policy of one port of one workload, for people."""

    workload: str
    port: int
    protocol: str
    server: str
    authorizations: tuple[str, ...]
    routes: tuple[str, ...]
    rules: tuple[str, ...] = ()


def ports(view: View, workload: Workload) -> Iterator[PortWords]:
    """One per port the program offers or listens on."""
    for number in sorted({port.target for port in workload.ports}):
        config = compile(view, Inbound(workload.key, number))
        if isinstance(config, InboundConfig):
            yield PortWords(
                str(workload.key),
                number,
                protocol_word(config.protocol),
                meta_word(config.meta),
                tuple(authorization_words(one) for one in config.authorizations) or ("nobody is admitted",),
                tuple(route_words(one) for one in routes(config) if not isinstance(one.meta, Default)),
                tuple(rule_words(one, config.audit_denials) for one in config.rules),
            )


def _shown(endpoint: Endpoint) -> str:
    """With the sidecar's own port where that tells workloads of one machine apart."""
    place = f"{endpoint.address}:{endpoint.port}"
    return place if endpoint.inbound_port in (None, INBOUND_PORT) else f"{place} by {endpoint.inbound_port}"


def attached(view: View, service: Service) -> Iterator[str]:
    """`HTTPRoute/web: Accepted`, `GRPCRoute/shop/users: BackendNotFound`: every route with a service as parent."""
    for kind in (kind for rank in RANKS for kind in rank):
        for (cluster, namespace), named in sorted(view.all(kind).items()):
            for name, route in sorted(named.items()) if cluster == service.key.cluster else ():
                where = "" if namespace == service.key.namespace else f"{namespace}/"
                for parent in conditions.parents(view, route):
                    if (parent.kind, parent.namespace, parent.name) == (SERVICE.name, *service.key[1:]):
                        yield f"{kind.name}/{where}{name}: {_status_words(parent)}"


def _status_words(parent: ParentStatus) -> str:
    wrong = [one for one in parent.conditions if not one.holds]
    said = (f"{one.reason} ({one.message})" if one.message else one.reason for one in wrong)
    return "; ".join(said) or "Accepted"


def endpoints(view: View, subject: Subject) -> list[str]:
    """`address:port` of every place that traffic for the subject goes to now."""
    found: list[str] = []
    if subject.service is not None:
        service = subject.service
        for port in service.ports:
            target = NameTarget(service_name(service.key, view.mesh.cluster_domain), port.port)
            answer = compile(view, Endpoints(Source(service.key.namespace), target))
            if isinstance(answer, EndpointSet):
                found += [_shown(endpoint) for endpoint in answer.endpoints]
    elif any(workload.ready for workload in subject.workloads):
        found = [
            f"{workload.address}:{port.target}"
            for workload in subject.workloads
            if workload.ready
            for port in workload.ports
        ]
    mine = {str(one) for workload in subject.workloads for one in (workload.address, *(workload.advertised or ())[:1])}
    kept = [one for one in dict.fromkeys(found) if subject.service is None or not mine or _host(one) in mine]
    return kept or list(dict.fromkeys(found))


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]


def protocol_word(protocol: InboundProtocol) -> str:
    match protocol:
        case DetectInbound():
            return "detected"
        case Http1Inbound():
            return "HTTP/1"
        case Http2Inbound():
            return "HTTP/2"
        case GrpcInbound():
            return "gRPC"
        case OpaqueInbound():
            return "opaque"
        case TlsInbound():
            return "TLS"


def meta_word(meta: Meta | None) -> str:
    """`Server/web`, or `default policy all-authenticated`."""
    if meta is None:
        return ""
    if isinstance(meta, Default):
        return f"default policy {meta.name}"
    return f"{meta.kind}/{meta.name}"


def authorization_words(authorization: Authorization) -> str:
    """`AuthorizationPolicy/web: front.default (from 10.0.0.0/8)`."""
    return f"{meta_word(authorization.meta)}: {_clients(authorization)}{_networks(authorization.networks)}"


def rule_words(rule: AccessRule, audited: bool = False) -> str:
    """`AccessPolicy/ledger (nobody-deletes): denies all but auditor.bank… some requests`."""
    word = "allows" if rule.action is Action.ALLOW else "would deny (break-glass)" if audited else "denies"
    who = " or ".join(_client_words(one) for one in rule.clients) or "everybody"
    what = ", some requests" if rule.requests else ""
    where = f", on {meta_word(rule.route)}" if rule.route is not None else ""
    section = f" ({rule.meta.section})" if isinstance(rule.meta, Resource) else ""
    return f"{meta_word(rule.meta)}{section}: {word} {who}{what}{where}"


def _client_words(rule: ClientRule) -> str:
    who = "anybody"
    if rule.among is not None:
        who = _names(rule.among)
    elif rule.not_among is not None:
        who = f"all but {_names(rule.not_among)}"
    elif rule.anonymous:
        who = "whoever has no identity"
    beyond = f" (not from {', '.join(str(one.cidr) for one in rule.not_networks)})" if rule.not_networks else ""
    return f"{who}{_networks(rule.networks)}{beyond}"


def _clients(authorization: Authorization) -> str:
    match authorization.clients:
        case Unauthenticated(tls):
            return "anybody over mutual TLS, with or without a certificate" if tls else "anybody"
        case Identities() as names:
            return _names(names)


def _names(found: Identities) -> str:
    if () in found.suffixes:
        return "anybody with an identity of this mesh"
    names = [*found.exact, *("*." + ".".join(suffix) for suffix in found.suffixes)]
    return ", ".join(names) or "nobody"


def _networks(networks: Sequence[Network]) -> str:
    texts = [str(network.cidr) + "".join(f" but {hole}" for hole in network.excepted) for network in networks]
    return "" if not set(texts) - EVERYWHERE else f" (from {', '.join(texts)})"


def route_words(route: InboundRoute) -> str:
    """`HTTPRoute/read: GET /api* [web.default]`, `GRPCRoute/read: acme.Users/Get [the Server's authorizations]`."""
    matches = [match_words(match) for rule in route.rules for match in rule.matches]
    hosts = f" on {', '.join(route.hosts)}" if route.hosts else ""
    who = "; ".join(authorization_words(one) for one in route.authorizations) or "the Server's authorizations only"
    return f"{meta_word(route.meta)}: {', '.join(matches) or 'everything'}{hosts} [{who}]"


def match_words(match: HttpMatch | GrpcMatch) -> str:
    if isinstance(match, GrpcMatch):
        return f"{match.service or '*'}/{match.method or '*'}"
    path = "" if match.path is None else match.path.value + ("*" if match.path.how is How.PREFIX else "")
    return f"{match.method or 'any method'} {path or '/*'}"

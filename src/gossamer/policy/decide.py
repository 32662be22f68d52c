"""What a sidecar would answer to one request: the order of policy.proto, in words that people can follow.

Sidecars decide; this is for `gossamer authz`, and for the tests that hold both against what the documentation says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

from gossamer.model.access import Action, HeaderClause, PathClause
from gossamer.model.authorization import Network
from gossamer.model.names import Default, IPAddress, Meta, is_uri
from gossamer.model.proxy_config import (
    AccessRule,
    Authorization,
    ClientRule,
    GrpcInbound,
    Identities,
    InboundConfig,
    InboundRoute,
    OpaqueInbound,
    RequestRule,
    TlsInbound,
    Unauthenticated,
)
from gossamer.model.route import GrpcMatch, How, HttpMatch, PathMatch, ValueMatch
from gossamer.policy.inbound import routes_in
from gossamer.policy.paths import Path, read


@dataclass(frozen=True, slots=True)
class Client:
    """`identity` is "" without a certificate; `tls` says whether it came over mesh TLS at all."""

    identity: str
    address: IPAddress
    tls: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """`target` as it was sent: path and query. Names of headers in lower case."""

    method: str = "GET"
    target: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    grpc: bool = False

    def values(self, name: str) -> list[str]:
        return [value for of, value in self.headers if of == name]


class Outcome(Enum):
    ALLOWED = "allowed"
    AUDITED = "audited"
    DENIED = "denied"
    UNAUTHORIZED = "unauthorized"
    NO_ROUTE = "no route"
    BAD_PATH = "bad path"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`by` is what decided: the authorization or rule; None where nothing admits."""

    outcome: Outcome
    by: Meta | None = None
    route: Meta | None = None

    @property
    def admitted(self) -> bool:
        return self.outcome in (Outcome.ALLOWED, Outcome.AUDITED)


def decide(config: InboundConfig, client: Client, request: Request | None) -> Verdict:
    """`request` None: a connection whose bytes are not read as HTTP."""
    if request is None or isinstance(config.protocol, OpaqueInbound | TlsInbound):
        return _granted(config, None, client, None)
    path = read(request.target)
    routes = routes_in(config.protocol)
    if not _acceptable(path, request, isinstance(config.protocol, GrpcInbound)):
        return Verdict(Outcome.BAD_PATH)
    if not path.is_canonical and (_rules_tell_apart(config.rules) or any(_tells_apart(one) for one in routes)):
        return Verdict(Outcome.BAD_PATH)
    route = find(routes, request, path)
    if route is None and routes:
        return Verdict(Outcome.NO_ROUTE)
    return _granted(config, route, client, request)


def _granted(config: InboundConfig, route: InboundRoute | None, client: Client, request: Request | None) -> Verdict:
    about = route.meta if route is not None else None
    applying = [one for one in config.rules if applies(one, client, request, about)]
    denied = next((one for one in applying if one.action is Action.DENY), None)
    if denied is not None and not config.audit_denials:
        return Verdict(Outcome.DENIED, denied.meta, about)
    own = route.authorizations if route is not None else ()
    admitting = [one.meta for one in (*own, *config.authorizations) if admits(one, client)]
    admitting += [one.meta for one in applying if one.action is Action.ALLOW]
    plain = [one for one in admitting if one != Default("audit")]
    if plain:
        return Verdict(Outcome.AUDITED if denied is not None else Outcome.ALLOWED, plain[0], about)
    if admitting:
        return Verdict(Outcome.AUDITED, admitting[0], about)
    return Verdict(Outcome.UNAUTHORIZED, None, about)


def admits(authorization: Authorization, client: Client) -> bool:
    if not within(authorization.networks, client.address):
        return False
    match authorization.clients:
        case Unauthenticated(tls):
            return client.tls or not tls
        case Identities() as names:
            return client.tls and is_among(client.identity, names)


def applies(rule: AccessRule, client: Client, request: Request | None, route: Meta | None) -> bool:
    """Of bytes that are not read a Deny holds whatever its requests say, and an Allow with requests never."""
    denies = rule.action is Action.DENY
    if rule.clients and not any(_is_client(one, client) for one in rule.clients):
        return False
    if request is None:
        return rule.route is None and (denies or not rule.requests)
    if rule.route is not None and rule.route != route:
        return False
    return not rule.requests or any(is_request(one, request, denies) for one in rule.requests)


def _is_client(rule: ClientRule, client: Client) -> bool:
    identity = client.identity if client.tls else ""
    if rule.among is not None and not is_among(identity, rule.among):
        return False
    if rule.not_among is not None and is_among(identity, rule.not_among):
        return False
    if rule.anonymous and identity:
        return False
    if rule.networks and not within(rule.networks, client.address):
        return False
    return not within(rule.not_networks, client.address)


def is_among(identity: str, names: Identities) -> bool:
    """A suffix is of DNS-like names; an empty one is any name."""
    if not identity:
        return False
    return identity in names.exact or any(
        not suffix or (not is_uri(identity) and identity.endswith("." + ".".join(suffix))) for suffix in names.suffixes
    )


def within(networks: Iterable[Network], address: IPAddress) -> bool:
    return any(
        address.version == one.cidr.version
        and address in one.cidr
        and not any(address.version == hole.version and address in hole for hole in one.excepted)
        for one in networks
    )


def is_request(rule: RequestRule, request: Request, denies: bool) -> bool:
    path = read(request.target).text
    return (
        (not rule.methods or request.method in rule.methods)
        and (not rule.paths or any(_is_path(one, path, denies) for one in rule.paths))
        and (not rule.hosts or any(_host(one, request.host) is not None for one in rule.hosts))
        and all(_is_header(one, request, denies) for one in rule.headers)
    )


def _is_path(rule: PathClause, path: str, denies: bool) -> bool:
    match rule.how:
        case How.PREFIX:
            return _under(rule.value, path)
        case How.REGEX:
            return re.fullmatch(rule.value, path) is not None
        case How.EXACT:
            return path == rule.value or (denies and _unslashed(path) == _unslashed(rule.value))
        case None:
            return _template(rule.value, path) or (denies and _template(_unslashed(rule.value), _unslashed(path)))


def _unslashed(path: str) -> str:
    return path[:-1] if path.endswith("/") and path != "/" else path


def _under(prefix: str, path: str) -> bool:
    bare = prefix.removesuffix("/")
    return path.startswith(bare) and (not bare or path[len(bare) : len(bare) + 1] in ("", "/"))


def _template(template: str, path: str) -> bool:
    wanted, given = template.split("/"), path.split("/")
    return len(wanted) == len(given) and all(
        bool(have) if want.startswith("{") else want == have for want, have in zip(wanted, given, strict=True)
    )


def _is_header(rule: HeaderClause, request: Request, denies: bool) -> bool:
    """In an Allow every value must satisfy it, in a Deny any does."""
    values = request.values(rule.name)
    found = [rule.how is None or _compare(rule.how, rule.value, value) for value in values]
    return bool(found) and (any(found) if denies else all(found))


def _compare(how: How, wanted: str, value: str) -> bool:
    return value == wanted if how is How.EXACT else re.fullmatch(wanted, value) is not None


def _acceptable(path: Path, request: Request, grpc: bool) -> bool:
    if grpc or request.grpc:
        return path.grpc is not None
    return path.is_path or request.method == "CONNECT"


def _rules_tell_apart(rules: Iterable[AccessRule]) -> bool:
    clauses = (path for rule in rules for request in rule.requests for path in request.paths)
    return any(one.how is not How.PREFIX or one.value != "/" for one in clauses)


def _tells_apart(route: InboundRoute) -> bool:
    paths = (one.path for rule in route.rules for one in rule.matches if isinstance(one, HttpMatch))
    return any(one is not None and (one.how is not How.PREFIX or one.value != "/") for one in paths)


_Closeness = tuple[int, int, bool, int, int]


def find(routes: Sequence[InboundRoute], request: Request, path: Path) -> InboundRoute | None:
    """The route with the closest host, then the closest match; of equals the first."""
    best: tuple[tuple[int, int], _Closeness] | None = None
    found = None
    for route in routes:
        host = (
            (-1, 0)
            if not route.hosts
            else max(filter(None, (_host(one, request.host) for one in route.hosts)), default=None)
        )
        if host is None:
            continue
        for rule in route.rules:
            closeness = _closest(rule.matches, request, path)
            if closeness is not None and (best is None or (host, closeness) > best):
                best, found = (host, closeness), route
    return found


def _host(wanted: str, host: str) -> tuple[int, int] | None:
    host, wanted = host.lower().removesuffix("."), wanted.lower()
    if not wanted.startswith("*."):
        return (1, len(wanted)) if host == wanted else None
    suffix = wanted[1:]
    return (0, len(suffix)) if host.endswith(suffix) and len(host) > len(suffix) else None


def _closest(matches: Sequence[HttpMatch | GrpcMatch], request: Request, path: Path) -> _Closeness | None:
    if not matches:
        return (0, 0, False, 0, 0)
    return max(filter(None, (_closeness(one, request, path) for one in matches)), default=None)


def _closeness(wanted: HttpMatch | GrpcMatch, request: Request, path: Path) -> _Closeness | None:
    if not _all_headers(wanted.headers, request):
        return None
    if isinstance(wanted, GrpcMatch):
        rpc = path.grpc
        if rpc is None or wanted.service not in ("", rpc[0]) or wanted.method not in ("", rpc[1]):
            return None
        return (0, len(wanted.service), bool(wanted.method), len(wanted.headers), 0)
    kind, length = _path_closeness(wanted.path, path.text) or (-1, 0)
    if kind < 0 or wanted.method not in (None, request.method) or not _all_query(wanted.query, path):
        return None
    return (kind, length, wanted.method is not None, len(wanted.headers), len(wanted.query))


def _path_closeness(wanted: PathMatch | None, path: str) -> tuple[int, int] | None:
    if wanted is None:
        return (0, 0)
    match wanted.how:
        case How.EXACT:
            return (3, len(wanted.value)) if path == wanted.value else None
        case How.REGEX:
            return (2, len(wanted.value)) if re.fullmatch(wanted.value, path) else None
        case How.PREFIX:
            return (1, len(wanted.value.removesuffix("/"))) if _under(wanted.value, path) else None


def _all_headers(wanted: Iterable[ValueMatch], request: Request) -> bool:
    for one in wanted:
        values = request.values(one.name)
        if not values or not all(_compare(one.how, one.value, value) for value in values):
            return False
    return True


def _all_query(wanted: Iterable[ValueMatch], path: Path) -> bool:
    """The first parameter of a name decides."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(path.query or "", keep_blank_values=True):
        given.setdefault(name, value)
    return all(one.name in given and _compare(one.how, one.value, given[one.name]) for one in wanted)

"""HTTPRoute documents of gateway.networking.k8s.io and policy.linkerd.io."""

from __future__ import annotations

from gossamer.model.names import Origin
from gossamer.model.route import (
    GATEWAY_GROUP,
    POLICY_GROUP,
    How,
    HttpMatch,
    HttpRoute,
    HttpRule,
    PathMatch,
    Redirect,
    Rewrite,
)
from gossamer.model.traffic import Timeouts
from gossamer.resources import route_parts, traffic, values
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.traffic import Annotations

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
# The API server fills this in where a rule has no matches.
EVERY_PATH = HttpMatch(path=PathMatch(How.PREFIX, "/"))
EVERY_REQUEST = (HttpRule((EVERY_PATH,)),)


def http_route(document: Reader, metadata: Metadata, origin: Origin) -> HttpRoute:
    return _route(document, metadata, origin, GATEWAY_GROUP)


def policy_http_route(document: Reader, metadata: Metadata, origin: Origin) -> HttpRoute:
    return _route(document, metadata, origin, POLICY_GROUP)


def _route(document: Reader, metadata: Metadata, origin: Origin, group: str) -> HttpRoute:
    annotations = Annotations(metadata.annotations, document.where)
    limits = traffic.timeouts(annotations)
    with document.required("spec") as spec:
        # A Gateway API that is newer than this code may say whose routes it wants.
        spec.ignore("useDefaultGateways")
        parents = route_parts.parents(spec, group, metadata.key.namespace)
        hostnames = route_parts.hostnames(spec)
        # Written as empty they stay empty; left out, they are what the API server fills in.
        rules = tuple(_rule(one, limits) for one in route_parts.rules(spec)) if spec.has("rules") else EVERY_REQUEST
    return HttpRoute(
        metadata.key,
        group,
        parents,
        hostnames,
        rules,
        metadata.annotations,
        metadata.created,
        traffic.http_retry(annotations),
        traffic.idempotent(annotations),
        origin,
    )


def _rule(reader: Reader, limits: Timeouts) -> HttpRule:
    with reader:
        reader.ignore("name")
        reader.unsupported("retry", "sessionPersistence")
        matches = tuple(_match(one) for one in reader.objects("matches")) if reader.has("matches") else (EVERY_PATH,)
        prefixes = all(one.path is not None and one.path.how is How.PREFIX for one in matches)
        filters = tuple(route_parts.http_filter(one, prefixes) for one in reader.objects("filters"))
        backends = tuple(route_parts.backend(one, prefixes) for one in reader.objects("backendRefs"))
        redirects = any(isinstance(one, Redirect) for one in filters)
        if backends and redirects and not reader.lenient:
            reader.refuse("backendRefs", "a rule that redirects leads nowhere", "remove them")
        if redirects and any(isinstance(one, Rewrite) for one in filters):
            reader.refuse("filters", "a rule cannot both redirect and rewrite")
        if sum(isinstance(one, Rewrite) for one in filters) > 1:
            reader.refuse("filters", "URLRewrite is there twice", "keep one of them")
        return HttpRule(matches, filters, backends, _timeouts(reader.object("timeouts"), limits))


def _match(reader: Reader) -> HttpMatch:
    with reader:
        path = reader.object("path")
        headers = tuple(route_parts.header_match(one) for one in reader.objects("headers"))
        query = tuple(route_parts.value_match(one, header=False) for one in reader.objects("queryParams"))
        method = reader.choice("method", METHODS)
        return HttpMatch(_path(path) if path else PathMatch(How.PREFIX, "/"), headers, query, method)


def _path(reader: Reader) -> PathMatch:
    with reader:
        how = How(reader.choice("type", [one.value for one in How]) or How.PREFIX.value)
        value = reader.text("value")
        if how is How.REGEX:
            return PathMatch(how, route_parts.regex(reader))
        return PathMatch(how, route_parts.canonical_path(reader, "value", "/" if value is None else value))


def _timeouts(reader: Reader | None, limits: Timeouts) -> Timeouts:
    """Annotations win. `backendRequest` limits one attempt, and is the retry's to say here. Zero: no limit."""
    if reader is None:
        return limits
    with reader:
        request = reader.parsed("request", values.duration, 'a duration such as "10s"')
        attempt = reader.parsed("backendRequest", values.duration, 'a duration such as "10s"')
        if request and attempt and attempt > request:
            reader.refuse("backendRequest", "is longer than request")
        return Timeouts(limits.request or request or None, limits.response, limits.idle)

"""HTTPRoute documents of gateway.networking.k8s.io and policy.linkerd.io."""

from __future__ import annotations

import re

from gossamer.model.authorization import SERVER
from gossamer.model.names import Origin
from gossamer.model.route import (
    GATEWAY_GROUP,
    POLICY_GROUP,
    BackendRef,
    Filter,
    HeaderModifier,
    How,
    HttpMatch,
    HttpRoute,
    HttpRule,
    ParentRef,
    PathMatch,
    Redirect,
    RequestHeaders,
    ResponseHeaders,
    Timeouts,
    ValueMatch,
)
from gossamer.resources import pattern, values
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.references import core

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
# The API server fills this in where a rule has no matches.
EVERY_PATH = HttpMatch(path=PathMatch(How.PREFIX, "/"))
MAX_RULES = 256
MAX_WEIGHT = 1_000_000
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[\x20-\x7e\x80-\U0010ffff]{0,4096}")


def http_route(document: Reader, metadata: Metadata, origin: Origin) -> HttpRoute:
    return _route(document, metadata, origin, GATEWAY_GROUP)


def policy_http_route(document: Reader, metadata: Metadata, origin: Origin) -> HttpRoute:
    return _route(document, metadata, origin, POLICY_GROUP)


def _route(document: Reader, metadata: Metadata, origin: Origin, group: str) -> HttpRoute:
    with document.required("spec") as spec:
        parents = tuple(_parent(one, group, metadata.key.namespace) for one in spec.objects("parentRefs"))
        hostnames = spec.texts("hostnames")
        for index, name in enumerate(hostnames):
            try:
                values.host(name)
            except ValueError:
                spec.refuse(f"hostnames[{index}]", f"{name!r} is not a host name", 'write "a.example" or "*.example"')
        readers = spec.objects("rules")
        if len(readers) > MAX_RULES:
            spec.refuse("rules", f"{len(readers)} rules are more than {MAX_RULES}", "write another route")
        rules = tuple(_rule(one) for one in readers) or (HttpRule((EVERY_PATH,)),)
    return HttpRoute(metadata.key, group, parents, hostnames, rules, metadata.annotations, metadata.created, origin)


def _parent(reader: Reader, default_group: str, own: str) -> ParentRef:
    """`group` and `kind` default to the route's own group and Gateway, as in the CRDs."""
    with reader:
        written = reader.text("group")
        parent = ParentRef(
            default_group if written is None else core(written),
            reader.text("kind") or "Gateway",
            reader.parsed("namespace", values.dns_label, "a namespace"),
            reader.required_text("name"),
            reader.text("sectionName"),
            reader.port("port"),
        )
        if (parent.group, parent.kind) == (SERVER.group, SERVER.name):
            for field, value in (("port", parent.port), ("sectionName", parent.section)):
                if value is not None:
                    reader.refuse(field, "a route attaches to all of a Server", "remove it")
            if parent.namespace not in (None, own):
                reader.refuse("namespace", "a route attaches to a Server of its own namespace only", f"write {own}")
        return parent


def _rule(reader: Reader) -> HttpRule:
    with reader:
        reader.ignore("name")
        reader.unsupported("retry", "sessionPersistence")
        matches = tuple(_match(one) for one in reader.objects("matches")) or (EVERY_PATH,)
        filters = tuple(_filter(one, matches) for one in reader.objects("filters"))
        backends = tuple(_backend(one, matches) for one in reader.objects("backendRefs"))
        if backends and any(isinstance(one, Redirect) for one in filters):
            reader.refuse("backendRefs", "a rule that redirects leads nowhere", "remove them")
        return HttpRule(matches, filters, backends, _timeouts(reader.object("timeouts")))


def _match(reader: Reader) -> HttpMatch:
    with reader:
        path = reader.object("path")
        headers = tuple(_value(one, header=True) for one in reader.objects("headers"))
        query = tuple(_value(one, header=False) for one in reader.objects("queryParams"))
        method = reader.choice("method", METHODS)
        return HttpMatch(_path(path) if path else PathMatch(How.PREFIX, "/"), headers, query, method)


def _path(reader: Reader) -> PathMatch:
    """A path that could never be equal to a canonical one is refused (security A-31)."""
    with reader:
        how = How(reader.choice("type", [one.value for one in How]) or How.PREFIX.value)
        value = reader.text("value")
        text = "/" if value is None else value
        if len(text) > 1024:
            reader.refuse("value", "is longer than 1024 characters")
        if how is How.REGEX:
            return PathMatch(how, _regex(reader))
        if not text.startswith("/"):
            reader.refuse("value", f"{text!r} does not begin with /", f'write "/{text}"')
        if any(part in text for part in ("//", "/./", "/../", "%2f", "%2F", "#")) or text.endswith(("/..", "/.")):
            reader.refuse("value", f"{text!r} is not a canonical path", "write it without //, /./, /../, %2F and #")
        return PathMatch(how, text)


def _regex(reader: Reader) -> str:
    text = reader.required_text("value")
    try:
        pattern.check(text)
    except pattern.InvalidPattern as error:
        reader.refuse("value", f"{text!r}: {error.message}", error.remedy)
    return text


def _value(reader: Reader, header: bool) -> ValueMatch:
    with reader:
        name = reader.required_text("name")
        if header and not _TOKEN.fullmatch(name):
            reader.refuse("name", f"{name!r} is not a header's name")
        how = How(reader.choice("type", (How.EXACT.value, How.REGEX.value)) or How.EXACT.value)
        if how is How.REGEX:
            return ValueMatch(name.lower() if header else name, how, _regex(reader))
        return ValueMatch(name.lower() if header else name, how, reader.required_text("value"))


_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
}


def _filter(reader: Reader, matches: tuple[HttpMatch, ...]) -> Filter:
    with reader:
        reader.required_text("type")
        chosen = reader.choice("type", _FILTERS) or ""
        for kind, name in _FILTERS.items():
            if (kind == chosen) != reader.has(name):
                reader.refuse(name, f"goes with type {kind} and with no other")
        body = reader.required(_FILTERS[chosen])
        if chosen == "RequestRedirect":
            return _redirect(body, matches)
        modifier = _modifier(body)
        return RequestHeaders(modifier) if chosen == "RequestHeaderModifier" else ResponseHeaders(modifier)


def _modifier(reader: Reader) -> HeaderModifier:
    with reader:
        remove = reader.texts("remove")
        for index, name in enumerate(remove):
            if not _TOKEN.fullmatch(name):
                reader.refuse(f"remove[{index}]", f"{name!r} is not a header's name")
        return HeaderModifier(_headers(reader, "add"), _headers(reader, "set"), tuple(one.lower() for one in remove))


def _headers(reader: Reader, name: str) -> tuple[tuple[str, str], ...]:
    found = []
    for one in reader.objects(name):
        with one:
            header, value = one.required_text("name"), one.text("value") or ""
            if not _TOKEN.fullmatch(header):
                one.refuse("name", f"{header!r} is not a header's name")
            if not _VALUE.fullmatch(value):
                one.refuse("value", "holds a control character")
            found.append((header.lower(), value))
    return tuple(found)


def _redirect(reader: Reader, matches: tuple[HttpMatch, ...]) -> Redirect:
    with reader:
        path, full, prefix = reader.object("path"), None, None
        if path is not None:
            with path:
                path.required_text("type")
                kind = path.choice("type", ("ReplaceFullPath", "ReplacePrefixMatch"))
                full, prefix = path.text("replaceFullPath"), path.text("replacePrefixMatch")
                if (full is not None, prefix is not None) != (kind == "ReplaceFullPath", kind != "ReplaceFullPath"):
                    path.refuse("type", "goes with replaceFullPath or replacePrefixMatch, whichever it names")
        if prefix is not None and any(one.path is None or one.path.how is not How.PREFIX for one in matches):
            reader.refuse("path.replacePrefixMatch", "needs every match of the rule to be a PathPrefix")
        status = reader.integer("statusCode", 300, 399)
        return Redirect(
            reader.choice("scheme", ("http", "https")),
            reader.parsed("hostname", values.dns_name, "a host name"),
            full,
            prefix,
            reader.port("port"),
            302 if status is None else status,
        )


def _backend(reader: Reader, matches: tuple[HttpMatch, ...]) -> BackendRef:
    with reader:
        group, kind = core(reader.text("group") or ""), reader.text("kind") or "Service"
        port, weight = reader.port("port"), reader.integer("weight", 0, MAX_WEIGHT)
        if (group, kind) == ("", "Service") and port is None:
            reader.refuse("port", "is required for a Service")
        return BackendRef(
            group,
            kind,
            reader.parsed("namespace", values.dns_label, "a namespace"),
            reader.required_text("name"),
            port,
            1 if weight is None else weight,
            tuple(_filter(one, matches) for one in reader.objects("filters")),
        )


def _timeouts(reader: Reader | None) -> Timeouts:
    """`backendRequest` limits one attempt; with one attempt per request it limits the request. Zero: no limit."""
    if reader is None:
        return Timeouts()
    with reader:
        request = reader.parsed("request", values.duration, 'a duration such as "10s"')
        attempt = reader.parsed("backendRequest", values.duration, 'a duration such as "10s"')
        if request and attempt and attempt > request:
            reader.refuse("backendRequest", "is longer than request")
        return Timeouts(request=request or None)

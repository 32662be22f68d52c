"""What the kinds of routes have in common: parents, backends, host names, header matches, filters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import gcd

from gossamer.model.access import OWN_GROUP
from gossamer.model.authorization import SERVER
from gossamer.model.egress import EGRESS_NETWORK, FAULT_INJECTION
from gossamer.model.route import (
    BackendRef,
    HeaderModifier,
    How,
    Inject,
    Mirror,
    ParentRef,
    Redirect,
    RequestHeaders,
    ResponseHeaders,
    Rewrite,
    RuleFilter,
    ValueMatch,
)
from gossamer.resources import pattern, values
from gossamer.resources.reader import Reader
from gossamer.resources.references import core

MAX_WEIGHT = 1_000_000
MAX_RULES = 256
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[\x20-\x7e\x80-\U0010ffff]{0,4096}")
SERVICE_REF = ("", "Service")


def parents(spec: Reader, group: str, own: str) -> tuple[ParentRef, ...]:
    """`parentRefs`. `group` is the default of a reference's; `own` the route's namespace."""
    return tuple(_parent(one, group, own) for one in spec.objects("parentRefs"))


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
        if (parent.group, parent.kind) == (EGRESS_NETWORK.group, EGRESS_NETWORK.name) and parent.port is None:
            reader.refuse("port", "is required for an EgressNetwork")
        return parent


def hostnames(spec: Reader, field: str = "hostnames") -> tuple[str, ...]:
    found = spec.texts(field)
    for index, name in enumerate(found):
        try:
            values.host(name)
        except ValueError:
            spec.refuse(f"{field}[{index}]", f"{name!r} is not a host name", 'write "a.example" or "*.example"')
    return found


def rules(spec: Reader) -> list[Reader]:
    found = spec.objects("rules")
    if len(found) > MAX_RULES:
        spec.refuse("rules", f"{len(found)} rules are more than {MAX_RULES}", "write another route")
    return found


def only_rule(spec: Reader) -> Reader:
    """Of kinds that cannot tell their rules apart."""
    found = spec.objects("rules")
    if len(found) != 1:
        spec.refuse("rules", f"needs one rule, not {len(found)}")
    return found[0]


def backend(reader: Reader, prefixes: bool | None) -> BackendRef:
    """`prefixes`: whether every match of the rule is a prefix; None: backends have no filters."""
    with reader:
        group, kind = core(reader.text("group") or ""), reader.text("kind") or "Service"
        port, weight = reader.port("port"), reader.integer("weight", 0, MAX_WEIGHT)
        if (group, kind) == SERVICE_REF and port is None and not reader.lenient:
            reader.refuse("port", "is required for a Service")
        found = BackendRef(
            group,
            kind,
            reader.parsed("namespace", values.dns_label, "a namespace"),
            reader.required_text("name"),
            port,
            1 if weight is None else weight,
        )
        if prefixes is None:
            return found
        filters = [modifier_or_redirect(one, prefixes) for one in reader.objects("filters")]
        return BackendRef(
            found.group, found.kind, found.namespace, found.name, found.port, found.weight, tuple(filters)
        )


def regex(reader: Reader, field: str = "value") -> str:
    text = reader.required_text(field)
    try:
        pattern.check(text)
    except pattern.InvalidPattern as error:
        reader.refuse(field, f"{text!r}: {error.message}", error.remedy)
    return text


def header_match(reader: Reader) -> ValueMatch:
    return value_match(reader, header=True)


def value_match(reader: Reader, header: bool) -> ValueMatch:
    with reader:
        name = reader.required_text("name")
        if header:
            name = header_name(reader, "name", name)
        how = How(reader.choice("type", (How.EXACT.value, How.REGEX.value)) or How.EXACT.value)
        return ValueMatch(name, how, regex(reader) if how is How.REGEX else reader.required_text("value"))


def header_name(reader: Reader, field: str, name: str) -> str:
    """In lower case."""
    if not _TOKEN.fullmatch(name):
        reader.refuse(field, f"{name!r} is not a header's name")
    return name.lower()


# Of an HTTPRoute's rule: type → its field.
_FILTERS: Mapping[str, str] = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
    "ExtensionRef": "extensionRef",
}
_OF_GRPC = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
_OF_BACKENDS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect")


def http_filter(reader: Reader, prefixes: bool) -> RuleFilter:
    """`prefixes` as in `backend`."""
    return _filter(reader, tuple(_FILTERS), prefixes)


def grpc_filter(reader: Reader) -> RuleFilter:
    return _filter(reader, _OF_GRPC, False)


def modifier_or_redirect(reader: Reader, prefixes: bool) -> RequestHeaders | ResponseHeaders | Redirect:
    """Of a backend."""
    found = _filter(reader, _OF_BACKENDS, prefixes)
    assert isinstance(found, RequestHeaders | ResponseHeaders | Redirect)
    return found


def _filter(reader: Reader, allowed: tuple[str, ...], prefixes: bool) -> RuleFilter:
    with reader:
        reader.required_text("type")
        chosen = reader.choice("type", allowed) or ""
        for kind in allowed:
            if (kind == chosen) != reader.has(_FILTERS[kind]):
                reader.refuse(_FILTERS[kind], f"goes with type {kind} and with no other")
        body = reader.required(_FILTERS[chosen])
        match chosen:
            case "RequestHeaderModifier":
                return RequestHeaders(_modifier(body))
            case "ResponseHeaderModifier":
                return ResponseHeaders(_modifier(body))
            case "RequestRedirect":
                return _redirect(body, prefixes)
            case "URLRewrite":
                return _rewrite(body, prefixes)
            case "RequestMirror":
                return _mirror(body)
            case _:
                return _inject(body)


def _modifier(reader: Reader) -> HeaderModifier:
    with reader:
        remove = [header_name(reader, f"remove[{index}]", name) for index, name in enumerate(reader.texts("remove"))]
        return HeaderModifier(_headers(reader, "add"), _headers(reader, "set"), tuple(remove))


def _headers(reader: Reader, name: str) -> tuple[tuple[str, str], ...]:
    found = []
    for one in reader.objects(name):
        with one:
            header, value = header_name(one, "name", one.required_text("name")), one.text("value") or ""
            if not _VALUE.fullmatch(value):
                one.refuse("value", "holds a control character")
            found.append((header, value))
    return tuple(found)


def _redirect(reader: Reader, prefixes: bool) -> Redirect:
    with reader:
        full, prefix = _path_modifier(reader, prefixes)
        status = reader.integer("statusCode", 300, 399)
        return Redirect(
            reader.choice("scheme", ("http", "https")),
            reader.parsed("hostname", values.dns_name, "a host name"),
            full,
            prefix,
            reader.port("port"),
            302 if status is None else status,
        )


def _rewrite(reader: Reader, prefixes: bool) -> Rewrite:
    with reader:
        full, prefix = _path_modifier(reader, prefixes)
        return Rewrite(reader.parsed("hostname", values.dns_name, "a host name"), full, prefix)


def _path_modifier(reader: Reader, prefixes: bool) -> tuple[str | None, str | None]:
    path, full, prefix = reader.object("path"), None, None
    if path is not None:
        with path:
            path.required_text("type")
            kind = path.choice("type", ("ReplaceFullPath", "ReplacePrefixMatch"))
            full, prefix = path.text("replaceFullPath"), path.text("replacePrefixMatch")
            if (full is not None, prefix is not None) != (kind == "ReplaceFullPath", kind != "ReplaceFullPath"):
                path.refuse("type", "goes with replaceFullPath or replacePrefixMatch, whichever it names")
            for field, value in (("replaceFullPath", full), ("replacePrefixMatch", prefix)):
                if value is not None and not value.startswith("/"):
                    path.refuse(field, f"{value!r} does not begin with /", f'write "/{value}"')
    if prefix is not None and not prefixes and not reader.lenient:
        reader.refuse("path.replacePrefixMatch", "needs every match of the rule to be a PathPrefix")
    return full, prefix


def _mirror(reader: Reader) -> Mirror:
    with reader:
        to = backend(reader.required("backendRef"), None)
        percent, fraction = reader.integer("percent", 0, 100), reader.object("fraction")
        if percent is not None and fraction is not None:
            reader.refuse("percent", "goes without fraction")
        if fraction is not None:
            with fraction:
                part = fraction.integer("numerator", 0, MAX_WEIGHT) or 0
                whole = fraction.integer("denominator", 1, MAX_WEIGHT) or 100
            if part > whole:
                reader.refuse("fraction.numerator", f"{part} is more than {whole}")
            return Mirror(to, *_reduced(part, whole))
        return Mirror(to, *_reduced(100 if percent is None else percent, 100))


def _reduced(part: int, whole: int) -> tuple[int, int]:
    common = gcd(part, whole)
    return part // common, whole // common


def _inject(reader: Reader) -> Inject:
    with reader:
        group, kind = reader.text("group") or "", reader.required_text("kind")
        if (group, kind) != (FAULT_INJECTION.group, FAULT_INJECTION.name):
            reader.refuse("kind", f"{group or 'core'}/{kind} is not known", f"{OWN_GROUP}/{FAULT_INJECTION.name} is")
        return Inject(reader.required_text("name"))


def canonical_path(reader: Reader, field: str, text: str) -> str:
    """A path that could never be equal to a canonical one is refused (security A-31)."""
    if len(text) > 1024:
        reader.refuse(field, "is longer than 1024 characters")
    if not text.startswith("/"):
        reader.refuse(field, f"{text!r} does not begin with /", f'write "/{text}"')
    if any(part in text for part in ("//", "/./", "/../", "%2f", "%2F", "#")) or text.endswith(("/..", "/.")):
        reader.refuse(field, f"{text!r} is not a canonical path", "write it without //, /./, /../, %2F and #")
    return text

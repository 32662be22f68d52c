"""AccessPolicy and MeshAccessPolicy documents (policy.gossamer.dev)."""

from __future__ import annotations

import re

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
from gossamer.model.authorization import SERVER, TargetRef
from gossamer.model.names import Origin
from gossamer.model.route import GRPC_ROUTE, HTTP_ROUTE, POLICY_HTTP_ROUTE, How
from gossamer.resources import route_parts, values
from gossamer.resources.authentications import is_identity, networks
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.references import target_ref

TARGETS = (SERVER, HTTP_ROUTE, POLICY_HTTP_ROUTE, GRPC_ROUTE)
MAX_RULES = 64
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SEGMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]{0,63}\}|[^{}]*")


def access_policy(document: Reader, metadata: Metadata, origin: Origin) -> AccessPolicy:
    with document.required("spec") as spec:
        target, selector = spec.object("targetRef"), spec.object("selector")
        if target is not None and selector is not None:
            spec.refuse("selector", "goes without targetRef")
        named = _target(target) if target else None
        if named is not None and spec.has("ports"):
            spec.refuse("ports", "goes without targetRef")
        return AccessPolicy(
            metadata.key,
            _rules(spec),
            named,
            values.selector(selector) if selector else None,
            _ports(spec),
            False,
            origin,
        )


def mesh_access_policy(document: Reader, metadata: Metadata, origin: Origin) -> AccessPolicy:
    with document.required("spec") as spec:
        selector = spec.object("selector")
        return AccessPolicy(
            metadata.key,
            _rules(spec),
            None,
            values.selector(selector) if selector else None,
            _ports(spec),
            True,
            origin,
        )


def _target(reader: Reader) -> TargetRef:
    found = target_ref(reader, TARGETS)
    if found.namespace is not None:
        reader.refuse("namespace", "unknown field", "a policy is for its own namespace")
    return found


def _ports(spec: Reader) -> tuple[int | str, ...]:
    found: list[int | str] = []
    for index, one in enumerate(spec.items("ports")):
        named = isinstance(one, str) and one and not one.isdecimal()
        if not named and (isinstance(one, bool) or not isinstance(one, int) or not 0 < one < 65_536):
            spec.refuse(f"ports[{index}]", f"{one!r} is neither a port nor the name of one")
        found.append(one)
    return tuple(found)


def _rules(spec: Reader) -> tuple[AccessClause, ...]:
    readers = spec.objects("rules")
    if not readers:
        spec.refuse("rules", "needs at least one rule")
    if len(readers) > MAX_RULES:
        spec.refuse("rules", f"{len(readers)} rules are more than {MAX_RULES}", "write another policy")
    found = tuple(_rule(one, index) for index, one in enumerate(readers))
    for index, one in enumerate(found):
        if any(one.name == other.name for other in found[:index]):
            spec.refuse(f"rules[{index}].name", f"{one.name!r} is there twice")
    return found


def _rule(reader: Reader, index: int) -> AccessClause:
    with reader:
        reader.required_text("action")
        action = Action(reader.choice("action", [one.value for one in Action]))
        name = reader.parsed("name", values.dns_name, "a name of lower-case letters, digits, - and .")
        for field in ("clients", "requests"):
            if reader.has(field) and not reader.items(field):
                reader.refuse(field, "must not be empty", "leave it out for all of them")
        clients = tuple(_client(one, action) for one in reader.objects("clients"))
        requests = tuple(_request(one) for one in reader.objects("requests"))
        if action is Action.ALLOW and not clients:
            reader.refuse("clients", "is required to allow", 'write [{identities: ["*"]}] for anyone of the mesh')
        return AccessClause(name or f"rule-{index}", action, clients, requests)


def _client(reader: Reader, action: Action) -> ClientClause:
    with reader:
        who, not_who = _who(reader, "identities", "serviceAccounts", "namespaces"), Who()
        unauthenticated = reader.boolean("unauthenticated", False)
        if action is Action.DENY:
            not_who = _who(reader, "notIdentities", "notServiceAccounts", "notNamespaces")
        elif any(reader.has(name) for name in ("notIdentities", "notServiceAccounts", "notNamespaces", "notNetworks")):
            reader.refuse("", "a rule that allows says who, not who is not", "deny them in another rule")
        if bool(who) + bool(not_who) + unauthenticated > 1:
            reader.refuse("", "says of identities what they are, or what they are not, or that there is none")
        within = networks(reader)
        without = networks(reader, "notNetworks") if action is Action.DENY else ()
        found = ClientClause(who, not_who, unauthenticated, within, without)
        if found == ClientClause():
            reader.refuse("", "names nobody", "leave out clients for everyone" if action is Action.DENY else "")
        return found


def _who(reader: Reader, identities: str, accounts: str, namespaces: str) -> Who:
    names = reader.texts(identities)
    for index, name in enumerate(names):
        if not is_identity(name):
            reader.refuse(f"{identities}[{index}]", f"{name!r} is not an identity", 'write a name, "*.suffix" or "*"')
    found = []
    for one in reader.objects(accounts):
        with one:
            found.append((one.parsed("namespace", values.dns_label, "a namespace"), one.required_text("name")))
    spaces = reader.texts(namespaces)
    for index, name in enumerate(spaces):
        try:
            values.dns_label(name)
        except ValueError:
            reader.refuse(f"{namespaces}[{index}]", f"{name!r} is not a namespace")
    return Who(names, tuple(found), spaces)


def _request(reader: Reader) -> RequestClause:
    with reader:
        methods = reader.texts("methods")
        for index, name in enumerate(methods):
            if not _METHOD.fullmatch(name):
                reader.refuse(f"methods[{index}]", f"{name!r} is not a method")
        found = RequestClause(
            methods,
            tuple(_path(one) for one in reader.objects("paths")),
            tuple(_header(one) for one in reader.objects("headers")),
            route_parts.hostnames(reader, "hosts"),
        )
        if found == RequestClause():
            reader.refuse("", "says nothing", "leave out requests for all of them")
        return found


def _path(reader: Reader) -> PathClause:
    with reader:
        given = [name for name in ("exact", "prefix", "template", "regex") if reader.has(name)]
        if len(given) != 1:
            reader.refuse("exact", "needs exactly one of exact, prefix, template and regex")
        if given == ["regex"]:
            return PathClause(How.REGEX, route_parts.regex(reader, "regex"))
        text = route_parts.canonical_path(reader, given[0], reader.required_text(given[0]))
        if given == ["template"]:
            for part in text.split("/"):
                if not _SEGMENT.fullmatch(part):
                    reader.refuse("template", f"{part!r} is not a segment", "write {name} for any whole segment")
            return PathClause(None, text)
        return PathClause(How.EXACT if given == ["exact"] else How.PREFIX, text)


def _header(reader: Reader) -> HeaderClause:
    with reader:
        name = route_parts.header_name(reader, "name", reader.required_text("name"))
        given = [field for field in ("exact", "regex", "present") if reader.has(field)]
        if len(given) != 1:
            reader.refuse("exact", "needs exactly one of exact, regex and present")
        if given == ["regex"]:
            return HeaderClause(name, How.REGEX, route_parts.regex(reader, "regex"))
        if given == ["exact"]:
            return HeaderClause(name, How.EXACT, reader.required_text("exact"))
        if not reader.boolean("present", True):
            reader.refuse("present", "must be true")
        return HeaderClause(name)

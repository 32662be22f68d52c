"""ServiceProfile documents (linkerd.io)."""

from __future__ import annotations

import re

from gossamer.model.names import Origin
from gossamer.model.profile import (
    All,
    AnyOf,
    Condition,
    MethodIs,
    Not,
    Override,
    PathLike,
    ProfileRoute,
    ResponseClass,
    RetryBudget,
    ServiceProfile,
    StatusWithin,
)
from gossamer.resources import route_parts
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader

MAX_DEPTH = 16
_DURATION = re.compile(r"(?:([0-9]{1,9})(?:\.([0-9]{1,9}))?(h|ms|m|s))+")
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|s)")
_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_QUANTITY = re.compile(r"([0-9]{1,9})(m?)")
_AUTHORITY = re.compile(r"[a-z0-9.-]{1,253}(:[0-9]{1,5})?")


def service_profile(document: Reader, metadata: Metadata, origin: Origin) -> ServiceProfile:
    with document.required("spec") as spec:
        routes = tuple(_route(one) for one in spec.objects("routes"))
        budget = spec.object("retryBudget")
        overrides = tuple(_override(one) for one in spec.objects("dstOverrides"))
        return ServiceProfile(
            metadata.key,
            routes,
            _budget(budget) if budget else None,
            overrides,
            _opaque_ports(spec),
            origin,
        )


def _route(reader: Reader) -> ProfileRoute:
    with reader:
        return ProfileRoute(
            reader.required_text("name"),
            _request(reader.required("condition"), 0),
            tuple(_class(one) for one in reader.objects("responseClasses")),
            reader.boolean("isRetryable", False),
            reader.parsed("timeout", _go_duration, 'a duration such as "10s"') or None,
        )


def _class(reader: Reader) -> ResponseClass:
    with reader:
        return ResponseClass(_response(reader.required("condition"), 0), reader.boolean("isFailure", False))


def _request(reader: Reader, depth: int) -> Condition:
    """Several fields of one condition must all hold; in the order in which Linkerd sends them."""
    with reader:
        _shallow(reader, depth)
        found: list[Condition] = []
        if reader.has("all"):
            found.append(All(tuple(_request(one, depth + 1) for one in reader.objects("all"))))
        if reader.has("any"):
            found.append(AnyOf(tuple(_request(one, depth + 1) for one in reader.objects("any"))))
        method = reader.text("method")
        if method:
            found.append(MethodIs(method.upper()))
        inner = reader.object("not")
        if inner is not None:
            found.append(Not(_request(inner, depth + 1)))
        if reader.has("pathRegex"):
            found.append(PathLike(route_parts.regex(reader, "pathRegex")))
        return _one(reader, found, "pathRegex")


def _response(reader: Reader, depth: int) -> Condition:
    with reader:
        _shallow(reader, depth)
        found: list[Condition] = []
        if reader.has("all"):
            found.append(All(tuple(_response(one, depth + 1) for one in reader.objects("all"))))
        if reader.has("any"):
            found.append(AnyOf(tuple(_response(one, depth + 1) for one in reader.objects("any"))))
        status = reader.object("status")
        if status is not None:
            with status:
                low, high = status.integer("min", 100, 599) or 0, status.integer("max", 100, 599) or 0
                if not low and not high:
                    status.refuse("min", "needs at least one of min and max")
                if high and low > high:
                    status.refuse("max", f"{high} is less than min")
                found.append(StatusWithin(low, high))
        inner = reader.object("not")
        if inner is not None:
            found.append(Not(_response(inner, depth + 1)))
        return _one(reader, found, "status")


def _shallow(reader: Reader, depth: int) -> None:
    if depth > MAX_DEPTH:
        reader.refuse("", f"nested more than {MAX_DEPTH} deep", "flatten it")


def _one(reader: Reader, found: list[Condition], usual: str) -> Condition:
    if not found:
        reader.refuse(usual, "a condition needs a field")
    return found[0] if len(found) == 1 else All(tuple(found))


def _budget(reader: Reader) -> RetryBudget:
    with reader:
        ratio = reader.raw("retryRatio")
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1000:
            reader.refuse("retryRatio", f"{ratio!r} is not a number from 0 to 1000")
        per_second = reader.integer("minRetriesPerSecond", 0, 1_000_000)
        if per_second is None:
            reader.refuse("minRetriesPerSecond", "is required")
        reader.required_text("ttl")
        ttl = reader.parsed("ttl", _go_duration, 'a duration such as "10s"')
        return RetryBudget(float(ratio), per_second, ttl or 0)


def _override(reader: Reader) -> Override:
    with reader:
        authority = reader.required_text("authority")
        if not _AUTHORITY.fullmatch(authority.removesuffix(".")):
            reader.refuse("authority", f"{authority!r} is not a name with or without a port")
        weight = reader.raw("weight")
        if isinstance(weight, int) and not isinstance(weight, bool):
            weight = str(weight)
        found = _QUANTITY.fullmatch(weight) if isinstance(weight, str) else None
        if found is None:
            reader.refuse("weight", "is not a quantity", 'write "500m" or 1')
        thousandths = int(found[1]) * (1 if found[2] else 1_000)
        return Override(authority, thousandths * 10)


def _opaque_ports(spec: Reader) -> frozenset[int]:
    found = spec.raw("opaquePorts")
    ports = list(found) if isinstance(found, dict) else found or []
    if not isinstance(ports, list):
        spec.refuse("opaquePorts", "must be a list of ports")
    numbers = set()
    for one in ports:
        text = str(one)
        if not text.isdecimal() or not 0 < int(text) < 65_536:
            spec.refuse("opaquePorts", f"{text!r} is not a port")
        numbers.add(int(text))
    return frozenset(numbers)


def _go_duration(text: str) -> int:
    """Milliseconds of "1m30s", "1.5s"."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))

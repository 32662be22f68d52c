"""Small values that several kinds of documents share, with Kubernetes' forms and limits."""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_address, ip_network

from gossamer.model.authorization import DefaultPolicy
from gossamer.model.names import IPAddress, IPNetwork, Labels
from gossamer.model.ports import PortSet, parse_ports
from gossamer.model.selector import Operator, Requirement, Selector
from gossamer.resources.problem import InvalidResource, Where
from gossamer.resources.reader import Reader

OPAQUE_PORTS = "config.linkerd.io/opaque-ports"
DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def dns_label(text: str) -> str:
    """RFC 1123 label: what names of services, namespaces and accounts are."""
    if not _LABEL.fullmatch(text):
        raise ValueError(text)
    return text


def dns_name(text: str) -> str:
    """RFC 1123 subdomain: what names of most objects are."""
    if len(text) > 253 or not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise ValueError(text)
    return text


def host(text: str) -> str:
    """A host name as routes have them; the first label may be `*`."""
    dns_name(text.removeprefix("*."))
    return text


def duration(text: str) -> int:
    """Milliseconds of a Gateway API duration (GEP-2257): "1h30m", "500ms"."""
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|h|m|s)", text))


def address(text: str) -> IPAddress:
    """Without a zone: `fe80::1%eth0` is refused (security A-69)."""
    if "%" in text:
        raise ValueError(text)
    return ip_address(text)


def network(text: str) -> IPNetwork:
    """A CIDR block; a lone address is a block of one. Host bits are dropped, as Linkerd does."""
    if "%" in text:
        raise ValueError(text)
    return ip_network(text, strict=False)


def timestamp(text: str) -> int:
    """Seconds since the epoch of an RFC 3339 time."""
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def selector(reader: Reader | None) -> Selector:
    """A LabelSelector; an empty one matches everything."""
    if reader is None:
        return Selector()
    with reader:
        labels = tuple(sorted(reader.strings("matchLabels").items()))
        return Selector(labels, tuple(_requirement(one) for one in reader.objects("matchExpressions")))


def _requirement(reader: Reader) -> Requirement:
    with reader:
        key = reader.required_text("key")
        reader.required_text("operator")
        operator = Operator(reader.choice("operator", [one.value for one in Operator]))
        values = reader.texts("values")
        if bool(values) != (operator in (Operator.IN, Operator.NOT_IN)):
            reader.refuse("values", f"does not go with operator {operator.value}" if values else "is required")
        return Requirement(key, operator, values)


def opaque_ports(annotations: Labels, where: Where) -> PortSet | None:
    """config.linkerd.io/opaque-ports, or None where it is not."""
    value = annotations.get(OPAQUE_PORTS)
    if value is None:
        return None
    ports = parse_ports(value)
    if ports is None:
        field = f"metadata.annotations.{OPAQUE_PORTS}"
        raise InvalidResource(where, field, f"{value!r} is not a list of ports", 'write "3306,8080-8090"')
    return ports


def default_policy(annotations: Labels, where: Where) -> DefaultPolicy | None:
    """config.linkerd.io/default-inbound-policy, or None where it is not."""
    value = annotations.get(DEFAULT_POLICY)
    if value is None:
        return None
    try:
        return DefaultPolicy(value)
    except ValueError:
        names = ", ".join(one.value for one in DefaultPolicy)
        field = f"metadata.annotations.{DEFAULT_POLICY}"
        raise InvalidResource(where, field, f"{value!r} is not a policy", f"one of {names}") from None

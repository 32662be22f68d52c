"""MeshTLSAuthentication and NetworkAuthentication documents (policy.linkerd.io)."""

from __future__ import annotations

import re

from gossamer.model.authorization import MeshTLSAuthentication, Network, NetworkAuthentication, TargetRef
from gossamer.model.names import IPNetwork, Origin, is_uri
from gossamer.model.workload import NAMESPACE, SERVICE_ACCOUNT
from gossamer.resources import values
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader
from gossamer.resources.references import target_ref

_URI = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def mesh_tls(document: Reader, metadata: Metadata, origin: Origin) -> MeshTLSAuthentication:
    with document.required("spec") as spec:
        identities = spec.texts("identities")
        for index, identity in enumerate(identities):
            if not is_identity(identity):
                remedy = 'write a name, "*.suffix" or "*"'
                spec.refuse(f"identities[{index}]", f"{identity!r} is not an identity", remedy)
        refs = tuple(_identity_ref(one) for one in spec.objects("identityRefs"))
        if not identities and not refs:
            spec.refuse("identities", "needs at least one of identities and identityRefs", 'write ["*"] for anyone')
        return MeshTLSAuthentication(metadata.key, identities, refs, origin)


def _identity_ref(reader: Reader) -> TargetRef:
    return target_ref(reader, (SERVICE_ACCOUNT, NAMESPACE))


def is_identity(text: str) -> bool:
    """Whether it is a name, `*.suffix` or `*`."""
    if text == "*" or (is_uri(text) and _URI.fullmatch(text)):
        return True
    try:
        values.dns_name(text.removeprefix("*."))
    except ValueError:
        return False
    return True


def network(document: Reader, metadata: Metadata, origin: Origin) -> NetworkAuthentication:
    with document.required("spec") as spec:
        found = networks(spec)
        if not found:
            spec.refuse("networks", "needs at least one network")
        return NetworkAuthentication(metadata.key, found, origin)


def networks(reader: Reader, field: str = "networks") -> tuple[Network, ...]:
    """Blocks with exceptions that lie inside and do not cover them."""
    return tuple(_network(one) for one in reader.objects(field))


def _network(reader: Reader) -> Network:
    with reader:
        reader.required_text("cidr")
        cidr = reader.parsed("cidr", values.network, "a network such as 10.0.0.0/8")
        assert cidr is not None
        excepted = []
        for index, text in enumerate(reader.texts("except")):
            try:
                one = values.network(text)
            except ValueError:
                reader.refuse(f"except[{index}]", f"{text!r} is not a network such as 10.0.0.0/8")
            if one.version != cidr.version or not _within(one, cidr):
                reader.refuse(f"except[{index}]", f"{cidr} does not include {one}")
            if one == cidr:
                reader.refuse(f"except[{index}]", f"nothing is left of {cidr}")
            excepted.append(one)
        return Network(cidr, tuple(excepted))


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer

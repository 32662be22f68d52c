"""Service and EndpointSlice documents, as core/v1 and discovery.k8s.io/v1 have them."""

from __future__ import annotations

from gossamer.model.names import IPAddress, Key, Origin
from gossamer.model.selector import Selector
from gossamer.model.service import EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort
from gossamer.resources import traffic, values
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
HEADLESS = "None"


def service(document: Reader, metadata: Metadata, origin: Origin) -> Service:
    """`spec.clusterIP` absent leaves the addresses to be allocated; "None" makes it headless."""
    if "." in metadata.key.name:
        document.refuse("metadata.name", f"{metadata.key.name!r} holds a dot, which a service's name may not")
    with document.required("spec") as spec:
        kind = spec.choice("type", ("ClusterIP", "ExternalName", "NodePort", "LoadBalancer")) or "ClusterIP"
        addresses, headless = _cluster_ips(spec)
        external_name = spec.parsed("externalName", values.dns_name, "a host name") or ""
        if (kind == "ExternalName") != bool(external_name):
            spec.refuse("externalName", "goes with type ExternalName and with no other")
        selector = spec.strings("selector")
        ports = _ports(spec, kind, headless)
        local_only = spec.choice("internalTrafficPolicy", ("Cluster", "Local")) == "Local"
        publish_not_ready = spec.boolean("publishNotReadyAddresses", False)
        _ignore(spec)
    return Service(
        metadata.key,
        ports,
        Selector(tuple(sorted(selector.items()))) if selector else None,
        addresses,
        headless,
        external_name,
        False,
        values.opaque_ports(metadata.annotations, document.where),
        publish_not_ready,
        local_only,
        metadata.labels,
        metadata.annotations,
        traffic.traffic(metadata.annotations, document.where, document.lenient),
        origin,
    )


def _ignore(spec: Reader) -> None:
    """Fields about load balancers, nodes and address families, none of which is a mesh's."""
    spec.ignore("sessionAffinity", "sessionAffinityConfig", "ipFamilies", "ipFamilyPolicy", "trafficDistribution")
    spec.ignore("externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts")
    spec.ignore("loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges")


def _cluster_ips(spec: Reader) -> tuple[tuple[IPAddress, ...], bool]:
    first = spec.text("clusterIP")
    texts = spec.texts("clusterIPs") or ((first,) if first else ())
    if first and texts[0] != first:
        spec.refuse("clusterIPs[0]", f"{texts[0]!r} is not clusterIP {first!r}", "make them equal")
    if HEADLESS in texts:
        return (), True
    found = []
    for text in texts:
        try:
            found.append(values.address(text))
        except ValueError:
            remedy = 'leave it out to have one chosen, or write "None"'
            spec.refuse("clusterIP", f"{text!r} is not an IP address", remedy)
    return tuple(found), False


def _ports(spec: Reader, kind: str, headless: bool) -> tuple[ServicePort, ...]:
    readers = spec.objects("ports")
    if not readers and not headless and kind != "ExternalName":
        spec.refuse("ports", "needs at least one port")
    ports: dict[tuple[str, int], ServicePort] = {}
    for reader in readers:
        protocol, port = _port(reader, len(readers) > 1)
        if any(name == port.name for name in (one.name for one in ports.values())):
            reader.refuse("name", f"{port.name!r} is there twice")
        if (protocol, port.port) in ports:
            reader.refuse("port", f"{port.port} is there twice")
        ports[(protocol, port.port)] = port
    # A mesh carries TCP only.
    return tuple(port for (protocol, _), port in ports.items() if protocol == "TCP")


def _port(reader: Reader, several: bool) -> tuple[str, ServicePort]:
    with reader:
        name = reader.parsed("name", values.dns_label, "a name of lower-case letters, digits and -") or ""
        if several and not name:
            reader.refuse("name", "is required where there is more than one port")
        number = reader.required_port("port")
        target = reader.raw("targetPort")
        if isinstance(target, str) and target.isdecimal():
            reader.refuse("targetPort", f"{target!r} is text", f"write {target}")
        if not isinstance(target, str):
            target = reader.port("targetPort")
        protocol = reader.choice("protocol", ("TCP", "UDP", "SCTP")) or "TCP"
        app_protocol = reader.text("appProtocol") or ""
        reader.ignore("nodePort")
        return protocol, ServicePort(name, number, target or number, app_protocol)


def endpoint_slice(document: Reader, metadata: Metadata, origin: Origin) -> EndpointSlice:
    family = document.choice("addressType", ("IPv4", "IPv6", "FQDN"))
    if family is None:
        document.refuse("addressType", "is required", "one of IPv4, IPv6")
    if family == "FQDN":
        document.refuse("addressType", "FQDN is not supported", "one of IPv4, IPv6")
    endpoints = tuple(_endpoint(one, metadata.key, family) for one in document.objects("endpoints"))
    ports = tuple(port for one in document.objects("ports") if (port := _slice_port(one)) is not None)
    return EndpointSlice(metadata.key, metadata.labels.get(SERVICE_NAME_LABEL, ""), endpoints, ports, origin)


def _slice_port(reader: Reader) -> SlicePort | None:
    with reader:
        protocol = reader.choice("protocol", ("TCP", "UDP", "SCTP")) or "TCP"
        name, number = reader.text("name") or "", reader.required_port("port")
        app_protocol = reader.text("appProtocol") or ""
        return SlicePort(name, number, app_protocol) if protocol == "TCP" else None


def _endpoint(reader: Reader, beside: Key, family: str) -> SliceEndpoint:
    with reader:
        addresses = _addresses(reader, family)
        conditions = reader.object("conditions")
        ready = True
        if conditions is not None:
            with conditions:
                ready = conditions.boolean("ready", True)
                conditions.ignore("serving", "terminating")
        target = reader.object("targetRef")
        for_zones = tuple(zone for hints in _optional(reader, "hints") for zone in _zones(hints))
        reader.ignore("deprecatedTopology")
        return SliceEndpoint(
            addresses,
            ready,
            reader.text("hostname") or "",
            reader.text("nodeName") or "",
            reader.text("zone") or "",
            for_zones,
            (target.text("kind") or "") if target else "",
            _target(target, beside) if target else None,
        )


def _addresses(reader: Reader, family: str) -> tuple[IPAddress, ...]:
    found = []
    for index, text in enumerate(reader.texts("addresses")):
        try:
            address = values.address(text)
        except ValueError:
            reader.refuse(f"addresses[{index}]", f"{text!r} is not an IP address")
        if f"IPv{address.version}" != family:
            reader.refuse(f"addresses[{index}]", f"{text} is not of addressType {family}")
        found.append(address)
    if not found:
        reader.refuse("addresses", "needs at least one address")
    return tuple(found)


def _target(reader: Reader, beside: Key) -> Key | None:
    with reader:
        name = reader.text("name")
        reader.ignore("apiVersion", "kind", "uid", "resourceVersion", "fieldPath")
        namespace = reader.text("namespace") or beside.namespace
        return Key(beside.cluster, namespace, name) if name else None


def _zones(hints: Reader) -> tuple[str, ...]:
    zones = []
    with hints:
        hints.ignore("forNodes")
        for one in hints.objects("forZones"):
            with one:
                zones.append(one.required_text("name"))
    return tuple(zones)


def _optional(reader: Reader, name: str) -> tuple[Reader, ...]:
    found = reader.object(name)
    return () if found is None else (found,)

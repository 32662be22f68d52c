"""Namespace, ServiceAccount and ExternalWorkload documents."""

from __future__ import annotations

from gossamer.model.names import Origin
from gossamer.model.workload import ExternalWorkload, Namespace, ServiceAccount, WorkloadPort
from gossamer.resources import values
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader

# A port with this name is the sidecar's own.
MAX_PORTS = 1000


def namespace(document: Reader, metadata: Metadata, origin: Origin) -> Namespace:
    document.ignore("spec")
    return Namespace(
        metadata.key,
        metadata.labels,
        values.opaque_ports(metadata.annotations, document.where),
        values.default_policy(metadata.annotations, document.where),
        origin,
    )


def service_account(document: Reader, metadata: Metadata, origin: Origin) -> ServiceAccount:
    document.ignore("secrets", "imagePullSecrets", "automountServiceAccountToken")
    return ServiceAccount(metadata.key, origin)


def external_workload(document: Reader, metadata: Metadata, origin: Origin) -> ExternalWorkload:
    """Ready unless its status has a Ready condition that is not "True"."""
    with document.required("spec") as spec:
        with spec.required("meshTLS") as mesh_tls:
            identity = mesh_tls.required_text("identity")
            server_name = mesh_tls.required_text("serverName")
        ports = tuple(_port(one) for one in spec.objects("ports"))
        addresses = []
        for one in spec.objects("workloadIPs"):
            with one:
                one.required_text("ip")
                addresses.append(one.parsed("ip", values.address, "an IP address"))
        if not addresses:
            spec.refuse("workloadIPs", "needs at least one address")
    return ExternalWorkload(
        metadata.key,
        identity,
        server_name,
        tuple(address for address in addresses if address is not None),
        ports,
        metadata.labels,
        values.opaque_ports(metadata.annotations, document.where),
        values.default_policy(metadata.annotations, document.where),
        metadata.labels.get("topology.kubernetes.io/zone", ""),
        _is_ready(document),
        origin,
    )


def _port(reader: Reader) -> WorkloadPort:
    with reader:
        reader.choice("protocol", ("TCP",))
        number = reader.required_port("port")
        return WorkloadPort(reader.text("name") or "", number, number)


def _is_ready(document: Reader) -> bool:
    """Status is written by controllers, so what is not understood of it says nothing."""
    status = document.raw("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, dict) and condition.get("type") == "Ready":
            return condition.get("status") == "True"
    return True

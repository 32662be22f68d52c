"""From what a client knows, a name or an address, to what it means."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.model.names import LOCAL_CLUSTER, Key, Resource
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View


@dataclass(frozen=True, slots=True)
class ServiceName:
    """`instance` is the first label of `web-0.web.default.svc.cluster.local`, "" where there is none."""

    service: Key
    instance: str = ""


def parse(name: str, cluster_domain: str) -> ServiceName | None:
    """The service that a fully qualified host name is of, or None when it has not that form."""
    host, suffix, rest = name.partition(f".svc.{cluster_domain}")
    labels = host.split(".")
    if not suffix or rest or not all(labels):
        return None
    match labels:
        case [service, namespace]:
            return ServiceName(Key(LOCAL_CLUSTER, namespace, service))
        case [instance, service, namespace]:
            return ServiceName(Key(LOCAL_CLUSTER, namespace, service), instance)
        case _:
            return None


def service_meta(service: Key, port: int) -> Resource:
    """How outbound configurations refer to a service: with the group "core", as Linkerd's do."""
    return Resource("core", SERVICE.name, service.namespace, service.name, "", port)


def authority(service: Key, port: int, cluster_domain: str) -> str:
    """What `Destination.Get` is asked for a service's port."""
    return f"{service.name}.{service.namespace}.svc.{cluster_domain}:{port}"


def find(view: View, name: ServiceName) -> Service | None:
    return view.get(SERVICE, name.service)

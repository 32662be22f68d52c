"""Virtual addresses of services (seams §15): a Service leaves here with the `clusterIP` it has once and for all."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from gossamer.model.kinds import Object
from gossamer.model.names import Key
from gossamer.model.service import Service
from gossamer.standalone.addresses import Addresses


class Virtual:
    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def filled(self, resource: Object) -> Object:
        """The resource itself, or the Service with its address. Raises `Taken` or `Unavailable`."""
        if not isinstance(resource, Service) or resource.headless or resource.external_name:
            return resource
        if not resource.cluster_ips:
            return replace(resource, cluster_ips=(self._addresses.allocate(owner(resource.key)),))
        for address in resource.cluster_ips:
            if isinstance(address, IPv4Address):
                self._addresses.claim(owner(resource.key), address)
        return resource

    def of(self, service: Key) -> IPv4Address:
        return self._addresses.allocate(owner(service))


def owner(service: Key) -> str:
    return f"service/{service.namespace}/{service.name}"

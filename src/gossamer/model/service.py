"""What is called: services and the endpoints written for them by hand or by a controller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gossamer.model.names import IPAddress, Key, Kind, Labels, Origin
from gossamer.model.ports import PortSet
from gossamer.model.selector import Selector
from gossamer.model.traffic import Traffic


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`target` is a number, or the name of a port of the workload. `app_protocol` is "" when not said."""

    name: str
    port: int
    target: int | str
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    key: Key
    ports: tuple[ServicePort, ...] = ()
    # None: endpoints are written as EndpointSlices, or owned (`Workload.service`).
    selector: Selector | None = None
    # Virtual addresses; empty while none is allocated, and for headless services.
    cluster_ips: tuple[IPAddress, ...] = ()
    headless: bool = False
    # Name elsewhere that this one stands for (type ExternalName).
    external_name: str = ""
    # Made by `run` for its workloads (seams 23): their own port mapping counts before `ports`.
    owned: bool = False
    # None: not annotated, so the namespace and then the mesh decide. For an owned one, what `run` was told to add to
    # the mesh's list is in here.
    opaque_ports: PortSet | None = None
    publish_not_ready: bool = False
    # internalTrafficPolicy: Local
    local_only: bool = False
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    traffic: Traffic = field(default=Traffic())
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return SERVICE

    def port(self, number: int) -> ServicePort | None:
        return next((port for port in self.ports if port.port == number), None)


@dataclass(frozen=True, slots=True)
class SlicePort:
    name: str
    port: int
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    addresses: tuple[IPAddress, ...]
    ready: bool = True
    hostname: str = ""
    node: str = ""
    zone: str = ""
    # Zones that should prefer it (topology hints).
    for_zones: tuple[str, ...] = ()
    # Kind ("Pod", "ExternalWorkload", …) and key of what is there; "" and None when not said.
    target_kind: str = ""
    target: Key | None = None


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    key: Key
    # Name of the service, from the label kubernetes.io/service-name; "" belongs to none.
    service: str
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return ENDPOINT_SLICE


SERVICE: Kind[Service] = Kind("", "Service", "services", ("v1",), ("svc",))
ENDPOINT_SLICE: Kind[EndpointSlice] = Kind("discovery.k8s.io", "EndpointSlice", "endpointslices", ("v1",))

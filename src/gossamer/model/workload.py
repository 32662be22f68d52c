"""What runs: workloads in the mesh, external ones, their accounts and namespaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gossamer.model.authorization import DefaultPolicy
from gossamer.model.names import IPAddress, Key, Kind, Labels, Origin
from gossamer.model.ports import PortSet

# The port on which a sidecar takes mesh traffic with a transport header, unless it says otherwise.
INBOUND_PORT = 4143


class Sidecar(Enum):
    """Whose sidecar a workload has. One that is not known is treated as Linkerd's (seams 24)."""

    UNKNOWN = "unknown"
    LINKERD = "linkerd"
    GOSSAMER = "gossamer"


@dataclass(frozen=True, slots=True)
class WorkloadPort:
    """A port of a program. `target` is what it listens on; `port` what its service offers it as."""

    name: str
    port: int
    target: int
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """One running program with a sidecar: a pod on Kubernetes, a `gossamer run` on a machine.

    It is an endpoint of every service in its namespace whose selector matches `labels`, and of `service` (the one
    named by `run --service`), as long as it is `ready`. Standalone, `labels` carry `app: <service>` unless given.
    """

    key: Key
    service_account: str
    # "" when it has no sidecar; it is then reached in the clear.
    identity: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[WorkloadPort, ...] = ()
    labels: Labels = field(default_factory=dict)
    # config.linkerd.io/opaque-ports, which replaces the mesh's list (`WorkloadPort.opaque` adds to it). None: not said.
    opaque_ports: PortSet | None = None
    # config.linkerd.io/default-inbound-policy
    default_policy: DefaultPolicy | None = None
    # config.linkerd.io/proxy-require-identity-inbound-ports
    identity_ports: PortSet | None = None
    # (port, path) of its HTTP probes.
    probes: tuple[tuple[int, str], ...] = ()
    service: str | None = None
    node: str = ""
    zone: str = ""
    # The mesh accepts connections for it: it listens, or its `--ready` said so.
    ready: bool = False
    inbound_port: int = INBOUND_PORT
    # Ports that `run --publish` offers to programs outside the mesh.
    public_ports: frozenset[int] = frozenset()
    hostname: str = ""
    sidecar: Sidecar = Sidecar.UNKNOWN
    # Seconds since the epoch; 0 when unknown.
    started: int = 0
    # The joined machine that runs it; "" is the control plane's own, "@…" that of one of several control planes.
    machine: str = ""
    # Where its sidecar takes mesh traffic of other machines; None: it cannot be reached from there.
    advertised: tuple[IPAddress, int] | None = None
    origin: Origin = field(default=Origin("run"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return WORKLOAD

    @property
    def address(self) -> IPAddress:
        """Its first address; every workload has one."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class ExternalWorkload:
    """A program with a sidecar on a machine that runs no control plane of ours (reference §1.7)."""

    key: Key
    identity: str
    server_name: str
    addresses: tuple[IPAddress, ...]
    # A port named `linkerd-proxy` is the sidecar's inbound port.
    ports: tuple[WorkloadPort, ...] = ()
    labels: Labels = field(default_factory=dict)
    opaque_ports: PortSet | None = None
    default_policy: DefaultPolicy | None = None
    zone: str = ""
    ready: bool = True
    origin: Origin = field(default=Origin("store"), compare=False)
    # Made for a Workload of the same name on a joined machine, which is what discovery and policy go by.
    owned: bool = False

    @property
    def kind(self) -> Kind[Any]:
        return EXTERNAL_WORKLOAD

    @property
    def inbound_port(self) -> int:
        named = (port.target for port in self.ports if port.name == "linkerd-proxy")
        return next(named, INBOUND_PORT)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    key: Key
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return SERVICE_ACCOUNT


@dataclass(frozen=True, slots=True)
class Namespace:
    """Settings that its workloads and services inherit."""

    key: Key
    labels: Labels = field(default_factory=dict)
    # None: not annotated.
    opaque_ports: PortSet | None = None
    default_policy: DefaultPolicy | None = None
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return NAMESPACE


WORKLOAD: Kind[Workload] = Kind("gossamer.dev", "Workload", "workloads", (), ("wl",))
EXTERNAL_WORKLOAD: Kind[ExternalWorkload] = Kind(
    "workload.linkerd.io", "ExternalWorkload", "externalworkloads", ("v1beta1", "v1alpha1")
)
SERVICE_ACCOUNT: Kind[ServiceAccount] = Kind("", "ServiceAccount", "serviceaccounts", ("v1",), ("sa",))
NAMESPACE: Kind[Namespace] = Kind("", "Namespace", "namespaces", ("v1",), ("ns",), namespaced=False)

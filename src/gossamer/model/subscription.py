"""What a sidecar can ask about; each is one question with one complete answer (seams 19)."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.model.names import LOCAL_CLUSTER, IPAddress, Key


@dataclass(frozen=True, slots=True)
class Source:
    """As much of the asker as an answer may depend on; equal sources share one answer."""

    namespace: str
    cluster: str = LOCAL_CLUSTER
    node: str = ""
    zone: str = ""
    # The joined machine it is on; "" is the control plane's own.
    machine: str = ""


@dataclass(frozen=True, slots=True)
class AddressTarget:
    """An original destination."""

    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class NameTarget:
    """A host name, lower case, no trailing dot, and a port."""

    name: str
    port: int


Target = AddressTarget | NameTarget


@dataclass(frozen=True, slots=True)
class Inbound:
    """What one port of a workload accepts. `external`: the key names an ExternalWorkload."""

    workload: Key
    port: int
    external: bool = False


@dataclass(frozen=True, slots=True)
class Outbound:
    """How traffic to a target is routed."""

    source: Source
    target: Target


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the traffic of a service goes."""

    source: Source
    target: NameTarget


@dataclass(frozen=True, slots=True)
class Profile:
    """What a target is: a service, an endpoint, or nothing known."""

    source: Source
    target: Target


@dataclass(frozen=True, slots=True)
class Names:
    """Every name of the mesh, as a workload of this namespace sees them."""

    source: Source


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Whom to trust; "" is every trust domain."""

    trust_domain: str = ""


Subscription = Inbound | Outbound | Endpoints | Profile | Names | TrustBundle

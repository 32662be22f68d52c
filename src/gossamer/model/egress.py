"""Where the mesh ends: EgressNetwork (policy.linkerd.io), and faults that routes inject (policy.gossamer.dev)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from gossamer.model.access import OWN_GROUP
from gossamer.model.authorization import Network
from gossamer.model.names import IPAddress, IPNetwork, Key, Kind, Origin
from gossamer.model.ports import PortSet
from gossamer.model.route import POLICY_GROUP
from gossamer.model.traffic import Traffic

# Where clouds answer whoever asks with credentials of the machine, and what is on the same wire only (security A-66).
LINK_LOCAL: tuple[IPNetwork, ...] = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::/32"))


@dataclass(frozen=True, slots=True)
class EgressNetwork:
    """Addresses outside the mesh, and whether traffic to them is allowed where no route says. `networks` None:
    everything that is not the cluster's."""

    key: Key
    allow: bool
    networks: tuple[Network, ...] | None = None
    opaque_ports: PortSet | None = None
    traffic: Traffic = field(default=Traffic())
    # Seconds since the epoch; 0 when unknown.
    created: int = 0
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return EGRESS_NETWORK


@dataclass(frozen=True, slots=True)
class FaultInjection:
    """What an ExtensionRef filter of a route names. Milliseconds; shares are of 10,000; None: not at all."""

    key: Key
    delay: tuple[int, int] | None = None
    # HTTP status, gRPC code, message, share
    abort: tuple[int, int, str, int] | None = None
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return FAULT_INJECTION


EGRESS_NETWORK: Kind[EgressNetwork] = Kind(POLICY_GROUP, "EgressNetwork", "egressnetworks", ("v1alpha1",))
FAULT_INJECTION: Kind[FaultInjection] = Kind(OWN_GROUP, "FaultInjection", "faultinjections", ("v1alpha1",), ("fault",))


def is_link_local(address: IPAddress) -> bool:
    return any(address.version == block.version and address in block for block in LINK_LOCAL)

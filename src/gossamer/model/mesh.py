"""What is true of a whole mesh: its names, networks and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from gossamer.model.authorization import DefaultPolicy
from gossamer.model.names import IPAddress, IPNetwork, Key, identity, local
from gossamer.model.ports import PortSet, port_set

# The networks of a mesh on one machine: its workloads' and its services' addresses.
WORKLOAD_NETWORK = IPv4Network("127.64.0.0/10")
SERVICE_NETWORK = IPv4Network("198.19.0.0/16")
# Ports of protocols in which the server speaks first, or which are TLS of the program's own (reference §3.3).
OPAQUE_PORTS = port_set([25, 587, 3306, 4444, 5432, 6379, 9300, 11211])
# What the front sidecar is called, in the control plane's own namespace, and whose identity it has.
FRONT = "front"
CONTROL_ACCOUNT = "gossamer-control"


@dataclass(frozen=True, slots=True)
class Revocation:
    """Certificates of one identity that nobody accepts any more: those with these serials, or all issued earlier.

    `issued_before`: seconds since the epoch, compared with notBefore; 0 where serials are given. `serials`: big-endian,
    without leading zeros.
    """

    identity: str
    issued_before: int = 0
    serials: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Trust anchors, as DER certificates, by trust domain (seams 2). A change of anything raises `generation`.

    `active_anchor`: SHA-256 of the anchor to which certificates should chain now, b"" for whichever they do; a sidecar
    whose own chains to another asks for a new one within `renew_within` seconds.
    """

    anchors: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    generation: int = 0
    active_anchor: bytes = b""
    renew_within: int = 0
    revoked: tuple[Revocation, ...] = ()


@dataclass(frozen=True, slots=True)
class Mesh:
    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    control_namespace: str = "gossamer"
    default_policy: DefaultPolicy = DefaultPolicy.ALL_AUTHENTICATED
    cluster_networks: tuple[IPNetwork, ...] = (WORKLOAD_NETWORK, SERVICE_NETWORK)
    # Addresses of the machines of the mesh: from there come peers that belong to the cluster, too.
    machine_networks: tuple[IPNetwork, ...] = ()
    opaque_ports: PortSet = OPAQUE_PORTS
    # Where probes of workloads come from; empty: nothing is admitted for them.
    probe_networks: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    # EgressNetworks of this namespace are for clients whose own has none.
    egress_namespace: str = "linkerd-egress"
    # Programs may set retries and timeouts by l5d-* headers (reference §2.6).
    request_headers: bool = False
    # Where routes to the control plane itself lead; None while its front is not up.
    control_address: tuple[IPAddress, int] | None = None
    bundle: Bundle = Bundle()

    @property
    def peer_networks(self) -> tuple[IPNetwork, ...]:
        """Where connections of the mesh's own workloads come from."""
        return (*self.cluster_networks, *self.machine_networks)

    @property
    def control_identity(self) -> str:
        """The front's, by which sidecars know the control plane."""
        return identity(CONTROL_ACCOUNT, self.control_namespace, self.control_namespace, self.trust_domain)

    @property
    def front(self) -> Key:
        """As what the front sidecar subscribes and reports, though it is no workload."""
        return local(self.control_namespace, FRONT)

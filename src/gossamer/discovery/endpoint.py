"""One workload's port, as a client has to treat it: whom to expect there, and what its sidecar understands."""

from __future__ import annotations

from typing import TypeGuard

from gossamer.model.names import IPAddress, Labels, Resource, is_uri, meta
from gossamer.model.proxy_config import Endpoint, Site, Tls
from gossamer.model.selection import takes_opaque
from gossamer.model.snapshot import View
from gossamer.model.subscription import Source
from gossamer.model.workload import EXTERNAL_WORKLOAD, ExternalWorkload, Sidecar, Workload

Peer = Workload | ExternalWorkload


def endpoint_of(
    view: View, peer: Peer, port: int, address: IPAddress, source: Source, zone: str = "", node: str = ""
) -> Endpoint:
    """`zone` and `node` where something other than the workload itself knows them."""
    meshed = bool(peer.identity)
    inbound_port = peer.inbound_port
    if is_remote(peer, source) and peer.advertised is not None:
        address, inbound_port = peer.advertised
    opaque = meshed and takes_opaque(view, peer, port)
    return Endpoint(
        address,
        port,
        Tls(peer.identity, _server_name(peer)) if meshed else None,
        h2=meshed and not opaque,
        opaque=opaque,
        inbound_port=inbound_port if meshed else None,
        labels={**_labels(peer), "zone": zone or peer.zone},
        meta=_reference(peer),
        site=Site(peer.key.cluster, node or _node(peer), zone or peer.zone),
        sidecar=peer.sidecar if isinstance(peer, Workload) else Sidecar.UNKNOWN,
    )


def is_remote(peer: Peer, source: Source) -> TypeGuard[Workload]:
    """Whether its own address, which is of its machine's loopback, means nothing to the source."""
    return isinstance(peer, Workload) and peer.machine != source.machine


def reachable(peer: Peer, source: Source) -> bool:
    """Whether anything of the source's could get there."""
    if not is_remote(peer, source) or peer.advertised is not None:
        return True
    # Control planes that advertise nothing share one machine.
    return all(machine[:1] in ("", "@") for machine in (peer.machine, source.machine))


def _labels(peer: Peer) -> Labels:
    if isinstance(peer, ExternalWorkload):
        return {"external_workload": peer.key.name}
    return {"pod": peer.key.name, "serviceaccount": peer.service_account}


def _node(peer: Peer) -> str:
    return peer.node if isinstance(peer, Workload) else ""


def _server_name(peer: Peer) -> str:
    """The SNI to send. A URI is none, so a workload with a URI identity has to say one."""
    if isinstance(peer, ExternalWorkload) and peer.server_name:
        return peer.server_name
    return "" if is_uri(peer.identity) else peer.identity


def _reference(peer: Peer) -> Resource:
    if isinstance(peer, ExternalWorkload):
        return meta(EXTERNAL_WORKLOAD, peer.key)
    return Resource("core", "Pod", peer.key.namespace, peer.key.name)

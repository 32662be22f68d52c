"""`gossamer.v1.EndpointsMetadata`."""

from __future__ import annotations

from gossamer.model.names import Resource
from gossamer.model.proxy_config import Endpoint, EndpointSet
from gossamer.model.workload import Sidecar
from gossamer.pb.v1 import endpoints_pb2

_SIDECARS = {
    Sidecar.UNKNOWN: endpoints_pb2.SIDECAR_UNSPECIFIED,
    Sidecar.LINKERD: endpoints_pb2.SIDECAR_LINKERD,
    Sidecar.GOSSAMER: endpoints_pb2.SIDECAR_GOSSAMER,
}


def metadata(config: EndpointSet) -> endpoints_pb2.EndpointsMetadata:
    return endpoints_pb2.EndpointsMetadata(endpoints=[_endpoint(one) for one in config.endpoints])


def _endpoint(one: Endpoint) -> endpoints_pb2.EndpointMetadata:
    of = one.meta if isinstance(one.meta, Resource) else None
    host = f"[{one.address}]" if one.address.version == 6 else str(one.address)
    return endpoints_pb2.EndpointMetadata(
        address=f"{host}:{one.port}",
        identity=one.tls.identity if one.tls else "",
        cluster=one.site.cluster,
        namespace=of.namespace if of else "",
        workload=of.name if of else "",
        node=one.site.node,
        zone=one.site.zone,
        network=one.site.network,
        sidecar=_SIDECARS[one.sidecar if one.tls else Sidecar.UNKNOWN],
    )

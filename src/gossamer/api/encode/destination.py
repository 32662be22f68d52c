"""`io.linkerd.proxy.destination`: endpoint sets as updates, and profiles."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.api.encode import parts, profiles
from gossamer.model.names import IPAddress, is_uri
from gossamer.model.proxy_config import Endpoint, EndpointSet, ProfileConfig, Tls
from gossamer.pb.linkerd import destination_pb2

_Update = destination_pb2.Update
_Hint = destination_pb2.ProtocolHint
# Endpoints in one message: with 300 bytes each, well below the 4 MiB that a client accepts.
CHUNK = 2_000
# How a dead peer is noticed on a link without traffic (reference §3.2).
_MESH_LINK = destination_pb2.Http2ClientParams(
    keep_alive=destination_pb2.Http2ClientParams.KeepAlive(
        interval=parts.duration(10_000), timeout=parts.duration(3_000), while_idle=True
    )
)


def updates(sent: EndpointSet | None, new: EndpointSet) -> list[destination_pb2.Update]:
    """What leads a client from `sent` (None: it has nothing yet) to `new`; nothing when it is there already.

    Additions come first, so that a client is never left without endpoints in between. An empty set is said by
    `no_endpoints{exists}`, never before an `add` of the same change (the contract's comment on Destination).
    """
    before = _by_place(sent.endpoints) if sent else {}
    after = _by_place(new.endpoints)
    if not after:
        nothing_said = sent is None or bool(before)
        return [_Update(no_endpoints=destination_pb2.NoEndpoints(exists=True))] if nothing_said else []
    relabelled = sent is not None and sent.labels != new.labels
    added = [them for place, them in after.items() if relabelled or before.get(place) != them]
    gone = [place for place in before if place not in after]
    messages = [
        _Update(add=destination_pb2.WeightedAddrSet(addrs=chunk, metric_labels=new.labels)) for chunk in _chunks(added)
    ]
    if gone:
        addresses = [parts.tcp(address, port) for address, port in gone]
        messages.append(_Update(remove=destination_pb2.AddrSet(addrs=addresses)))
    return messages


def _by_place(endpoints: tuple[Endpoint, ...]) -> dict[tuple[IPAddress, int], list[Endpoint]]:
    """Workloads of one machine may share its address; a client of Linkerd's keeps the last one."""
    found: dict[tuple[IPAddress, int], list[Endpoint]] = {}
    for one in endpoints:
        found.setdefault((one.address, one.port), []).append(one)
    return found


def _chunks(groups: list[list[Endpoint]]) -> Iterator[list[destination_pb2.WeightedAddr]]:
    """Those of one address stay together: what is said of it replaces what was said before."""
    chunk: list[destination_pb2.WeightedAddr] = []
    for group in groups:
        chunk += [weighted_address(one) for one in group]
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def gone() -> destination_pb2.Update:
    """The service that had endpoints exists no longer."""
    return _Update(no_endpoints=destination_pb2.NoEndpoints(exists=False))


def weighted_address(endpoint: Endpoint) -> destination_pb2.WeightedAddr:
    return destination_pb2.WeightedAddr(
        addr=parts.tcp(endpoint.address, endpoint.port),
        weight=endpoint.weight,
        metric_labels=endpoint.labels,
        tls_identity=_tls(endpoint.tls) if endpoint.tls else None,
        protocol_hint=_hint(endpoint),
        authority_override=destination_pb2.AuthorityOverride(authority_override=endpoint.authority_override)
        if endpoint.authority_override
        else None,
        http2=_MESH_LINK if endpoint.tls else None,
        resource_ref=parts.meta(endpoint.meta) if endpoint.meta else None,
    )


def _tls(tls: Tls) -> destination_pb2.TlsIdentity:
    kinds = destination_pb2.TlsIdentity
    server_name = kinds.DnsLikeIdentity(name=tls.server_name)
    if is_uri(tls.identity):
        return kinds(uri_like_identity=kinds.UriLikeIdentity(uri=tls.identity), server_name=server_name)
    return kinds(dns_like_identity=kinds.DnsLikeIdentity(name=tls.identity), server_name=server_name)


def _hint(endpoint: Endpoint) -> destination_pb2.ProtocolHint | None:
    if not (endpoint.h2 or endpoint.opaque or endpoint.inbound_port):
        return None
    transport = _Hint.OpaqueTransport(inbound_port=endpoint.inbound_port) if endpoint.inbound_port else None
    if endpoint.opaque:
        return _Hint(opaque=_Hint.Opaque(), opaque_transport=transport)
    if endpoint.h2:
        return _Hint(h2=_Hint.H2(), opaque_transport=transport)
    return _Hint(opaque_transport=transport)


def profile(config: ProfileConfig) -> destination_pb2.DestinationProfile:
    budget = config.retry_budget
    return destination_pb2.DestinationProfile(
        fully_qualified_name=config.name,
        opaque_protocol=config.opaque,
        retry_budget=destination_pb2.RetryBudget(
            retry_ratio=budget.ratio, min_retries_per_second=budget.per_second, ttl=parts.duration(budget.ttl)
        )
        if budget
        else None,
        endpoint=weighted_address(config.endpoint) if config.endpoint else None,
        parent_ref=parts.meta(config.parent) if config.parent else None,
        profile_ref=parts.meta(config.profile) if config.profile else None,
        routes=[profiles.route(one) for one in config.routes],
        dst_overrides=[
            destination_pb2.WeightedDst(authority=one.authority, weight=one.weight) for one in config.overrides
        ],
    )

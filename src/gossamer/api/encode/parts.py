"""Pieces that several messages share: addresses, durations, references, matches and filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from google.protobuf.duration_pb2 import Duration

from gossamer.model.names import IPAddress, IPNetwork, Meta, Resource
from gossamer.model.route import GrpcMatch, HeaderModifier, How, HttpMatch, PathMatch, Redirect, ValueMatch
from gossamer.pb.linkerd import grpc_route_pb2, http_route_pb2, http_types_pb2, meta_pb2, net_pb2, tls_route_pb2


class Message(Protocol):
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802 - protobuf's name


def serialize(message: Message) -> bytes:
    """The same bytes for the same message, whatever the order in which maps were filled."""
    return message.SerializeToString(deterministic=True)


def duration(milliseconds: int) -> Duration:
    seconds, rest = divmod(milliseconds, 1_000)
    return Duration(seconds=seconds, nanos=rest * 1_000_000)


def optional_duration(milliseconds: int | None) -> Duration | None:
    return None if milliseconds is None else duration(milliseconds)


def ip(address: IPAddress) -> net_pb2.IPAddress:
    number = int(address)
    if address.version == 4:
        return net_pb2.IPAddress(ipv4=number)
    return net_pb2.IPAddress(ipv6=net_pb2.IPv6(first=number >> 64, last=number & (1 << 64) - 1))


def tcp(address: IPAddress, port: int) -> net_pb2.TcpAddress:
    return net_pb2.TcpAddress(ip=ip(address), port=port)


def network(block: IPNetwork) -> net_pb2.IPNetwork:
    return net_pb2.IPNetwork(ip=ip(block.network_address), prefix_len=block.prefixlen)


def meta(about: Meta) -> meta_pb2.Metadata:
    if not isinstance(about, Resource):
        return meta_pb2.Metadata(default=about.name)
    return meta_pb2.Metadata(
        resource=meta_pb2.Resource(
            group=about.group,
            kind=about.kind,
            name=about.name,
            namespace=about.namespace,
            section=about.section,
            port=about.port,
        )
    )


def hosts(names: Iterable[str]) -> list[http_route_pb2.HostMatch]:
    return [_host(name) for name in names]


def _host(name: str) -> http_route_pb2.HostMatch:
    """`*.example.com` is a suffix, written from its end."""
    if not name.startswith("*."):
        return http_route_pb2.HostMatch(exact=name)
    labels = name.split(".")[1:]
    return http_route_pb2.HostMatch(suffix=http_route_pb2.HostMatch.Suffix(reverse_labels=labels[::-1]))


def snis(names: Iterable[str]) -> list[tls_route_pb2.SniMatch]:
    return [_sni(name) for name in names]


def _sni(name: str) -> tls_route_pb2.SniMatch:
    if not name.startswith("*."):
        return tls_route_pb2.SniMatch(exact=name)
    return tls_route_pb2.SniMatch(suffix=tls_route_pb2.SniMatch.Suffix(reverse_labels=name.split(".")[:0:-1]))


def ratio(part: tuple[int, int] | None) -> http_route_pb2.Ratio | None:
    return None if part is None else http_route_pb2.Ratio(numerator=part[0], denominator=part[1])


def match(wanted: HttpMatch) -> http_route_pb2.HttpRouteMatch:
    return http_route_pb2.HttpRouteMatch(
        path=_path(wanted.path) if wanted.path else None,
        headers=[_header(one) for one in wanted.headers],
        query_params=[_query(one) for one in wanted.query],
        method=method(wanted.method) if wanted.method else None,
    )


def grpc_match(wanted: GrpcMatch) -> grpc_route_pb2.GrpcRouteMatch:
    return grpc_route_pb2.GrpcRouteMatch(
        rpc=grpc_route_pb2.GrpcRpcMatch(service=wanted.service, method=wanted.method) if wanted.rpc else None,
        headers=[_header(one) for one in wanted.headers],
    )


def _path(wanted: PathMatch) -> http_route_pb2.PathMatch:
    match wanted.how:
        case How.EXACT:
            return http_route_pb2.PathMatch(exact=wanted.value)
        case How.PREFIX:
            return http_route_pb2.PathMatch(prefix=wanted.value)
        case How.REGEX:
            return http_route_pb2.PathMatch(regex=wanted.value)


def _header(wanted: ValueMatch) -> http_route_pb2.HeaderMatch:
    if wanted.how is How.REGEX:
        return http_route_pb2.HeaderMatch(name=wanted.name, regex=wanted.value)
    return http_route_pb2.HeaderMatch(name=wanted.name, exact=wanted.value.encode())


def _query(wanted: ValueMatch) -> http_route_pb2.QueryParamMatch:
    if wanted.how is How.REGEX:
        return http_route_pb2.QueryParamMatch(name=wanted.name, regex=wanted.value)
    return http_route_pb2.QueryParamMatch(name=wanted.name, exact=wanted.value)


def method(name: str) -> http_types_pb2.HttpMethod:
    number = http_types_pb2.HttpMethod.DESCRIPTOR.enum_types_by_name["Registered"].values_by_name.get(name)
    if number is None:
        return http_types_pb2.HttpMethod(unregistered=name)
    return http_types_pb2.HttpMethod(registered=http_types_pb2.HttpMethod.Registered.Name(number.number))


def request_headers(modifier: HeaderModifier) -> http_route_pb2.RequestHeaderModifier:
    return http_route_pb2.RequestHeaderModifier(
        add=_headers(modifier.add), set=_headers(modifier.set), remove=modifier.remove
    )


def response_headers(modifier: HeaderModifier) -> http_route_pb2.ResponseHeaderModifier:
    return http_route_pb2.ResponseHeaderModifier(
        add=_headers(modifier.add), set=_headers(modifier.set), remove=modifier.remove
    )


def _headers(pairs: Iterable[tuple[str, str]]) -> http_types_pb2.Headers:
    header = http_types_pb2.Headers.Header
    return http_types_pb2.Headers(headers=[header(name=name, value=value.encode()) for name, value in pairs])


def path_modifier(full: str | None, prefix: str | None) -> http_route_pb2.PathModifier | None:
    if full is not None:
        return http_route_pb2.PathModifier(full=full)
    return None if prefix is None else http_route_pb2.PathModifier(prefix=prefix)


def redirect(to: Redirect) -> http_route_pb2.RequestRedirect:
    return http_route_pb2.RequestRedirect(
        scheme=_scheme(to.scheme) if to.scheme else None,
        host=to.host or "",
        path=path_modifier(to.full_path, to.prefix_path),
        port=to.port or 0,
        status=to.status or 0,
    )


def _scheme(name: str) -> http_types_pb2.Scheme:
    registered = http_types_pb2.Scheme.Registered
    return http_types_pb2.Scheme(registered=registered.HTTPS if name == "https" else registered.HTTP)

"""Reports and edges: protobuf ↔ values. The limits of a report are enforced here, before anything is kept."""

from __future__ import annotations

from gossamer.model.edge import (
    Author,
    AuthoredFailure,
    Direction,
    Edge,
    FailureTotal,
    IdentityState,
    Protocol,
    Report,
    Totals,
    TotalsKey,
)
from gossamer.pb.v1 import admin_pb2, reports_pb2

NOTES_LIMIT = 32
NOTE_LENGTH = 1_000
EDGES_LIMIT = 8_000
FAILURES_LIMIT = 64
BUCKETS_LIMIT = 64
NAME_LENGTH = 512
DIGEST_LENGTH = 32
# RFC 5280 §4.1.2.2.
SERIAL_LENGTH = 20

_PROTOCOLS = {
    reports_pb2.PROTOCOL_HTTP1: Protocol.HTTP1,
    reports_pb2.PROTOCOL_HTTP2: Protocol.HTTP2,
    reports_pb2.PROTOCOL_GRPC: Protocol.GRPC,
    reports_pb2.PROTOCOL_TCP: Protocol.TCP,
}
_DIRECTIONS = {
    reports_pb2.DIRECTION_INBOUND: Direction.INBOUND,
    reports_pb2.DIRECTION_OUTBOUND: Direction.OUTBOUND,
}
_AUTHORS = {
    reports_pb2.AUTHOR_APPLICATION: Author.APPLICATION,
    reports_pb2.AUTHOR_OUTBOUND: Author.OUTBOUND,
    reports_pb2.AUTHOR_INBOUND: Author.INBOUND,
    reports_pb2.AUTHOR_CONTROL_PLANE: Author.CONTROL_PLANE,
}


def decode_report(message: reports_pb2.ReportRequest) -> Report:
    """A sidecar's report. What a newer sidecar says in words we do not know is left out, not refused."""
    return Report(
        instance=message.instance,
        edges=tuple(
            (_key(edge, _DIRECTIONS[edge.direction], _PROTOCOLS[edge.protocol]), _totals(edge))
            for edge in message.edges[:EDGES_LIMIT]
            if edge.direction in _DIRECTIONS and edge.protocol in _PROTOCOLS
        ),
        identity=_identity(message.identity) if message.HasField("identity") else None,
        notes=tuple(note[:NOTE_LENGTH] for note in message.notes[:NOTES_LIMIT]),
    )


def encode_edge(edge: Edge) -> admin_pb2.MeshEdge:
    return admin_pb2.MeshEdge(
        client=edge.client,
        server=edge.server,
        protocol=edge.protocol,
        tls=edge.tls,
        client_id=edge.client_id,
        server_id=edge.server_id,
        rps=edge.rps,
        tcp_rps=edge.tcp_rps,
        success_rate=_or_negative(edge.success_rate),
        p50_ms=_or_negative(edge.p50_ms),
        p95_ms=_or_negative(edge.p95_ms),
        p99_ms=_or_negative(edge.p99_ms),
        app_p50_ms=_or_negative(edge.app_p50_ms),
        app_p99_ms=_or_negative(edge.app_p99_ms),
        requests=edge.requests,
        successes=edge.successes,
        denied=edge.denied,
        tcp_open=edge.tcp_open,
        read_bytes=edge.read_bytes,
        write_bytes=edge.write_bytes,
        authorization=edge.authorization,
        port=edge.port,
        failures=[_encode_failure(failure) for failure in edge.failures],
    )


def decode_edge(message: admin_pb2.MeshEdge) -> Edge:
    return Edge(
        client=message.client,
        server=message.server,
        protocol=Protocol(message.protocol),
        tls=message.tls,
        client_id=message.client_id,
        server_id=message.server_id,
        rps=message.rps,
        tcp_rps=message.tcp_rps,
        success_rate=_or_none(message.success_rate),
        p50_ms=_or_none(message.p50_ms),
        p95_ms=_or_none(message.p95_ms),
        p99_ms=_or_none(message.p99_ms),
        app_p50_ms=_or_none(message.app_p50_ms),
        app_p99_ms=_or_none(message.app_p99_ms),
        requests=message.requests,
        successes=message.successes,
        denied=message.denied,
        tcp_open=message.tcp_open,
        read_bytes=message.read_bytes,
        write_bytes=message.write_bytes,
        authorization=message.authorization,
        port=message.port,
        failures=tuple(
            AuthoredFailure(Author(one.author), one.reason, one.count, float(one.last), one.rate)
            for one in message.failures
        ),
    )


def _encode_failure(failure: AuthoredFailure) -> admin_pb2.AuthoredFailure:
    return admin_pb2.AuthoredFailure(
        author=failure.author, reason=failure.reason, count=failure.count, last=int(failure.last), rate=failure.rate
    )


def _key(edge: reports_pb2.Edge, direction: Direction, protocol: Protocol) -> TotalsKey:
    return TotalsKey(
        direction=direction,
        protocol=protocol,
        tls=edge.tls,
        peer=edge.peer[:NAME_LENGTH],
        dst_namespace=edge.dst_namespace[:NAME_LENGTH],
        dst_service=edge.dst_service[:NAME_LENGTH],
        port=edge.port,
        server=edge.server[:NAME_LENGTH],
        authorization=edge.authorization[:NAME_LENGTH],
    )


def _totals(edge: reports_pb2.Edge) -> Totals:
    return Totals(
        requests=edge.requests,
        successes=edge.successes,
        denied=edge.denied,
        tcp_open=edge.tcp_open,
        tcp_close=edge.tcp_close,
        read_bytes=edge.read_bytes,
        write_bytes=edge.write_bytes,
        failures=tuple(
            FailureTotal(_AUTHORS[one.author], one.reason[:NAME_LENGTH], one.count, float(one.last))
            for one in edge.failures[:FAILURES_LIMIT]
            if one.author in _AUTHORS
        ),
        latency=tuple(edge.latency[:BUCKETS_LIMIT]),
        bounds_ms=tuple(edge.latency_bounds_ms[:BUCKETS_LIMIT]),
    )


def _identity(message: reports_pb2.IdentityState) -> IdentityState:
    return IdentityState(
        identity=message.identity[:NAME_LENGTH],
        bundle_generation=message.bundle_generation,
        not_before=float(message.not_before),
        not_after=float(message.not_after),
        refreshes=message.refreshes,
        refresh_failures=message.refresh_failures,
        anchor_sha256=message.anchor_sha256[:DIGEST_LENGTH],
        serial=message.serial[:SERIAL_LENGTH],
    )


def _or_negative(value: float | None) -> float:
    return -1.0 if value is None else value


def _or_none(value: float) -> float | None:
    return None if value < 0 else value

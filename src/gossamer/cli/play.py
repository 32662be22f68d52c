"""The demo as values: who is on stage, what should be seen, and whether it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossamer.cli.edges import judged

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import MeshEdge

NAMESPACE = "demo"


@dataclass(frozen=True, slots=True)
class Actor:
    """One workload: `program` is a file of the package's demo/programs. `waits`: it begins when told."""

    service: str
    program: str
    arguments: tuple[str, ...]
    replica: str = ""
    serves: bool = True
    waits: bool = False


ACTORS = (
    Actor("cache", "cache.py", ("6379",)),
    Actor("catalog", "catalog.py", ("50051",), replica="catalog-fast"),
    Actor("catalog", "catalog.py", ("50051", "20"), replica="catalog-slow"),
    Actor("front", "front.py", ("8080", "catalog:50051", "cache:6379")),
    Actor("load", "load.py", ("front:8080", "40", "4"), serves=False, waits=True),
    Actor("intruder", "intruder.py", ("front:8080",), serves=False, waits=True),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """An edge that must be seen. `refused`: all of it must be denied; else none of it, and all must succeed."""

    client: str
    server: str
    protocol: str
    refused: bool = False


EXPECTED = (
    Expected("load", "front", "http/1"),
    Expected("front", "catalog", "grpc"),
    Expected("front", "cache", "tcp"),
    Expected("intruder", "front", "http/1", refused=True),
)


def find(edges: Sequence[MeshEdge], expected: Expected) -> MeshEdge | None:
    ends = (f"{NAMESPACE}/{expected.client}", f"{NAMESPACE}/{expected.server}")
    return next((edge for edge in edges if (edge.client, edge.server) == ends), None)


def problems(edges: Sequence[MeshEdge], identity: str) -> Iterator[str]:
    """What is not as it should be, a line each. `identity` is what follows the account: `.demo.serviceaccount…`."""
    for expected in EXPECTED:
        edge = find(edges, expected)
        name = f"{expected.client} → {expected.server}"
        if edge is None:
            yield f"{name}: not seen"
            continue
        for what, found, wanted in (
            ("protocol", edge.protocol, expected.protocol),
            ("mutual TLS", edge.tls, True),
            ("client's identity", edge.client_id, expected.client + identity),
            ("server's identity", edge.server_id, expected.server + identity),
        ):
            if found != wanted:
                yield f"{name}: {what} is {found!r}, should be {wanted!r}"
        yield from _outcome(name, edge, expected)
    for edge in edges:
        if not edge.tls and edge.requests:
            yield f"{edge.client} → {edge.server}: {edge.requests} requests without mutual TLS"


def _outcome(name: str, edge: MeshEdge, expected: Expected) -> Iterator[str]:
    if expected.refused:
        if not edge.denied:
            yield f"{name}: nothing was denied"
        if edge.successes:
            yield f"{name}: {edge.successes} requests got through"
        return
    if not edge.successes:
        yield f"{name}: no request succeeded"
    if edge.denied:
        yield f"{name}: {edge.denied} requests were denied"
    for failure in edge.failures:
        yield f"{name}: {failure.count} failed, {failure.author}: {failure.reason}"


def summary(edges: Sequence[MeshEdge], startup_seconds: float | None) -> dict[str, Any]:
    """The object of `demo --once -o json`."""
    meant = [edge for expected in EXPECTED if not expected.refused and (edge := find(edges, expected)) is not None]
    successes = sum(edge.successes for edge in meant)
    answered = successes + sum(failure.count for edge in meant for failure in edge.failures)
    return {
        "requests": sum(edge.requests for edge in meant),
        "success_rate": round(successes / answered, 6) if answered else 0.0,
        "denied": sum(edge.denied for edge in edges),
        "startup_seconds": None if startup_seconds is None else round(startup_seconds, 3),
        "edges": [_edge(edge) for edge in edges],
    }


def _edge(edge: MeshEdge) -> dict[str, Any]:
    answered = edge.successes + sum(failure.count for failure in edge.failures)
    since_start = edge.successes / answered if answered else (0.0 if edge.denied else None)
    return {
        "client": edge.client,
        "server": edge.server,
        "protocol": edge.protocol,
        "tls": edge.tls,
        "client_id": edge.client_id,
        "server_id": edge.server_id,
        "rps": round(edge.rps or edge.tcp_rps, 3),
        "success_rate": None if since_start is None else round(since_start, 6),
        "denied": edge.denied,
        "p50_ms": judged(edge.p50_ms),
        "p99_ms": judged(edge.p99_ms),
        "p95_ms": judged(edge.p95_ms),
        "requests": edge.requests,
        "failures": [{"author": one.author, "reason": one.reason, "count": one.count} for one in edge.failures],
    }

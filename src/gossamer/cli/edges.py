"""`gossamer edges`: who talks to whom, and how securely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import NOTHING, Column, emit, format_option, milliseconds, percent, rate, short_identity
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import MeshEdge


# How long the control plane remembers rates.
LONGEST_WINDOW = 60


@click.command("edges", cls=Command, short_help="Who talks to whom, and how securely.")
@namespace_option("Only edges from or to this namespace.")
@click.option("-w", "--watch", is_flag=True, help="Follow, in a table that is redrawn every second.")
@click.option("-t", "--time-window", "window", metavar="TIME", help="How far to look back, 60s at most.")
@format_option
@click.pass_obj
def command(settings: Settings, namespace: str | None, watch: bool, window: str | None, output: str) -> None:
    """Who talks to whom, and how securely: one line per client, server and protocol of the last ten minutes."""
    admin = settings.session().admin()
    if watch and output in ("table", "wide"):
        from rich.console import Console

        from gossamer.cli import live

        console = Console()
        with live.follow(console) as display:
            for response in admin.watch_edges(1000, looked_back(window, watch)):
                shown = within(response.edges, namespace)
                display.update(live.edges_view(shown, console.width, namespace or "default"), refresh=True)
        return
    found = within(admin.edges(looked_back(window, watch)).edges, namespace)
    emit(output, [edge_json(edge) for edge in found], COLUMNS, found, "no traffic seen in the last ten minutes")


def looked_back(window: str | None, watch: bool) -> int:
    """Seconds: a minute, or ten seconds for those who watch, unless said otherwise."""
    from gossamer.cli.up import seconds

    asked = seconds(window) if window else 10 if watch else LONGEST_WINDOW
    if asked > LONGEST_WINDOW:
        raise click.UsageError(
            f"--time-window {window}: the control plane remembers rates for {LONGEST_WINDOW}s; ask for less"
        )
    return asked


def within(edges: Any, namespace: str | None) -> list[MeshEdge]:
    if not namespace:
        return list(edges)
    return [edge for edge in edges if any(end.startswith(f"{namespace}/") for end in (edge.client, edge.server))]


def edge_json(edge: MeshEdge) -> dict[str, Any]:
    """Linkerd's fields first, ours after. Numbers without a meaning are null."""
    src_namespace, src = split(edge.client)
    dst_namespace, dst = split(edge.server)
    return {
        "src": src,
        "src_namespace": src_namespace,
        "dst": dst,
        "dst_namespace": dst_namespace,
        "client_id": edge.client_id,
        "server_id": edge.server_id,
        "no_tls_reason": "" if edge.tls else "no identity: one end is not in the mesh",
        "client": edge.client,
        "server": edge.server,
        "protocol": edge.protocol,
        "port": edge.port,
        "tls": edge.tls,
        "rps": round(edge.rps, 3),
        "tcp_connections_per_second": round(edge.tcp_rps, 3),
        "success_rate": judged(edge.success_rate),
        "p50_ms": judged(edge.p50_ms),
        "p95_ms": judged(edge.p95_ms),
        "p99_ms": judged(edge.p99_ms),
        "app_p50_ms": judged(edge.app_p50_ms),
        "app_p99_ms": judged(edge.app_p99_ms),
        "requests": edge.requests,
        "successes": edge.successes,
        "denied": edge.denied,
        "tcp_open_connections": edge.tcp_open,
        "read_bytes": edge.read_bytes,
        "write_bytes": edge.write_bytes,
        "authorization": edge.authorization,
        "failures": [
            {
                "author": failure.author,
                "reason": failure.reason,
                "count": failure.count,
                "last": failure.last,
                "rate": round(failure.rate, 3),
            }
            for failure in edge.failures
        ],
    }


def split(name: str) -> tuple[str, str]:
    """`namespace/service` → (namespace, service); an address has no namespace."""
    namespace, found, service = name.partition("/")
    return (namespace, service) if found else ("", name)


def judged(value: float) -> float | None:
    """The wire's negative numbers are "nothing to judge"."""
    return None if value < 0 else round(value, 4)


def failures(edge: MeshEdge) -> str:
    found = ", ".join(f"{failure.author}: {failure.reason} {failure.count}" for failure in edge.failures)
    return found or NOTHING


COLUMNS: list[Column[MeshEdge]] = [
    Column("SRC", lambda edge: split(edge.client)[1]),
    Column("DST", lambda edge: split(edge.server)[1]),
    Column("SRC_NS", lambda edge: split(edge.client)[0] or NOTHING),
    Column("DST_NS", lambda edge: split(edge.server)[0] or NOTHING),
    Column("PROTOCOL", lambda edge: edge.protocol),
    Column("SECURED", lambda edge: "yes" if edge.tls else "no"),
    Column("CLIENT_ID", lambda edge: short_identity(edge.client_id)),
    Column("SERVER_ID", lambda edge: short_identity(edge.server_id)),
    Column("RPS", lambda edge: rate(edge.rps or edge.tcp_rps), right=True),
    Column("SUCCESS", lambda edge: percent(judged(edge.success_rate)), right=True),
    Column("DENIED", lambda edge: str(edge.denied), right=True),
    Column("P50", lambda edge: milliseconds(judged(edge.p50_ms)), wide=True, right=True),
    Column("P95", lambda edge: milliseconds(judged(edge.p95_ms)), wide=True, right=True),
    Column("P99", lambda edge: milliseconds(judged(edge.p99_ms)), wide=True, right=True),
    Column("AUTHORIZATION", lambda edge: edge.authorization or NOTHING, wide=True),
    Column("FAILURES", failures, wide=True),
]

"""`gossamer stat`: success rate, request rate and latency, by service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.edges import failures, judged, looked_back, split
from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import NOTHING, Column, emit, format_option, milliseconds, percent, rate
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from rich.table import Table

    from gossamer.cli.admin import Admin
    from gossamer.pb.v1.admin_pb2 import EdgesResponse, MeshEdge, Workload


# Columns that a live table gives up first.
NARROW = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A service's traffic; `meshed` is how many of its workloads have their sidecar."""

    namespace: str
    name: str
    meshed: str
    edge: MeshEdge


@click.command("stat", cls=Command, short_help="Success rate, request rate and latency.")
@click.argument("service", required=False)
@namespace_option("Only services of this namespace.")
@click.option("--to", "to", metavar="SERVICE", help="What SERVICE is asked, one line per client.")
@click.option("--from", "source", metavar="SERVICE", help="What SERVICE asks, one line per server.")
@click.option("--outbound", is_flag=True, help="Services as clients: what each of them asks of all others.")
@click.option("-w", "--watch", is_flag=True, help="Follow, in a table that is redrawn every second.")
@click.option("-t", "--time-window", "window", metavar="TIME", help="How far to look back, 60s at most.")
@format_option
@click.pass_obj
def command(
    settings: Settings,
    service: str | None,
    namespace: str | None,
    to: str | None,
    source: str | None,
    outbound: bool,
    watch: bool,
    window: str | None,
    output: str,
) -> None:
    """Success rate, request rate and latency of services, over the last seconds, with failures by author.

    \b
      gossamer stat
      gossamer stat web -w
      gossamer stat --to web        # by client
    """
    if to and source:
        raise click.UsageError("give one of --to and --from")
    admin = settings.session().admin()
    view = View(service, namespace, to, source, outbound)
    if watch and output in ("table", "wide"):
        _follow(admin, view, looked_back(window, watch), output == "wide")
        return
    workloads = list(admin.status().workloads)
    rows = view.rows(admin.edges(looked_back(window, watch), view.group), workloads)
    columns = COLUMNS if view.group else [*COLUMNS[:1], OTHER, *COLUMNS[1:]]
    emit(output, [row_json(row) for row in rows], columns, rows, "no traffic seen in the last ten minutes")


@dataclass(frozen=True, slots=True)
class View:
    """What was asked for."""

    service: str | None
    namespace: str | None
    to: str | None
    source: str | None
    outbound: bool

    @property
    def group(self) -> str:
        if self.to or self.source:
            return ""
        return "client" if self.outbound else "server"

    def rows(self, response: EdgesResponse, workloads: Sequence[Workload]) -> list[Row]:
        found = []
        for edge in response.edges:
            subject = edge.client if self.outbound or self.to else edge.server
            namespace, name = split(subject)
            if self.wanted(edge, namespace, name):
                found.append(Row(namespace, name, meshed(workloads, namespace, name), edge))
        return found

    def wanted(self, edge: MeshEdge, namespace: str, name: str) -> bool:
        if self.namespace and namespace != self.namespace:
            return False
        if self.to and self.to not in (edge.server, split(edge.server)[1]):
            return False
        if self.source and self.source not in (edge.client, split(edge.client)[1]):
            return False
        return not self.service or self.service in (name, f"{namespace}/{name}")


def meshed(workloads: Sequence[Workload], namespace: str, name: str) -> str:
    """`2/2`: workloads of a service whose sidecar is connected and all of them; empty for what is not in the mesh."""
    mine = [one for one in workloads if one.namespace == namespace and name in (one.service, one.name)]
    return f"{sum(one.connected for one in mine)}/{len(mine)}" if mine else ""


def row_json(row: Row) -> dict[str, Any]:
    """Linkerd's fields first, ours after."""
    edge = row.edge
    return {
        "namespace": row.namespace,
        "kind": "service",
        "name": row.name,
        "meshed": row.meshed,
        "success": judged(edge.success_rate),
        "rps": round(edge.rps, 3),
        "latency_ms_p50": judged(edge.p50_ms),
        "latency_ms_p95": judged(edge.p95_ms),
        "latency_ms_p99": judged(edge.p99_ms),
        "tcp_open_connections": edge.tcp_open,
        "client": edge.client,
        "server": edge.server,
        "requests": edge.requests,
        "denied": edge.denied,
        "app_latency_ms_p50": judged(edge.app_p50_ms),
        "app_latency_ms_p99": judged(edge.app_p99_ms),
        "failures": [
            {"author": failure.author, "reason": failure.reason, "count": failure.count, "last": failure.last}
            for failure in edge.failures
        ],
    }


def _follow(admin: Admin, view: View, window: int, wide: bool) -> None:
    from rich.console import Console

    from gossamer.cli import live

    console = Console()
    with live.follow(console) as display:
        for response in admin.watch_edges(1000, window, view.group):
            rows = view.rows(response, list(admin.status().workloads))
            display.update(_live_table(rows, not view.group, wide, console.width), refresh=True)


def _live_table(rows: Sequence[Row], by_edge: bool, wide: bool, width: int) -> Table:
    from rich import box
    from rich.table import Table

    columns = [*COLUMNS[:1], OTHER, *COLUMNS[1:]] if by_edge else COLUMNS
    shown = [column for column in columns if wide or not column.wide]
    if width < NARROW:
        shown = [column for column in shown if column.title not in ("NAMESPACE", "TCP_CONN")]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    for column in shown:
        # What a terminal is too narrow for is folded in the one column that holds sentences.
        title, words = column.title.removeprefix("LATENCY_"), column.title == "FAILURES"
        table.add_column(title, justify="right" if column.right else "left", no_wrap=not words, overflow="fold")
    for row in rows:
        table.add_row(*(column.text(row) for column in shown))
    return table


OTHER: Column[Row] = Column("EDGE", lambda row: f"{row.edge.client} → {row.edge.server}")
COLUMNS: list[Column[Row]] = [
    Column("NAME", lambda row: row.name),
    Column("NAMESPACE", lambda row: row.namespace or NOTHING),
    Column("MESHED", lambda row: row.meshed or NOTHING),
    Column("SUCCESS", lambda row: percent(judged(row.edge.success_rate)), right=True),
    Column("RPS", lambda row: rate(row.edge.rps), right=True),
    Column("LATENCY_P50", lambda row: milliseconds(judged(row.edge.p50_ms)), right=True),
    Column("LATENCY_P95", lambda row: milliseconds(judged(row.edge.p95_ms)), right=True),
    Column("LATENCY_P99", lambda row: milliseconds(judged(row.edge.p99_ms)), right=True),
    Column("TCP_CONN", lambda row: str(row.edge.tcp_open), right=True),
    Column("DENIED", lambda row: str(row.edge.denied), right=True),
    Column("APP_P99", lambda row: milliseconds(judged(row.edge.app_p99_ms)), wide=True, right=True),
    Column("FAILURES", lambda row: failures(row.edge), wide=True),
]

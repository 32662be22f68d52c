"""Tables that follow the mesh. The only importer of `rich`; imported by commands when they watch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gossamer.cli.output import NOTHING, milliseconds, percent, rate, short_identity
from gossamer.pb.v1 import admin_pb2 as pb

FAILURES_SHOWN = 2


def terminal() -> bool:
    return sys.stdout.isatty()


def follow(console: Console) -> Live:
    """A display that is redrawn in place and left as it was when it ends."""
    return Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop")


def edges_table(edges: Iterable[pb.MeshEdge], title: str = "") -> Table:
    """Edge, protocol, both identities, mTLS, requests/s, success, latencies, failures by author."""
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, expand=False)
    for heading in ("CLIENT", "SERVER", "PROTOCOL", "mTLS", "CLIENT ID", "SERVER ID"):
        table.add_column(heading, no_wrap=True)
    for heading in ("RPS", "SUCCESS", "P50", "P95", "P99"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("FAILURES")
    for edge in edges:
        table.add_row(*edge_cells(edge))
    return table


def edge_cells(edge: pb.MeshEdge) -> Sequence[Text | str]:
    refused = edge.denied > 0 and edge.successes == 0
    return (
        short_name(edge.client),
        short_name(edge.server),
        edge.protocol,
        Text("yes", "green") if edge.tls else Text("no", "bold red"),
        short_identity(edge.client_id),
        short_identity(edge.server_id),
        rate(edge.rps or edge.tcp_rps),
        Text("refused", "yellow") if refused else success_text(edge.success_rate),
        _latency(edge.p50_ms),
        _latency(edge.p95_ms),
        _latency(edge.p99_ms),
        failures_text(edge),
    )


def success_text(value: float) -> Text:
    if value < 0:
        return Text(NOTHING)
    return Text(percent(value), "green" if value >= 0.999 else "yellow" if value >= 0.95 else "bold red")


def failures_text(edge: pb.MeshEdge) -> Text:
    """`mesh inbound: unauthorized 12`; the commonest first."""
    worst = sorted(edge.failures, key=lambda failure: -failure.count)
    words = [f"{failure.author}: {failure.reason} {failure.count}" for failure in worst[:FAILURES_SHOWN]]
    if len(worst) > FAILURES_SHOWN:
        words.append("…")
    if edge.denied and not words:
        words.append(f"policy: denied {edge.denied}")
    return Text("\n".join(words))


def short_name(name: str) -> str:
    """`web` for `default/web`; other namespaces stay."""
    return name.removeprefix("default/") or NOTHING


def _latency(value: float) -> str:
    return milliseconds(None if value < 0 else value)

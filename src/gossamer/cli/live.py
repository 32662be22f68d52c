"""Tables that follow the mesh. The only importer of `rich`; imported by commands when they watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gossamer.cli.output import NOTHING, milliseconds, percent, rate, short_identity
from gossamer.pb.v1 import admin_pb2 as pb

FAILURES_SHOWN = 2
# Narrower terminals get the failures below the table.
WIDE = 128


def follow(console: Console) -> Live:
    """A display that is redrawn in place and left as it was when it ends."""
    return Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop")


def edges_view(edges: Sequence[pb.MeshEdge], width: int, namespace: str = "default", title: str = "") -> RenderableType:
    """Edge, protocol, both identities, mTLS, requests/s, success, latencies, failures by author.

    Names of `namespace` are shown without it; each end's proven identity stands under its name.
    """
    wide = width >= WIDE
    padding = (0, 3 if wide else 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", padding=padding, show_edge=False)
    table.add_column(Text("CLIENT\n") + Text("its identity", "dim"), no_wrap=True)
    table.add_column(Text("SERVER\n") + Text("its identity", "dim"), no_wrap=True)
    for heading in ("PROTO", "mTLS"):
        table.add_column(heading, no_wrap=True)
    for heading in ("RPS", "SUCCESS", "P50", "P95", "P99"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("FAILURES", overflow="fold")
    for edge in edges:
        table.add_row(*_cells(edge, namespace), *([failures_text(edge)] if wide else []))
    below = [] if wide else list(_failure_lines(edges, namespace))
    return Group(table, *below)


def _cells(edge: pb.MeshEdge, namespace: str) -> tuple[RenderableType, ...]:
    return (
        _end(edge.client, edge.client_id, namespace),
        _end(edge.server, edge.server_id, namespace),
        edge.protocol,
        Text("yes", "green") if edge.tls else Text("no", "bold red"),
        rate(edge.rps or edge.tcp_rps).removesuffix("/s"),
        success_text(edge),
        *(milliseconds(None if value < 0 else value) for value in (edge.p50_ms, edge.p95_ms, edge.p99_ms)),
    )


def _end(name: str, identity: str, namespace: str) -> Text:
    return Text(name.removeprefix(f"{namespace}/") or NOTHING) + Text(f"\n{short_identity(identity)}", "dim")


def success_text(edge: pb.MeshEdge) -> Text:
    if edge.denied and not edge.successes:
        return Text("refused", "yellow")
    if edge.success_rate < 0:
        return Text(NOTHING)
    good = edge.success_rate
    return Text(
        percent(good).replace(".00%", "%"), "green" if good >= 0.999 else "yellow" if good >= 0.95 else "bold red"
    )


def failures_text(edge: pb.MeshEdge) -> Text:
    """`mesh inbound: unauthorized 12`, a line each; the commonest first."""
    worst = sorted(edge.failures, key=lambda failure: -failure.count)
    words = [f"{failure.author}: {failure.reason} {failure.count}" for failure in worst[:FAILURES_SHOWN]]
    if len(worst) > FAILURES_SHOWN:
        words.append(f"and {len(worst) - FAILURES_SHOWN} other kinds")
    if edge.denied and not words:
        words.append(f"mesh inbound: denied {edge.denied}")
    return Text("\n".join(words))


def _failure_lines(edges: Sequence[pb.MeshEdge], namespace: str) -> Iterator[Text]:
    for edge in edges:
        told = failures_text(edge).plain.replace("\n", ", ")
        if told:
            client, server = (end.removeprefix(f"{namespace}/") for end in (edge.client, edge.server))
            yield Text(f"{client} → {server}  ", "bold") + Text(told)

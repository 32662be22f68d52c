"""The live table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gossamer.cli.live import edges_view
from gossamer.pb.v1 import admin_pb2 as pb

REFUSED = pb.MeshEdge(
    client="demo/eve", server="demo/web", protocol="http/1", tls=True, client_id="eve.demo", denied=3,
    success_rate=0.0, p50_ms=-1, p95_ms=-1, p99_ms=-1,
    failures=[pb.AuthoredFailure(author="mesh inbound", reason="unauthorized", count=3)],
)  # fmt: skip
FINE = pb.MeshEdge(
    client="demo/load", server="demo/web", protocol="grpc", tls=True, client_id="load.demo", server_id="web.demo",
    rps=40.0, success_rate=1.0, successes=9, p50_ms=1.2, p95_ms=14.0, p99_ms=1300.0,
)  # fmt: skip


def shown(width: int, *edges: pb.MeshEdge) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(edges_view(list(edges), width, "demo"))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_of_an_edge_is_cut_off(width: int) -> None:
    text = shown(width, FINE, REFUSED)

    for word in ("load", "load.demo", "web.demo", "grpc", "40.0", "100%", "1.2ms", "14ms", "1.3s", "refused"):
        assert word in text
    assert "unauthorized 3" in text
    assert "…" not in text


def test_plaintext_is_said() -> None:
    assert " no " in shown(120, pb.MeshEdge(client="a", server="b", protocol="tcp", success_rate=-1))

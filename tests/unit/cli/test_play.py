"""When the demo is content, and what it prints."""

from __future__ import annotations

from gossamer.cli import play
from gossamer.pb.v1 import admin_pb2 as pb

REST = ".demo.serviceaccount.identity.gossamer.cluster.local"


def edges() -> list[pb.MeshEdge]:
    def edge(client: str, server: str, protocol: str, **fields: object) -> pb.MeshEdge:
        told = {"tls": True, "client_id": client + REST, "server_id": server + REST, "p50_ms": 1.0, "p99_ms": 2.0}
        made = pb.MeshEdge(client=f"demo/{client}", server=f"demo/{server}", protocol=protocol)
        for name, value in {**told, **fields}.items():
            setattr(made, name, value)
        return made

    refused = edge("intruder", "front", "http/1", requests=9, denied=9, p50_ms=-1.0, p99_ms=-1.0)
    refused.failures.add(author="mesh inbound", reason="unauthorized", count=9)
    return [
        edge("front", "cache", "tcp", requests=5, successes=5, tcp_rps=0.5, p50_ms=-1.0, p99_ms=-1.0),
        edge("front", "catalog", "grpc", requests=50, successes=50, rps=5.0),
        refused,
        edge("load", "front", "http/1", requests=50, successes=50, rps=5.0),
    ]


def test_a_demo_in_which_all_is_well_has_no_problems() -> None:
    assert list(play.problems(edges(), REST)) == []


def test_the_summary_is_the_object_of_the_contract() -> None:
    found = play.summary(edges(), 2.5)

    assert {key: found[key] for key in ("requests", "success_rate", "denied", "startup_seconds")} == {
        "requests": 105,
        "success_rate": 1.0,
        "denied": 9,
        "startup_seconds": 2.5,
    }
    assert found["edges"][2]["denied"] == 9
    assert found["edges"][2]["tls"] is True
    assert found["edges"][0]["p50_ms"] is None
    assert found["edges"][3]["rps"] == 5.0


def test_whatever_is_not_as_it_should_be_is_said() -> None:
    broken = edges()
    broken[0].tls = False
    broken[1].failures.add(author="application", reason="status-500", count=2)
    broken[2].denied = 0
    broken[3].client_id = "somebody"

    found = list(play.problems(broken, REST))

    assert found == [
        f"load → front: client's identity is 'somebody', should be 'load{REST}'",
        "front → catalog: 2 failed, application: status-500",
        "front → cache: mutual TLS is False, should be True",
        "intruder → front: nothing was denied",
        "demo/front → demo/cache: 5 requests without mutual TLS",
    ]


def test_an_edge_that_was_not_seen_is_said() -> None:
    assert next(play.problems([], REST)) == "load → front: not seen"
    assert play.summary([], None)["success_rate"] == 0.0

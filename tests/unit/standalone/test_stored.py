from __future__ import annotations

from typing import Any

import pytest

from gossamer.model.authorization import SERVER
from gossamer.model.names import local
from gossamer.model.service import SERVICE
from gossamer.ports import Write
from gossamer.resources.decode import decode
from gossamer.resources.problem import Where
from gossamer.standalone.addresses import Taken
from gossamer.standalone.stored import Declared, Stored
from tests.unit.standalone.parts import Reports, Seen, World


def server(name: str, port: int = 80) -> dict[str, Any]:
    return {
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "Server",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "port": port},
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def declared(*documents: dict[str, Any]) -> list[Declared]:
    return [Declared(decode(one, Where("test")), one) for one in documents]


class Shelf:
    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.mesh = Seen()
        self.reports = Reports()
        self.stored = Stored(self.world.store, decode, self.world.virtual, self.reports)
        self.stored.start(self.mesh.take)

    def apply(self, *documents: dict[str, Any], now: float = 1000.0, dry_run: bool = False) -> list[str]:
        return [one.action for one in self.stored.apply(declared(*documents), now, dry_run=dry_run)]


def test_applying_says_what_it_did() -> None:
    shelf = Shelf()
    assert shelf.apply(server("a"), server("b")) == ["created", "created"]
    assert shelf.apply(server("a"), server("b", 81), now=2000.0) == ["unchanged", "configured"]
    assert {one.key.name: one.port for one in shelf.mesh.of(SERVER)} == {"a": 80, "b": 81}


def test_a_dry_run_changes_nothing() -> None:
    shelf = Shelf()
    assert shelf.apply(server("a"), dry_run=True) == ["created"]
    assert shelf.mesh.held == {}
    assert shelf.world.store.scan("resources/") == []


def test_what_was_applied_is_there_after_a_restart() -> None:
    shelf = Shelf()
    shelf.apply(server("a"), service("web"))
    again = Shelf(shelf.world)
    assert again.mesh.synced
    assert again.mesh.held == shelf.mesh.held


def test_an_object_keeps_the_time_of_its_creation() -> None:
    shelf = Shelf()
    shelf.apply(server("a"), now=1000.0)
    shelf.apply(server("a", 81), now=5000.0)
    document = shelf.stored.document(SERVER, local("default", "a"))
    assert document is not None
    assert document["metadata"]["creationTimestamp"] == "1970-01-01T00:16:40Z"
    assert shelf.mesh.of(SERVER)[0].created == 1000


def test_deleting_leaves_out_what_is_not_there() -> None:
    shelf = Shelf()
    shelf.apply(server("a"))
    places = [(SERVER, local("default", "a")), (SERVER, local("default", "none"))]
    assert len(shelf.stored.delete(places, dry_run=True)) == 1
    assert [one.key.name for one in shelf.stored.delete(places)] == ["a"]
    assert shelf.mesh.held == {}


def test_a_service_has_its_address_and_nobody_elses() -> None:
    shelf = Shelf()
    shelf.apply(service("web"))
    address = shelf.mesh.of(SERVICE)[0].cluster_ips[0]
    with pytest.raises(Taken):
        shelf.apply(server("with"), service("other", clusterIP=str(address)))
    assert [one.key.name for one in shelf.mesh.of(SERVICE)] == ["web"]
    assert shelf.mesh.of(SERVER) == []


def test_a_document_that_is_not_understood_any_more_is_reported_and_left_alone() -> None:
    shelf = Shelf()
    shelf.apply(server("a"))
    shelf.world.store.commit([Write("resources/servers.policy.linkerd.io/default/b", b'{"kind": "Server"}')])
    again = Shelf(shelf.world)
    assert [one.key.name for one in again.mesh.of(SERVER)] == ["a"]
    assert len(again.reports.problems) == 1
    assert len(shelf.world.store.scan("resources/")) == 2

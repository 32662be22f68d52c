"""State: what sources say, who is right, and when listeners hear of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gossamer.model.change import Put, Remove, Replace, Synced
from gossamer.model.mesh import Bundle, Mesh
from gossamer.model.names import Origin, local
from gossamer.model.service import SERVICE
from gossamer.model.workload import WORKLOAD
from gossamer.state import State
from gossamer.testing.build import service, workload


class Loop:
    """Runs what was scheduled when a test says so: one turn."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()


def state_of(*sources: str) -> tuple[State, Loop, list[str]]:
    loop, heard = Loop(), list[str]()
    state = State(sources, Mesh(), lambda call: loop.waiting.append(call))
    state.subscribe(lambda: heard.append("woken"))
    return state, loop, heard


def test_nobody_hears_anything_before_every_source_has_synced() -> None:
    state, loop, heard = state_of("store", "run")
    state.apply("store", Replace((service("web"),)))
    loop.turn()
    assert (state.synced, heard) == (False, [])

    state.apply("run", Synced())
    loop.turn()
    assert (state.synced, heard) == (True, ["woken"])


def test_changes_of_one_turn_wake_once() -> None:
    state, loop, heard = state_of("store")
    state.apply("store", Synced())
    for number in range(10):
        state.apply("store", Put(service(f"web-{number}")))
    loop.turn()

    assert heard == ["woken"]
    assert len(state.snapshot.within(SERVICE, "default")) == 10


def test_an_equal_resource_is_no_change() -> None:
    state, _, _ = state_of("store")
    state.apply("store", Replace((service("web"),)))
    before = state.snapshot
    state.apply("store", Put(service("web")))
    state.apply("store", Remove(SERVICE, local("default", "nobody")))

    assert state.snapshot is before


def test_of_two_sources_the_first_is_right_and_the_other_is_kept() -> None:
    """A declared service wins over the one that `run` made, and that one is back when it goes (seams 23)."""
    state, _, _ = state_of("store", "run")
    made, declared = service("web", port=1), service("web", port=2)
    state.apply("run", Put(replace(made, origin=Origin("run"))))
    state.apply("store", Put(declared))
    assert state.snapshot.get(SERVICE, made.key) == declared
    assert state.holder(SERVICE, made.key) == Origin("store")
    assert state.holder(SERVICE, made.key, other_than="store") == Origin("run")

    state.apply("store", Remove(SERVICE, made.key))
    assert state.snapshot.get(SERVICE, made.key) == made
    assert state.holder(SERVICE, local("default", "api")) is None


def test_addresses_lead_to_services_before_workloads() -> None:
    state, _, _ = state_of("run")
    web = workload("web-0", address="198.19.0.1")
    state.apply("run", Put(web))
    assert state.snapshot.at(web.address) == web

    state.apply("run", Put(service("web", address="198.19.0.1")))
    assert state.snapshot.at(web.address) == service("web", address="198.19.0.1")

    state.apply("run", Remove(SERVICE, local("default", "web")))
    state.apply("run", Remove(WORKLOAD, web.key))
    assert state.snapshot.at(web.address) is None


def test_what_a_change_does_not_touch_stays_the_identical_object() -> None:
    state, _, _ = state_of("run")
    state.apply("run", Replace((workload("a-0", namespace="a"), workload("b-0", namespace="b"), service("web"))))
    before = state.snapshot
    state.apply("run", Put(workload("a-1", namespace="a")))
    after = state.snapshot

    assert after.within(WORKLOAD, "b") is before.within(WORKLOAD, "b")
    assert after.all(SERVICE) is before.all(SERVICE)
    assert after.within(WORKLOAD, "a") is not before.within(WORKLOAD, "a")
    assert list(before.within(WORKLOAD, "a")) == ["a-0"], "a snapshot that was handed out never changes"


def test_another_bundle_is_another_snapshot() -> None:
    state, _, _ = state_of("run")
    state.apply("run", Put(workload("a-0")))
    state.set_mesh(replace(Mesh(), bundle=Bundle({}, 2)))

    assert state.snapshot.mesh.bundle.generation == 2
    assert list(state.snapshot.within(WORKLOAD, "default")) == ["a-0"]


def test_who_unsubscribed_is_not_called() -> None:
    calls: list[Callable[[], None]] = []
    heard: list[int] = []
    state = State(("run",), Mesh(), calls.append)
    end = state.subscribe(lambda: heard.append(1))
    state.apply("run", Synced())
    end()
    end()
    for call in calls:
        call()

    assert heard == []

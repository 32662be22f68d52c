"""A control plane in memory: a real State, real decisions, and dictionaries where there would be files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from gossamer.api import lifecycle
from gossamer.api.admin import Admin
from gossamer.api.plane import About, Certificate, Plane, Sidecar
from gossamer.identity.shown import Authority, Leaf, Shown
from gossamer.kit.grpc.calls import Context, Streaming, Unary
from gossamer.metrics import Edges
from gossamer.model.change import Put, Remove, Synced
from gossamer.model.edge import IdentityState
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import Key, Kind, Origin, local
from gossamer.model.service import Service, ServicePort
from gossamer.model.workload import Workload, WorkloadPort
from gossamer.resources.decode import decode
from gossamer.resources.problem import InvalidResource
from gossamer.state import State

NOW = 1_800_000_000.0
SOURCES = ("store", "files", "run", "admin")


def identity(account: str, namespace: str = "default") -> str:
    return f"{account}.{namespace}.serviceaccount.identity.gossamer.cluster.local"


@dataclass
class Declared:
    """What people applied."""

    state: State
    documents: dict[tuple[Kind[Any], Key], dict[str, Any]] = field(default_factory=dict)

    def document(self, kind: Kind[Any], key: Key) -> dict[str, Any] | None:
        return self.documents.get((kind, key))

    def write(self, puts: Sequence[tuple[Object, dict[str, Any]]], removed: Sequence[tuple[Kind[Any], Key]]) -> None:
        for value, document in puts:
            self.documents[(value.kind, value.key)] = document
            self.state.apply("store", Put(replace(value, origin=Origin("store"))))
        for kind, key in removed:
            self.documents.pop((kind, key), None)
            self.state.apply("store", Remove(kind, key))


@dataclass
class World:
    """A mesh and its admin API."""

    state: State
    declared: Declared
    edges: Edges
    sidecars: dict[Key, Sidecar] = field(default_factory=dict)
    problems: list[InvalidResource] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)
    now: float = NOW

    @property
    def plane(self) -> Plane:
        certificate = Certificate("CN=root", "ab" * 32, NOW - 100, NOW + 90 * 86400)
        return Plane(
            about=About("0.1.0", "test", 42, NOW - 60),
            state=self.state,
            declared=self.declared,
            decode=decode,
            traffic=self.edges,
            certificates=lambda: ([certificate], [certificate]),
            sidecars=lambda: self.sidecars,
            problems=lambda: self.problems,
            original=lambda _: None,
            now=lambda: self.now,
            stop=lambda: self.stopped.append(True),
        )

    def run(self, service: str, *ports: int, name: str = "", ready: bool = True, last_octet: int = 1) -> Workload:
        """As if somebody had started a program with `gossamer run`."""
        workload = Workload(
            key=local("default", name or f"{service}-1"),
            service_account=service,
            identity=identity(service),
            addresses=(ip_address(f"127.64.0.{last_octet}"),),
            ports=tuple(WorkloadPort(f"port-{port}", port, port) for port in ports),
            labels={"app": service},
            service=service,
            ready=ready,
            origin=Origin("run"),
        )
        self.state.apply("run", Put(workload))
        owned = Service(
            key=local("default", service),
            ports=tuple(ServicePort(f"port-{port}", port, port) for port in ports),
            cluster_ips=(ip_address(f"198.19.0.{last_octet}"),),
            origin=Origin("run"),
        )
        self.state.apply("run", Put(owned))
        leaf = IdentityState(workload.identity, 1, NOW - 10, NOW + 3600)
        self.sidecars[workload.key] = Sidecar(workload.key, pid=7, started=NOW - 30, identity=leaf)
        return workload


def world() -> World:
    state = State(SOURCES, Mesh(control_address=(ip_address("127.64.9.9"), 8443)), lambda call: call())
    for source in SOURCES:
        state.apply(source, Synced())
    return World(state, Declared(state), Edges(started=0.0))


class Recorder:
    """A stream that keeps what is published."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.finished = False
        self.closed = False

    def publish(self, state: Any) -> None:
        self.states.append(state)

    def finish(self, status: object = None) -> None:
        self.finished = True


class Certificates(lifecycle.Lifecycle):
    """As many certificates as the world has sidecars, under one anchor and one issuer; nothing can be done to them."""

    def __init__(self, made: World) -> None:
        self._world = made

    def show(self) -> Shown:
        ca = Authority("CN=root", "ab" * 32, "1", NOW - 100, NOW + 90 * 86400, "active")
        leaves = [
            Leaf(str(key), one.identity.identity, "2", one.identity.not_before, one.identity.not_after, state="valid")
            for key, one in self._world.sidecars.items()
        ]
        issuer = replace(ca, subject="CN=identity", role="in use")
        return Shown("cluster.local", 1, "steady", NOW, False, [ca], [issuer], leaves, [], [], [], [], [], True)


def client(made: World) -> Callable[..., Any]:
    """A class in the place of `kit.grpc.client.Client` that calls the API in this process."""
    methods = {**Admin(made.plane).methods(), **lifecycle.methods(Certificates(made))}
    context = Context(peer=None, metadata={}, deadline=None, credentials=None)

    class Client:
        def __init__(self, path: str, timeout: float = 10.0) -> None:
            pass

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def unary(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
            found = methods[method]
            assert isinstance(found, Unary)

            async def call() -> bytes:
                answer = found.handle(request, context)
                return answer if isinstance(answer, bytes) else await answer

            return asyncio.run(call())

        def stream(self, method: str, request: bytes, timeout: float | None = None) -> list[bytes]:
            found = methods[method]
            assert isinstance(found, Streaming)
            recorder = Recorder()

            async def call() -> None:
                found.handle(request, context, recorder)()  # type: ignore[arg-type]

            asyncio.run(call())
            return [message for state in recorder.states for message in found.encode(None, state)]

    return Client

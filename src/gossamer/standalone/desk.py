"""What launchers ask of the control plane, whichever way their words came: register, resume, tokens, withdraw, end.

Answers here are what is true everywhere; what depends on the machine (files, sockets) is added there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gossamer.model.mesh import Mesh
from gossamer.model.names import Key
from gossamer.model.workload import INBOUND_PORT
from gossamer.standalone.registration import Offer, asked
from gossamer.standalone.registry import Held, Registry
from gossamer.standalone.tokens import Tokens


class Holding(Protocol):
    """A workload in the hands of one launcher."""

    @property
    def key(self) -> Key: ...


class Desk(Protocol):
    """Every method may raise `Refused`, `Denied` or `Unavailable`; each in one line for the person who typed it."""

    # Called when nothing is left of a workload.
    ended: Callable[[Key], None]

    async def register(self, document: object, pid: int) -> tuple[Any, dict[str, Any]]:
        """What is held from now on, and the answer."""

    async def resume(self, session: str, pid: int) -> Any: ...

    async def token(self, held: Any) -> str: ...

    async def listening(self, held: Any, ports: tuple[int, ...]) -> None: ...

    async def withdraw(self, held: Any) -> None:
        """Returns when every affected stream has been written."""

    async def end(self, held: Any) -> None: ...

    def lost(self, held: Any) -> None:
        """The connection broke; name and address are kept for a while."""

    def count(self) -> int:
        """Workloads of this machine."""


class LocalDesk:
    """The control plane's own. `settled` returns when what was delivered before has been written to every stream."""

    def __init__(
        self,
        registry: Registry,
        tokens: Tokens,
        mesh: Mesh,
        clock: Callable[[], float],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._tokens = tokens
        self._mesh = mesh
        self._clock = clock
        self._settled = settled

    @property
    def ended(self) -> Callable[[Key], None]:
        return self._registry.ended

    @ended.setter
    def ended(self, tell: Callable[[Key], None]) -> None:
        self._registry.ended = tell

    async def register(self, document: object, pid: int) -> tuple[Held, dict[str, Any]]:
        return self.enrol(document, pid)

    def enrol(self, document: object, pid: int, offer: Offer | None = None) -> tuple[Held, dict[str, Any]]:
        """`offer`: a joined machine runs it. Raises `Taken`, too, then."""
        what = asked(document)
        held, session = self._registry.register(what, pid, offer)
        return held, self._answer(held, session)

    def _answer(self, held: Held, session: str) -> dict[str, Any]:
        registration = held.registration
        mesh = self._mesh
        identity = registration.identity(mesh)
        place = {"ns": held.key.namespace, "pod": registration.name}
        node = self._registry.placed(registration.machine).node
        return {
            "workload": registration.name,
            "namespace": held.key.namespace,
            "identity": identity,
            "address": registration.address,
            "inbound_port": INBOUND_PORT,
            "advertised": registration.advertised,
            "token": self._tokens.issue(identity, self._clock(), holder=registration.holder),
            "session": session,
            "control_name": mesh.control_identity,
            "policy_workload": _json(place),
            "context_token": _json({**place, "nodeName": node}),
            "cluster_networks": [str(network) for network in mesh.cluster_networks],
            "default_policy": mesh.default_policy.value,
        }

    async def resume(self, session: str, pid: int) -> Held:
        return self._registry.resume(session, pid)

    async def token(self, held: Held) -> str:
        return self.admission(held)

    def admission(self, held: Held) -> str:
        """A fresh join token for a workload's sidecar."""
        registration = held.registration
        return self._tokens.issue(registration.identity(self._mesh), self._clock(), holder=registration.holder)

    async def listening(self, held: Held, ports: tuple[int, ...]) -> None:
        self._registry.listening(held, ports)

    async def withdraw(self, held: Held) -> None:
        self._registry.withdraw(held)
        await self._settled()

    async def end(self, held: Held) -> None:
        self._registry.end(held)

    def lost(self, held: Held) -> None:
        self._registry.lost(held)

    def count(self) -> int:
        return len(self._registry.of_machine(""))


def _json(value: Mapping[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"))

"""gossamer.v1.Machines: what machines that join and have joined ask, by way of the front.

Who calls is told by the front: the verified identity, and the address that the connection comes from.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address, ip_address
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from gossamer.identity.certify import Busy
from gossamer.identity.request import InvalidRequest
from gossamer.kit.grpc.calls import UnaryHandler
from gossamer.kit.grpc.server import Context, Method, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.machine import Beat, Running
from gossamer.model.mesh import Mesh
from gossamer.model.names import Key, local
from gossamer.pb.v1 import machines_pb2 as pb
from gossamer.ports import Conflict, Denied, Unavailable

SERVICE = "gossamer.v1.Machines"
ADDRESS_HEADER = "l5d-client-address"
LONGEST_REGISTRATION = 64 * 1024
MOST_RUNNING = 10_000
MOST_PORTS = 4096
LONGEST_LABEL = 63

M = TypeVar("M", bound=Message)


class Leaf(Protocol):
    @property
    def certificate(self) -> bytes: ...

    @property
    def intermediates(self) -> tuple[bytes, ...]: ...


class Admitted(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def session(self) -> str: ...

    @property
    def leaf(self) -> Leaf: ...


class Machines(Protocol):
    """What the controller fills in. `machine` is what `caller` returned.

    Raises `Denied`, `Unavailable`, `InvalidRequest`, `Busy`, and `Conflict` for a place that is somebody else's.
    """

    def join(self, secret: str, name: str, csr: bytes, source: str) -> Admitted: ...

    def returning(self, name: str, session: str, csr: bytes) -> Admitted: ...

    def caller(self, peer: str | None, session: str) -> Any: ...

    def register(self, machine: Any, document: object, pid: int, address: IPv4Address, advertised: str) -> object: ...

    def resume(self, machine: Any, session: str, pid: int) -> tuple[Key, Running]: ...

    def admission(self, machine: Any, key: Key) -> str: ...

    def end(self, machine: Any, key: Key) -> None: ...

    def beat(self, machine: Any, said: Beat) -> tuple[str, Sequence[Key]]: ...

    def leave(self, name: str) -> bool: ...


def methods(machines: Machines, mesh: Callable[[], Mesh], settled: Callable[[], Awaitable[None]]) -> dict[str, Method]:
    """`settled` returns when what was delivered before has been written to every stream."""

    def anchors(request: bytes, context: Context) -> bytes:
        _read(pb.AnchorsRequest, request)
        held = mesh()
        found = held.bundle.anchors.get(held.trust_domain, ())
        return pb.AnchorsResponse(anchors=found).SerializeToString()

    def join(request: bytes, context: Context) -> bytes:
        asked = _read(pb.JoinRequest, request)
        csr, source = asked.certificate_signing_request, context.metadata.get(ADDRESS_HEADER, "")
        with border():
            return _admitted(machines.join(asked.token, asked.name, csr, source))

    def returning(request: bytes, context: Context) -> bytes:
        asked = _read(pb.ReturnRequest, request)
        with border():
            return _admitted(machines.returning(asked.name, asked.session, asked.certificate_signing_request))

    def register(request: bytes, context: Context) -> bytes:
        asked = _read(pb.RegisterRequest, request)
        document, address = _registration(asked.workload), _loopback(asked.address)
        advertised = _place(asked.advertised)
        with border():
            machine = machines.caller(context.peer, asked.session)
            answer = machines.register(machine, document, asked.pid, address, advertised)
        return pb.RegisterResponse(answer=json.dumps(answer, separators=(",", ":"))).SerializeToString()

    def resume(request: bytes, context: Context) -> bytes:
        asked = _read(pb.ResumeRequest, request)
        with border():
            machine = machines.caller(context.peer, asked.session)
            key, known = machines.resume(machine, asked.workload_session, asked.pid)
        place = (key.namespace, key.name)
        return pb.ResumeResponse(workload=_running(*place, known)).SerializeToString()

    def token(request: bytes, context: Context) -> bytes:
        asked = _read(pb.TokenRequest, request)
        with border():
            machine = machines.caller(context.peer, asked.session)
            found = machines.admission(machine, local(asked.namespace, asked.name))
        return pb.TokenResponse(token=found).SerializeToString()

    def end(request: bytes, context: Context) -> bytes:
        asked = _read(pb.EndRequest, request)
        with border():
            machine = machines.caller(context.peer, asked.session)
            machines.end(machine, local(asked.namespace, asked.name))
        return pb.EndResponse().SerializeToString()

    async def beat(request: bytes, context: Context) -> bytes:
        asked = _read(pb.BeatRequest, request)
        said = _beat(asked)
        with border():
            nonce, unknown = machines.beat(machines.caller(context.peer, asked.session), said)
        await settled()
        names = [f"{key.namespace}/{key.name}" for key in unknown]
        return pb.BeatResponse(nonce=nonce, unknown=names).SerializeToString()

    def leave(request: bytes, context: Context) -> bytes:
        asked = _read(pb.LeaveRequest, request)
        with border():
            machines.leave(machines.caller(context.peer, asked.session).name)
        return pb.LeaveResponse().SerializeToString()

    table: dict[str, UnaryHandler] = {
        "Anchors": anchors,
        "Join": join,
        "Return": returning,
        "Register": register,
        "Resume": resume,
        "Token": token,
        "End": end,
        "Beat": beat,
        "Leave": leave,
    }
    return {f"/{SERVICE}/{name}": Unary(handle) for name, handle in table.items()}


_CODES: dict[type[Exception], Code] = {
    InvalidRequest: Code.INVALID_ARGUMENT,
    Denied: Code.PERMISSION_DENIED,
    Busy: Code.RESOURCE_EXHAUSTED,
    Unavailable: Code.UNAVAILABLE,
    Conflict: Code.ALREADY_EXISTS,
}


@contextmanager
def border() -> Iterator[None]:
    """The table of this border: whose fault it is → code on the wire."""
    try:
        yield
    except tuple(_CODES) as error:
        code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
        raise Status(code, str(error)) from None


def _read(kind: type[M], request: bytes) -> M:
    try:
        return kind.FromString(request)
    except DecodeError:
        raise Status(Code.INVALID_ARGUMENT, f"not a {kind.__name__}") from None


def _admitted(found: Admitted) -> bytes:
    return pb.JoinResponse(
        leaf_certificate=found.leaf.certificate,
        intermediate_certificates=found.leaf.intermediates,
        session=found.session,
        name=found.name,
    ).SerializeToString()


def _registration(text: str) -> object:
    if len(text) > LONGEST_REGISTRATION:
        raise Status(Code.INVALID_ARGUMENT, "the registration is longer than 64 KiB")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Status(Code.INVALID_ARGUMENT, "the registration is not JSON") from None


def _loopback(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise Status(Code.INVALID_ARGUMENT, f"not an address: {text[:64]}") from None


def _place(text: str) -> str:
    """`ADDRESS:PORT` of a network, in the one way to write it."""
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host)
    except ValueError:
        raise Status(Code.INVALID_ARGUMENT, f"not an address and port: {text[:64]}") from None
    if not port.isdecimal() or not 0 < int(port) < 65536 or address.is_loopback or address.is_unspecified:
        raise Status(Code.INVALID_ARGUMENT, f"not an address and port that other machines could reach: {text[:64]}")
    return f"{address}:{int(port)}"


def _running(namespace: str, name: str, known: Running) -> pb.Running:
    return pb.Running(namespace=namespace, name=name, listening=known.listening, withdrawn=known.withdrawn)


def _beat(asked: pb.BeatRequest) -> Beat:
    if len(asked.running) > MOST_RUNNING:
        raise Status(Code.INVALID_ARGUMENT, f"a machine runs at most {MOST_RUNNING} workloads")
    if any(len(text) > LONGEST_LABEL for text in (asked.node, asked.zone, asked.instance, asked.nonce)):
        raise Status(Code.INVALID_ARGUMENT, f"node, zone, instance and nonce have at most {LONGEST_LABEL} characters")
    if asked.address:
        _place(f"{asked.address}:1")
    running = {
        local(one.namespace, one.name): Running(tuple(sorted(set(one.listening)))[:MOST_PORTS], one.withdrawn)
        for one in asked.running
    }
    return Beat(asked.instance, asked.nonce, asked.node, asked.zone, asked.address, running, asked.complete)

"""gossamer.v1.MachinesAdmin: join tokens and machines, for people on the admin socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from gossamer.api.machines import border
from gossamer.kit.grpc.server import Context, Method, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.machine import Machine, Ticket
from gossamer.pb.v1 import machines_pb2 as pb

SERVICE = "gossamer.v1.MachinesAdmin"
TTL = 15 * 60
LONGEST_TTL = 24 * 3600
MOST_ACCOUNTS = 64

M = TypeVar("M", bound=Message)


class Kept(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def ticket(self) -> Ticket: ...


class Machines(Protocol):
    """`standalone.machines.Machines`, as much of it as is needed. Raises `Denied`."""

    def token(self, ticket: Ticket) -> tuple[str, str]:
        """The token's text and its id."""

    def tokens(self) -> Sequence[Kept]: ...

    def revoke_token(self, ident: str) -> bool: ...

    def known(self) -> Sequence[Machine]: ...

    def leave(self, name: str) -> bool: ...


def methods(machines: Machines, address: str, now: Callable[[], float]) -> dict[str, Method]:
    """`address`: where machines reach the control plane; "" for nowhere."""

    def make(asked: pb.CreateTokenRequest) -> Message:
        began = now()
        ticket = Ticket(asked.machine, _accounts(asked), _source(asked), began, began + _ttl(asked))
        text, ident = machines.token(ticket)
        return pb.CreateTokenResponse(token=_token(ident, ticket), text=text, address=address)

    def listed(asked: pb.ListTokensRequest) -> Message:
        return pb.ListTokensResponse(tokens=[_token(one.id, one.ticket) for one in machines.tokens()])

    def revoke(asked: pb.RevokeTokenRequest) -> Message:
        if not machines.revoke_token(asked.id):
            raise Status(Code.NOT_FOUND, f"no token {asked.id[:32]}; `gossamer token list` shows all")
        return pb.RevokeTokenResponse()

    def all_machines(asked: pb.ListMachinesRequest) -> Message:
        return pb.ListMachinesResponse(machines=[_machine(one) for one in machines.known()])

    def remove(asked: pb.RemoveMachineRequest) -> Message:
        if not machines.leave(asked.name):
            raise Status(Code.NOT_FOUND, f"no machine {asked.name[:64]}; `gossamer machines` shows all")
        return pb.RemoveMachineResponse()

    return {
        f"/{SERVICE}/CreateToken": _unary(pb.CreateTokenRequest, make),
        f"/{SERVICE}/ListTokens": _unary(pb.ListTokensRequest, listed),
        f"/{SERVICE}/RevokeToken": _unary(pb.RevokeTokenRequest, revoke),
        f"/{SERVICE}/ListMachines": _unary(pb.ListMachinesRequest, all_machines),
        f"/{SERVICE}/RemoveMachine": _unary(pb.RemoveMachineRequest, remove),
    }


def _unary(kind: type[M], act: Callable[[M], Message]) -> Method:
    def handle(request: bytes, context: Context) -> bytes:
        try:
            asked = kind.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, f"not a {kind.__name__}") from None
        with border():
            return act(asked).SerializeToString()

    return Unary(handle)


def _ttl(asked: pb.CreateTokenRequest) -> int:
    if asked.ttl_s > LONGEST_TTL:
        raise Status(Code.INVALID_ARGUMENT, f"--ttl: a join token lives at most {LONGEST_TTL // 3600} hours")
    return asked.ttl_s or TTL


def _accounts(asked: pb.CreateTokenRequest) -> tuple[str, ...]:
    if len(asked.accounts) > MOST_ACCOUNTS:
        raise Status(Code.INVALID_ARGUMENT, f"--workload: at most {MOST_ACCOUNTS} of them")
    for one in asked.accounts:
        if [bool(part) for part in one.split("/")] != [True, True]:
            raise Status(Code.INVALID_ARGUMENT, f"--workload {one[:80]}: expected NAMESPACE/ACCOUNT")
    return tuple(asked.accounts)


def _source(asked: pb.CreateTokenRequest) -> str:
    try:
        return str(ip_network(asked.source, strict=False)) if asked.source else ""
    except ValueError:
        expected = "expected a network like 10.9.0.0/24"
        raise Status(Code.INVALID_ARGUMENT, f"--from {asked.source[:64]}: {expected}") from None


def _token(ident: str, ticket: Ticket) -> pb.JoinToken:
    return pb.JoinToken(
        id=ident,
        machine=ticket.machine,
        accounts=ticket.accounts,
        source=ticket.source,
        created=int(ticket.created),
        expires=int(ticket.expires),
        used=int(ticket.used),
        used_by=ticket.used_by,
    )


def _machine(one: Machine) -> pb.Machine:
    return pb.Machine(
        name=one.name,
        address=one.address,
        node=one.node,
        zone=one.zone,
        joined=int(one.joined),
        last_heard=int(one.heard),
        workloads=one.workloads,
        silent=one.silent,
        doubted=int(one.doubted),
        accounts=one.accounts,
    )

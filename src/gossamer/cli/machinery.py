"""The control plane's machines and join tokens, as the command line asks for them: gossamer.v1.MachinesAdmin."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.session import Session
from gossamer.kit.grpc.client import Client
from gossamer.kit.grpc.status import Code, Status

SERVICE = "/gossamer.v1.MachinesAdmin"
M = TypeVar("M", bound=Message)

_EXITS = {
    Code.UNAVAILABLE: Exit.UNREACHABLE,
    Code.DEADLINE_EXCEEDED: Exit.UNREACHABLE,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.INVALID_ARGUMENT: Exit.USAGE,
}


def ask(session: Session, method: str, request: Message, response: type[M]) -> M:
    """One call. Raises CliError."""
    try:
        with Client(str(session.socket)) as client:
            return response.FromString(client.unary(f"{SERVICE}/{method}", request.SerializeToString()))
    except Status as status:
        if status.code is Code.UNAVAILABLE:
            raise CliError(session.unreachable(), Exit.UNREACHABLE) from None
        raise CliError(status.message or str(status), _EXITS.get(status.code, Exit.FAILED)) from None

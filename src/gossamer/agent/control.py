"""A joined machine's connection to its control plane: verified to be exactly it, dialled anew when it breaks.

Blocking, one call at a time: each thread that calls has one of its own. Of several control planes the first that
answers is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from gossamer.kit import tls
from gossamer.kit.grpc.client import Client
from gossamer.kit.grpc.status import Code, Status

M = TypeVar("M", bound=Message)

TIMEOUT = 10.0
CONNECT = 4.0
REFUSED = "the control plane refuses this machine's certificate; join it again with a new token"


class Control:
    """Raises Status: UNAVAILABLE when no control plane can be reached, UNAUTHENTICATED for a wrong one."""

    def __init__(
        self, addresses: Sequence[str], name: str, anchors: Sequence[bytes] = (), identity: Path | None = None
    ) -> None:
        """Without anchors nobody is verified, without an identity nothing is shown."""
        self._addresses = tuple(addresses)
        self._name = name
        self._anchors = tuple(anchors)
        self._identity = identity
        # Seconds for a call.
        self.timeout = TIMEOUT
        self._client: Client | None = None
        self._socket: ssl.SSLSocket | None = None

    @property
    def local_address(self) -> str:
        """Where this end of the connection is; "" when there is none."""
        return str(self._socket.getsockname()[0]) if self._socket is not None else ""

    def reach(self) -> None:
        """Connects unless it is connected."""
        self._connected()

    def trust(self, anchors: Sequence[bytes]) -> None:
        """From the next connection on."""
        self._anchors = tuple(anchors)

    def call(self, method: str, request: Message, response: type[M]) -> M:
        """Once more on a new connection where the last one turns out to be dead."""
        fresh = self._client is None
        try:
            return self._call(method, request, response)
        except Status as status:
            if status.code is not Code.UNAVAILABLE or fresh:
                raise
        return self._call(method, request, response)

    def stream(self, method: str, request: Message, response: type[M]) -> Iterator[M]:
        try:
            for answer in self._connected().stream(method, request.SerializeToString()):
                yield response.FromString(answer)
        finally:
            self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._socket = None

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hang_up(self) -> None:
        """Ends a call that another thread waits for."""
        if self._socket is not None:
            tls.hang_up(self._socket)

    def _call(self, method: str, request: Message, response: type[M]) -> M:
        try:
            return response.FromString(self._connected().unary(method, request.SerializeToString(), self.timeout))
        except Status as status:
            if status.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL):
                self.close()
            # In TLS 1.3 the answer to a client's certificate comes with the first read.
            if status.code is Code.UNAVAILABLE and "_ALERT_" in status.message:
                raise Status(Code.UNAUTHENTICATED, REFUSED) from status
            raise

    def _connected(self) -> Client:
        if self._client is not None:
            return self._client
        failure = Status(Code.UNAVAILABLE, "no address of a control plane is known")
        for address in self._addresses:
            host, _, port = address.rpartition(":")
            try:
                self._socket = tls.connect((host, int(port)), CONNECT, self._name, self._anchors, self._identity)
                self._client = Client(address, TIMEOUT, self._socket)
            except tls.Untrusted as error:
                failure = Status(Code.UNAUTHENTICATED, str(error))
            except OSError as error:
                failure = Status(Code.UNAVAILABLE, f"{address}: {error.strerror or error}")
            except Status as status:
                failure = status
            else:
                return self._client
        raise failure

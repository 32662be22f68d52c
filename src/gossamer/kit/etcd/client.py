"""One connection to an etcd cluster at a time, blocking; for one thread. Who needs two at once makes two.

Asks one member until it fails, then the next. Reads are tried on every member; a transaction is sent once: whether a
second try is safe, only its sender knows.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gossamer.kit.etcd import wire
from gossamer.kit.etcd.wire import Compare, Heard, Operation, Outcome, Page, Rejected, Unanswered, Unreachable

# Of one answer. etcd takes requests of 1.5 MiB; a page of a range, or the changes of a moment, may be larger.
LARGEST = 64 * 1024 * 1024
PAGE = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster is and how to prove oneself to it. `password` belongs to `user`; both "" without."""

    members: tuple[tuple[str, int], ...]
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = field(default="", repr=False)


class Client:
    def __init__(self, place: Place, timeout: float) -> None:
        """`timeout`, in seconds, bounds every wait for one member. Nothing is connected yet."""
        self._place = place
        self._timeout = timeout
        self._at = 0
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""
        self._aborted = False

    @property
    def member(self) -> str:
        """The one that is asked now, as `HOST:PORT`."""
        host, port = self._place.members[self._at]
        return f"{host}:{port}"

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Ends a wait of the thread that uses this client, from another one, and every later one."""
        self._aborted = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it had ended by itself

    def range(self, key: bytes, end: bytes = b"", revision: int = 0, limit: int = 0) -> Page:
        """`end` b"": that key alone. `revision` 0: the newest, confirmed by a majority."""
        asked = {"key": wire.text(key), "range_end": wire.text(end), "revision": str(revision), "limit": str(limit)}
        return wire.page(self._anywhere("/v3/kv/range", wire.dump(asked)))

    def all(self, prefix: bytes) -> Page:
        """Everything below a prefix, as it was at one revision."""
        items: list[wire.Item] = []
        key, revision = prefix, 0
        while True:
            page = self.range(key, wire.last(prefix), revision, PAGE)
            revision = revision or page.revision
            items += page.items
            if not page.more:
                return Page(tuple(items), revision)
            key = page.items[-1].key + b"\0"

    def transact(
        self, compares: Iterable[Compare], then: Iterable[Operation], otherwise: Iterable[Operation] = ()
    ) -> Outcome:
        """Raises `Failed` when nothing was done and `Unanswered` when that is not known."""
        return wire.outcome(self._once("/v3/kv/txn", wire.transaction(compares, then, otherwise)))

    def put(self, key: bytes, value: bytes, lease: int) -> None:
        """Where twice is as good as once."""
        asked = {"key": wire.text(key), "value": wire.text(value), "lease": str(lease)}
        self._anywhere("/v3/kv/put", wire.dump(asked))

    def grant(self, seconds: int) -> int:
        """A lease."""
        return int(self._anywhere("/v3/lease/grant", wire.dump({"TTL": str(seconds)}))["ID"])

    def keep_alive(self, lease: int) -> int:
        """Seconds that the lease has from now on; 0: it has ended."""
        answer = self._anywhere("/v3/lease/keepalive", wire.dump({"ID": str(lease)}))
        return int((answer.get("result") or {}).get("TTL", 0))

    def revoke(self, lease: int) -> None:
        self._once("/v3/lease/revoke", wire.dump({"ID": str(lease)}))

    def watch(self, prefix: bytes, start: int, silence: float) -> Iterator[Heard]:
        """Changes below a prefix from revision `start` on, without end. The first one says only that it stands.

        Raises `Compacted`, `Failed`, and `Unanswered` after `silence` seconds without a word.
        """
        asked = {
            "key": wire.text(prefix),
            "range_end": wire.text(wire.last(prefix)),
            "start_revision": str(start),
            "fragment": True,
        }
        self.close()
        response = self._sent("/v3/watch", wire.dump({"create_request": asked}))
        self._settimeout(silence)
        member = self.member
        try:
            while line := response.readline(LARGEST):
                answer = json.loads(line)
                _raise(answer)
                yield wire.heard(answer["result"])
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise Unanswered(f"{member}: {_said(error)}") from error
        finally:
            self._failed()
        raise Unanswered(f"{member}: the watch ended")

    def _anywhere(self, path: str, body: bytes) -> Mapping[str, Any]:
        """Of a request that may be carried out twice."""
        problem: Exception = Unreachable("no member is named")
        # Once more where there is one member: it may have closed a connection that was idle.
        for _ in range(max(2, len(self._place.members))):
            try:
                return self._once(path, body)
            except (Unreachable, Unanswered) as error:
                problem = error
        raise Unreachable(str(problem)) from problem

    def _once(self, path: str, body: bytes) -> Mapping[str, Any]:
        """Sent to one member; to another only where the first could not be connected."""
        for _ in range(2):
            response = self._sent(path, body)
            try:
                answer = _understood(response)
                _raise(answer)
            except (OSError, http.client.HTTPException) as error:
                self._failed()
                raise Unanswered(f"{self.member}: {_said(error)}") from error
            except Unanswered:
                # Said by a member that does not know: another may.
                self._failed()
                raise
            except Rejected as error:
                if error.code != wire.UNAUTHENTICATED or not self._token:
                    raise
                # It has ended, or etcd was started again: a new connection begins with a new one.
                self._token = ""
                self.close()
                continue
            found: Mapping[str, Any] = answer
            return found
        raise Rejected(wire.UNAUTHENTICATED, f"{self.member}: the user's token is refused")

    def _sent(self, path: str, body: bytes) -> http.client.HTTPResponse:
        """The beginning of an answer. Raises `Unreachable` before, `Unanswered` after the request was sent."""
        connection = self._connected()
        if self._aborted:
            raise Unreachable("stopped")
        try:
            connection.request("POST", path, body, self._headers())
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            member = self.member
            self._failed()
            raise Unanswered(f"{member}: {_said(error)}") from error

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            self._settimeout(self._timeout)
            return self._connection
        problem = ""
        for _ in self._place.members:
            connection = self._new()
            try:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = connection
                self._authenticate()
            except (OSError, Unanswered) as error:
                problem = f"{self.member}: {_said(error)}"
                connection.close()
                self._failed()
                continue
            except Rejected:
                self.close()
                raise
            return connection
        raise Unreachable(problem)

    def _new(self) -> http.client.HTTPConnection:
        host, port = self._place.members[self._at]
        if self._place.tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._place.tls)

    def _authenticate(self) -> None:
        """A token for the user, where there is one and none is known."""
        if not self._place.user or self._token:
            return
        connection = self._connection
        assert connection is not None
        body = wire.dump({"name": self._place.user, "password": self._place.password})
        try:
            connection.request("POST", "/v3/auth/authenticate", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read(LARGEST))
            _raise(answer)
            self._token = str(answer["token"])
        except (http.client.HTTPException, ValueError, KeyError) as error:
            raise Unanswered(_said(error)) from error

    def _headers(self) -> dict[str, str]:
        own = {"Authorization": self._token} if self._token else {}
        return {"Content-Type": "application/json", **own}

    def _settimeout(self, seconds: float) -> None:
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)

    def _failed(self) -> None:
        self.close()
        self._next()

    def _next(self) -> None:
        self._at = (self._at + 1) % len(self._place.members)


def members(text: str) -> Sequence[tuple[str, int]]:
    """From `HOST[:PORT],[…]`. ValueError says what is wrong."""
    found = []
    for one in text.split(","):
        host, colon, port = one.rpartition(":") if not one.endswith("]") else (one, "", "")
        if not colon:
            host, port = one, "2379"
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{one!r}: expected HOST:PORT")
        found.append((host.strip("[]"), int(port)))
    return found


def _raise(answer: Mapping[str, Any]) -> None:
    """The gateway's errors: `{"error": "…", "code": N}`, in a stream `{"error": {"grpc_code": N, "message": "…"}}`."""
    error = answer.get("error")
    if not error:
        return
    if isinstance(error, Mapping):
        code, message = int(error.get("grpc_code", error.get("code", 2))), str(error.get("message", ""))
    else:
        code, message = int(answer.get("code", 2)), str(error)
    if code in wire.UNKNOWN:
        raise Unanswered(message)
    if code == 11:
        raise wire.Compacted
    raise Rejected(code, message)


def _understood(response: http.client.HTTPResponse) -> Mapping[str, Any]:
    """JSON, whatever its status. Something between here and etcd may answer otherwise, and has perhaps passed it on."""
    data = response.read(LARGEST)
    try:
        answer: Mapping[str, Any] = json.loads(data)
    except ValueError:
        said = f"HTTP {response.status} without JSON; is this etcd, with its gRPC gateway on?"
        if response.status < 500:
            raise Rejected(12, said) from None
        raise Unanswered(said) from None
    return answer


def _said(error: Exception) -> str:
    """Why, without the place."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__

"""Requests that are not gRPC: each is answered with a line of text and 415, once it has ended.

So that a browser or `curl` that comes here learns what this is.
"""

from __future__ import annotations

from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.frames import Error, H2Stream

_BODY = b"This is a gRPC server.\n"
_HEADERS = encode([(b":status", b"415"), (b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_BODY))])


class Plain:
    """Those of one connection; true while there are any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # When each came, and what is left of its answer (None: nothing was answered yet).
        self._rows: dict[H2Stream, tuple[float, bytes | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def begin(self, row: H2Stream, now: float) -> None:
        self._rows[row] = (now, None)

    def ended(self, row: H2Stream) -> None:
        self._rows.pop(row, None)

    def clear(self) -> None:
        self._rows.clear()

    def write(self) -> None:
        """Writes what the windows allow."""
        for row, (began, body) in tuple(self._rows.items()):
            if not row.remote_closed:
                continue
            if body is None:
                self._connection.send_headers(row, _HEADERS, end=False)
                body = _BODY
            left = body[self._connection.send_data(row, body, end=True) :]
            if row.local_closed:
                del self._rows[row]
            else:
                self._rows[row] = (began, left)

    def expire(self, before: float) -> bool:
        """Resets those that came before and have not ended; whether there were any."""
        late = [row for row, (began, _) in self._rows.items() if began < before]
        for row in late:
            del self._rows[row]
            self._connection.reset(row, Error.CANCEL)
        return bool(late)

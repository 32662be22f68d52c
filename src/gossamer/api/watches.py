"""The subscriptions of all streams: computed once per distinct question, written only when the answer changed.

A subscription is a row in a table, not a coroutine. Must not know which method a stream belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gossamer.compile import Memo
from gossamer.kit.grpc.server import Closer, Stream
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.proxy_config import Config, Invalid, NotFound
from gossamer.model.subscription import Subscription
from gossamer.state import State

_log = logging.getLogger("gossamer.watches")


Encode = Callable[["Answer | None", "Answer"], list[bytes]]


class Answer:
    """A configuration as it is handed to streams, with what it was encoded to the first time."""

    __slots__ = ("_encoded", "value")

    def __init__(self, value: Config) -> None:
        self.value = value
        self._encoded: dict[tuple[int, Encode], tuple[Answer | None, list[bytes]]] = {}

    def encoded(self, sent: Answer | None, encode: Encode) -> list[bytes]:
        """`encode(sent, self)`, done once however many streams are led from `sent` to here.

        Streams of several methods may share an answer: `encode` is a function of a module, never made for one call.
        """
        known = self._encoded.get((id(sent), encode))
        if known is None:
            # Holding `sent` keeps its id from being given to another.
            known = self._encoded[id(sent), encode] = (sent, encode(sent, self))
        return known[1]

    def retire(self) -> None:
        """A newer one has taken its place: lets go of its predecessors."""
        self._encoded.clear()


@dataclass(slots=True)
class _Row:
    memo: Memo
    answer: Answer
    streams: dict[int, Stream[Answer]] = field(default_factory=dict)


class Watches:
    """`on_wake` of the state it is given to; nothing is sent before every source has synced."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rows: dict[Subscription, _Row] = {}
        self._waiting: dict[int, tuple[Subscription, Stream[Answer]]] = {}
        self._next = 0
        self._unsubscribe = state.subscribe(self.refresh)

    def __len__(self) -> int:
        """Distinct questions that somebody waits for."""
        return len(self._rows)

    def get(self, subscription: Subscription) -> Config:
        """One answer now. Raises Status for none, and UNAVAILABLE before every source has synced."""
        if not self._state.synced:
            raise Status(Code.UNAVAILABLE, "the control plane has not read everything yet")
        row = self._rows.get(subscription)
        if row is None:
            return _or_status(Memo(subscription, self._state.snapshot).value)
        self._renew(row)
        return _or_status(row.answer.value)

    def watch(self, subscription: Subscription, stream: Stream[Answer]) -> Closer:
        """Publishes the answer and every one that follows; ends the stream when there is none."""
        token = self._next
        self._next += 1
        if self._state.synced:
            self._join(token, subscription, stream)
        else:
            self._waiting[token] = (subscription, stream)
        return lambda: self._leave(token, subscription)

    def refresh(self) -> None:
        """Brings every row up to date. Called by the state, once per turn of the loop in which something changed."""
        if not self._state.synced:
            return
        waiting, self._waiting = self._waiting, {}
        for subscription, row in list(self._rows.items()):
            try:
                self._renew(row)
            except Exception:  # noqa: BLE001 - our bug about one thing must not keep the news of all others back
                _log.exception("%s could not be answered anew; what was said last stays", subscription)
        for token, (subscription, stream) in waiting.items():
            self._join(token, subscription, stream)

    def open(self) -> Iterator[tuple[Subscription, int]]:
        """Each question with the number of streams that wait for it."""
        return ((subscription, len(row.streams)) for subscription, row in self._rows.items())

    def close(self) -> None:
        self._unsubscribe()

    def _join(self, token: int, subscription: Subscription, stream: Stream[Answer]) -> None:
        row = self._rows.get(subscription)
        if row is None:
            memo = Memo(subscription, self._state.snapshot)
            row = self._rows[subscription] = _Row(memo, Answer(memo.value))
        self._renew(row)
        row.streams[token] = stream
        _publish(stream, row.answer)

    def _leave(self, token: int, subscription: Subscription) -> None:
        self._waiting.pop(token, None)
        row = self._rows.get(subscription)
        if row is not None:
            row.streams.pop(token, None)
            if not row.streams:
                del self._rows[subscription]

    def _renew(self, row: _Row) -> None:
        """Brings a row up to date, and tells everybody who waits for it: whoever asks first does it for all."""
        if row.memo.update(self._state.snapshot):
            row.answer.retire()
            row.answer = Answer(row.memo.value)
            for stream in list(row.streams.values()):
                _publish(stream, row.answer)


def _publish(stream: Stream[Answer], answer: Answer) -> None:
    stream.publish(answer)
    if isinstance(answer.value, NotFound | Invalid):
        stream.finish(_status(answer.value))


def _or_status(value: Config) -> Config:
    if isinstance(value, NotFound | Invalid):
        raise _status(value)
    return value


def _status(value: NotFound | Invalid) -> Status:
    return Status(Code.NOT_FOUND if isinstance(value, NotFound) else Code.INVALID_ARGUMENT, value.reason)

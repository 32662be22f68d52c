"""How a stream of whole values is written: one message, whenever the value has changed.

Not for streams that send differences (`destination`, `endpoints`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from gossamer.api.encode import parts
from gossamer.api.watches import Answer

T = TypeVar("T")


class Whole(Generic[T]):
    """The encoder of a method, made once for it; answers of another kind than `kind` are no message."""

    def __init__(self, kind: type[T], message: Callable[[T], Message]) -> None:
        self._kind = kind
        self._message = message

    def __call__(self, sent: Answer | None, new: Answer) -> list[bytes]:
        if not isinstance(new.value, self._kind) or (sent is not None and sent.value == new.value):
            return []
        return new.encoded(None, self._encode)

    def serialized(self, value: object) -> bytes:
        """The message of one value, which must be of the kind."""
        assert isinstance(value, self._kind)
        return parts.serialize(self._message(value))

    def _encode(self, _: Answer | None, new: Answer) -> list[bytes]:
        return [self.serialized(new.value)]

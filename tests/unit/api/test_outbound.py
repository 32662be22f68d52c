"""The stream about a target ends when another resource becomes the answer (reference §2.1)."""

from __future__ import annotations

from gossamer.api.outbound import Steady
from gossamer.api.watches import Answer
from gossamer.kit.grpc.status import Status
from gossamer.model.names import Default
from gossamer.model.proxy_config import Empty, NotFound, OpaqueOutbound, OpaqueRoute, OutboundConfig


class FakeStream:
    """A `Stream` that nobody reads."""

    def __init__(self) -> None:
        self.newest: Answer | None = None
        self.published = 0
        self.closed = False

    def publish(self, state: Answer) -> None:
        self.newest = state
        self.published += 1

    def finish(self, status: Status | None = None) -> None:
        assert status is None, "it ends with OK"
        self.closed = True


def answer(name: str, forbidden: bool = False) -> Answer:
    return Answer(OutboundConfig(Default(name), OpaqueOutbound(OpaqueRoute(Default("r"), Empty(), forbidden))))


def test_news_of_the_same_resource_are_published() -> None:
    stream = FakeStream()
    steady = Steady(stream)
    steady.publish(answer("a"))
    newer = answer("a", forbidden=True)
    steady.publish(newer)

    assert (stream.newest, stream.published, stream.closed) == (newer, 2, False)


def test_another_resource_ends_the_stream_without_a_word() -> None:
    stream = FakeStream()
    steady = Steady(stream)
    first = answer("egress-fallback")
    steady.publish(first)
    steady.publish(answer("network"))

    assert (stream.newest, stream.published, stream.closed) == (first, 1, True)


def test_no_answer_is_left_to_its_status() -> None:
    stream = FakeStream()
    Steady(stream).publish(Answer(NotFound("no")))

    assert stream.published == 0

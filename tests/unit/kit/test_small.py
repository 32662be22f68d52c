"""The small tools: budgets, backoff, tasks, logs, peers."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gossamer.kit import logs, tasks
from gossamer.kit.backoff import pauses
from gossamer.kit.budget import Buckets, Budget, Rate
from gossamer.kit.grpc.status import quote_message, unquote_message
from gossamer.kit.peer import credentials, namespaces


@given(st.integers(1, 20), st.floats(0.1, 100), st.lists(st.floats(0, 3), max_size=200))
def test_a_budget_never_gives_more_than_its_burst_and_its_rate(burst: int, rate: float, steps: list[float]) -> None:
    budget = Budget(Rate(burst, rate))
    now = 50.0
    given_out = 0
    for step in steps:
        now += step
        given_out += budget.spend(now)
    assert given_out <= burst + (now - 50.0) * rate + 1


def test_a_flood_of_keys_costs_bounded_memory_and_the_busy_ones_stay() -> None:
    buckets = Buckets(Rate(1, 0), remembered=10)
    assert buckets.spend("busy", 0)
    for n in range(1000):
        buckets.spend(f"k{n}", 0)
        assert not buckets.spend("busy", 0)
    assert len(buckets._budgets) == 10


@given(st.floats(0.001, 1), st.floats(1, 100), st.floats(0, 1))
def test_a_backoff_stays_in_bounds(first: float, longest: float, luck: float) -> None:
    for n, pause in enumerate(itertools.islice(pauses(first, longest, lambda: luck), 20)):
        whole = min(first * 2**n, longest)
        assert whole / 2 <= pause <= whole * 1.0001


def test_a_task_that_fails_is_named_and_ends_the_others() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    async def broken() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("no such thing")

    with pytest.raises(ExceptionGroup) as group:
        asyncio.run(tasks.run(("forever", forever()), ("the broken one", broken())))
    assert str(group.value.exceptions[0]) == "the broken one: no such thing"
    assert ended == [True]


def test_tasks_that_return_are_done() -> None:
    async def short() -> None:
        return

    asyncio.run(tasks.run(("a", short()), ("b", short())))


@pytest.fixture
def root() -> Iterator[None]:
    logger = logging.getLogger()
    before = (logger.level, logger.handlers[:])
    yield
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


HOSTILE = "a\nERROR forged\r\x1b[31m\x00\u2028\u202e\x85é 100%"


@pytest.mark.usefixtures("root")
def test_a_hostile_text_makes_one_line() -> None:
    stream = io.StringIO()
    logs.setup("info", "plain", stream)
    logging.getLogger("x").info("said %s", HOSTILE)
    line = stream.getvalue()
    assert len(line.splitlines()) == 1
    assert "a\\x0aERROR forged\\x0d\\x1b[31m\\x00\\u2028\\u202e\\x85é 100%" in line
    assert line.endswith("\n")


@pytest.mark.usefixtures("root")
def test_a_json_line_can_be_parsed_whatever_is_in_it() -> None:
    stream = io.StringIO()
    logs.setup("info", "json", stream)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("x").exception("said %s", HOSTILE)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert event["message"] == f"said {HOSTILE}"
    assert event["level"] == "error"
    assert "ValueError" in event["exception"]


@given(st.text())
@example(" at both ends ")
def test_a_grpc_message_survives_its_trailer(text: str) -> None:
    quoted = quote_message(text)
    assert quoted.isascii()
    assert b"\n" not in quoted
    assert quoted == quoted.strip()
    assert unquote_message(quoted) == text


@given(st.binary(max_size=50))
def test_any_grpc_message_can_be_shown(raw: bytes) -> None:
    unquote_message(raw)


def test_a_peer_is_known_by_pid_uid_and_namespaces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = credentials(ours)
    assert (peer.pid, peer.uid, peer.gid, peer.namespaces) == (os.getpid(), os.getuid(), os.getgid(), "own")


def test_a_process_that_is_gone_is_never_our_own() -> None:
    assert namespaces(2**22 + 1) == "unknown"
    assert namespaces(0) == "foreign"

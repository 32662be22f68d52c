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
from pathlib import Path

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
def test_a_log_that_stderr_leads_to_stays_small(tmp_path: Path) -> None:
    log, line = tmp_path / "controller.log", "x" * 1_000
    with log.open("a") as stream, log.open("a") as other:
        logs.setup("info", stream=stream, file=log)
        for number in range(2_500):
            logging.getLogger("x").info("%d %s", number, line)
            assert log.stat().st_size <= logs.MOST_BYTES
        other.write("somebody else's\n")
    last = (logs.previous(log).read_text() + log.read_text()).splitlines()

    assert sorted(file.name for file in tmp_path.iterdir()) == ["controller.log", "controller.log.1"]
    assert logs.previous(log).stat().st_size <= logs.MOST_BYTES
    # Nothing of the last MiB is lost, and whoever had the file open goes on writing where it ends.
    assert [int(one.split()[3]) for one in last[1:-1]] == list(range(2_500 - len(last) + 2, 2_500))
    assert len(last) > 1_000
    assert last[-1] == "somebody else's"


@pytest.mark.usefixtures("root")
def test_a_file_that_only_happens_to_hold_stderr_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "controller.log").touch()
    with (tmp_path / "mine").open("a") as stream:
        logs.setup("info", stream=stream, file=tmp_path / "controller.log")
        for _ in range(1_100):
            logging.getLogger("x").info("x" * 1_000)

    assert (tmp_path / "mine").stat().st_size > logs.MOST_BYTES
    assert not logs.bound(tmp_path / "none")


def test_a_log_is_cut_even_where_its_end_cannot_be_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (logs.MOST_BYTES + 1))
    logs.previous(log).mkdir()
    with pytest.raises(OSError, match="directory"):
        logs.bound(log)

    assert log.stat().st_size == 0


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

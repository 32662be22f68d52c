"""Nobody's flood delays another."""

from __future__ import annotations

import asyncio

import pytest

from gossamer.kit.fair import Fair, Full


def test_each_caller_has_its_turn() -> None:
    order: list[str] = []

    async def run() -> None:
        queue = Fair()
        flood = [queue.run("flood", lambda n=n: order.append(f"flood {n}")) for n in range(10)]  # type: ignore[misc]
        honest = queue.run("honest", lambda: order.append("honest"))
        await asyncio.gather(*flood, honest)

    asyncio.run(run())
    assert order == ["flood 0", "honest", *(f"flood {n}" for n in range(1, 10))]


def test_too_much_is_refused_at_once_and_only_to_who_asked_for_it() -> None:
    async def run() -> list[int]:
        queue = Fair(per_caller=3, callers=2)
        held = [queue.run("flood", lambda: 1) for _ in range(3)]
        with pytest.raises(Full, match="3 requests"):
            queue.run("flood", lambda: 1)
        held.append(queue.run("honest", lambda: 2))
        with pytest.raises(Full, match="2 callers"):
            queue.run("third", lambda: 3)
        found = list(await asyncio.gather(*held))
        assert len(queue) == 0
        found.append(await queue.run("third", lambda: 3))
        return found

    assert asyncio.run(run()) == [1, 1, 1, 2, 3]


def test_what_work_raises_is_its_callers_and_who_gave_up_is_passed_over() -> None:
    done: list[str] = []

    async def run() -> None:
        queue = Fair()

        def fail() -> None:
            raise ValueError("mine")

        gone = queue.run("gone", lambda: done.append("gone"))
        gone.cancel()
        failing, fine = queue.run("a", fail), queue.run("b", lambda: done.append("fine"))
        with pytest.raises(ValueError, match="mine"):
            await failing
        await fine

    asyncio.run(run())
    assert done == ["fine"]

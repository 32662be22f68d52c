"""Named tasks, each of which ends by returning or by failing everything (architecture §6.13)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Failed(Exception):
    """A task did not end by returning. The cause is chained; the message names the task."""


async def run(*named: tuple[str, Coroutine[Any, Any, None]]) -> None:
    """Runs all until all have returned. The first that raises cancels the others, and `Failed` names it."""
    async with asyncio.TaskGroup() as group:
        for name, work in named:
            group.create_task(_one(name, work), name=name)


async def _one(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        raise Failed(f"{name}: {str(error) or type(error).__name__}") from error

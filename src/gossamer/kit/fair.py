"""Work for many callers, one piece per turn of the loop, each caller in its turn: nobody's flood delays another.

A caller's queue and the number of callers are limited; what does not fit is refused at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

PER_CALLER = 64
CALLERS = 20_000


class Full(Exception):
    """The caller has too much waiting already, or there are too many callers."""


class Fair:
    def __init__(self, per_caller: int = PER_CALLER, callers: int = CALLERS) -> None:
        self._per_caller = per_caller
        self._callers = callers
        self._waiting: OrderedDict[str, deque[tuple[Callable[[], Any], asyncio.Future[Any]]]] = OrderedDict()
        self._scheduled = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def run(self, caller: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` returns or raises, when its turn has come. Raises `Full`."""
        loop = asyncio.get_running_loop()
        queue = self._waiting.get(caller)
        if queue is None:
            if len(self._waiting) >= self._callers:
                raise Full(f"{self._callers} callers are waiting")
            queue = self._waiting[caller] = deque()
        elif len(queue) >= self._per_caller:
            raise Full(f"{self._per_caller} requests of this caller are waiting")
        future: asyncio.Future[T] = loop.create_future()
        queue.append((work, future))
        self._schedule()
        return future

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """One piece of work of the caller who has waited longest for one."""
        self._scheduled = False
        caller, queue = self._waiting.popitem(last=False)
        work, future = queue.popleft()
        if queue:
            self._waiting[caller] = queue
        # Who has given up needs no answer.
        if not future.cancelled():
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                future.set_exception(error)
        self._schedule()

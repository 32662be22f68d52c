"""Token buckets: "too many of these" as a decision. Time is an argument, in seconds from any fixed origin."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

REMEMBERED = 10_000


class Rate(NamedTuple):
    """`burst` at once, then `per_second`."""

    burst: int
    per_second: float


class Budget:
    __slots__ = ("_left", "_rate", "_then")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._then = 0.0

    def spend(self, now: float) -> bool:
        """Takes one; False when there is none left."""
        rate = self._rate
        if self._left >= rate.burst:
            self._then = now
        elif self._left < 1.0:
            self._left = min(float(rate.burst), self._left + (now - self._then) * rate.per_second)
            self._then = now
            if self._left < 1.0:
                return False
        self._left -= 1.0
        return True


class Buckets:
    """A budget per key. The least recently used are forgotten, so a flood of keys costs bounded memory."""

    def __init__(self, rate: Rate, remembered: int = REMEMBERED) -> None:
        self._rate = rate
        self._remembered = remembered
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def spend(self, key: str, now: float) -> bool:
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(self._rate)
            if len(self._budgets) > self._remembered:
                self._budgets.popitem(last=False)
        else:
            self._budgets.move_to_end(key)
        return budget.spend(now)

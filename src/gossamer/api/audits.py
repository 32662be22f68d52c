"""Windows in which what policy would refuse is let through and counted: opened by people, ended by themselves.

They do not outlive this process: a control plane that starts knows of none.
"""

from __future__ import annotations

import asyncio

from gossamer.api.plane import State
from gossamer.model.authorization import AUDIT_WINDOW, AuditWindow
from gossamer.model.change import Put, Remove
from gossamer.model.names import Key

SOURCE = "admin"
"""The source of what the admin API itself puts into the state."""


class Audits:
    def __init__(self, state: State) -> None:
        self._state = state
        self._ends: dict[Key, asyncio.TimerHandle] = {}

    def open(self, key: Key, until: int, seconds: int) -> None:
        """For `seconds` from now, which is until `until` (wall time); 0 and 0 end it now."""
        timer = self._ends.pop(key, None)
        if timer is not None:
            timer.cancel()
        if not until:
            self._state.apply(SOURCE, Remove(AUDIT_WINDOW, key))
            return
        self._state.apply(SOURCE, Put(AuditWindow(key, until)))
        self._ends[key] = asyncio.get_running_loop().call_later(seconds, self.open, key, 0, 0)

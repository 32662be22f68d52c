"""The control plane in one function: what is known, and a question, make the answer.

Must not do I/O, keep anything between two calls (but for `Memo`, which only skips work), or know a clock.
"""

from __future__ import annotations

from gossamer.model.proxy_config import Config
from gossamer.model.snapshot import View
from gossamer.model.subscription import Subscription


def compile(view: View, subscription: Subscription) -> Config:
    """The complete answer to one question. `NotFound` and `Invalid` are answers too."""
    raise NotImplementedError

"""Whether a beat is of the machine that beat last, or of another with the same identity: a cloned disk (F-85). Pure.

A machine draws an instance at each boot, and says in each beat the nonce of the last answer. A clone that boots has
another instance; one that was copied alive, memory and all, says a nonce that has been used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# An answer may be lost on its way: the same nonce again is believed so many times in a row.
REPEATS = 3


class Unlike(Exception):
    """Another machine beats under this identity; one line."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a machine's beats. `last`, `doubted`: epoch seconds; `doubted` 0: never."""

    last: float
    instance: str = ""
    nonce: str = ""
    before: str = ""
    repeats: int = 0
    silent: bool = False
    doubted: float = 0.0


def beat(heard: Heard, instance: str, nonce: str, now: float, silence: float, fresh: str) -> Heard:
    """The next state; its nonce is the answer. `fresh` is unpredictable. Raises `Unlike`.

    Another instance is the same machine after a boot once the one before has been silent for `silence` seconds.
    """
    if heard.instance not in ("", instance):
        if now - heard.last <= silence:
            raise Unlike(
                "another machine is running with this identity: was its disk copied? "
                "join one of them again with a token of its own"
            )
        return Heard(now, instance, fresh, doubted=heard.doubted)
    if heard.instance == "" or nonce in ("", heard.nonce):
        # The first beat, that after a restart of the agent, or the next one.
        return Heard(now, instance, fresh, heard.nonce, doubted=heard.doubted)
    if nonce == heard.before and heard.repeats < REPEATS:
        return replace(heard, last=now, repeats=heard.repeats + 1, silent=False)
    raise Unlike(
        "two machines run with this identity: was one copied while it ran? "
        "join one of them again with a token of its own"
    )

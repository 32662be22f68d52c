from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.standalone.beats import REPEATS, Heard, Unlike, beat

SILENCE = 12.0


def heard(*nonces: str, instance: str = "a") -> Heard:
    now = Heard(0.0)
    said = ""
    for number, fresh in enumerate(nonces):
        now = beat(now, instance, said, float(number), SILENCE, fresh)
        said = now.nonce
    return now


@given(st.lists(st.booleans(), max_size=60))
def test_one_machine_is_always_believed_also_when_some_answers_are_lost(lost: list[bool]) -> None:
    known, said, gone = Heard(0.0), "", 0
    for number, one in enumerate(lost):
        known = beat(known, "a", said, float(number), SILENCE, f"n{number}")
        gone = gone + 1 if one else 0
        # After several answers in a row an agent has a new connection, and begins anew.
        said = "" if gone >= REPEATS else said if one else known.nonce
        gone %= REPEATS
    assert known.instance in ("", "a")


def test_two_that_were_one_are_found_out_soon() -> None:
    start = heard("1", "2")
    known, said = start, ["2", "2"]
    with pytest.raises(Unlike, match="copied while it ran"):
        for number in range(20):
            known = beat(known, "a", said[number % 2], float(number), SILENCE, f"f{number}")
            said[number % 2] = known.nonce
            if number % 2:
                # The second one has been away for a while, as a copy that was paused.
                said[1] = "2"


def test_another_instance_has_to_wait_until_the_first_is_silent() -> None:
    known = heard("1")
    with pytest.raises(Unlike, match="disk copied"):
        beat(known, "b", "", SILENCE, SILENCE, "2")
    assert beat(known, "b", "", SILENCE + 1, SILENCE, "2").instance == "b"


def test_an_agent_that_starts_again_begins_anew() -> None:
    known = heard("1", "2", "3")
    assert beat(known, "a", "", 5.0, SILENCE, "4").nonce == "4"


def test_who_was_silent_is_not_any_more() -> None:
    known = replace(heard("1"), silent=True)
    assert not beat(known, "a", "1", 40.0, SILENCE, "2").silent

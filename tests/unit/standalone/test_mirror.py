"""The law of the mirror: own writes and news of everybody's arrive in any order, and what is known is never older."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.ports import Entry
from gossamer.standalone.etcd.mirror import Mirror, News

KEYS = st.sampled_from(["a", "b", "c"])


def at(history: list[News], revision: int) -> dict[str, Entry]:
    """What is true of a store after a revision."""
    held: dict[str, Entry] = {}
    for one in history[:revision]:
        held.pop(one.key, None)
        if one.value is not None:
            held[one.key] = Entry(one.key, one.value, one.version)
    return held


@st.composite
def histories(draw: st.DrawFn) -> list[News]:
    """One change at each revision, from 1 on; what is not there is not deleted."""
    history: list[News] = []
    for revision in range(1, draw(st.integers(1, 12)) + 1):
        key = draw(KEYS)
        gone = key in at(history, revision) and draw(st.booleans())
        history.append(News(key, None if gone else b"%d" % revision, revision))
    return history


@given(histories(), st.lists(st.tuples(st.sampled_from(["own", "watch", "read"]), st.integers(0, 12)), max_size=20))
def test_whatever_the_order_the_newest_is_known_and_nothing_goes_back(
    history: list[News], steps: list[tuple[str, int]]
) -> None:
    mirror = Mirror()
    heard, newest = 0, dict[str, int]()
    for step, number in [*steps, *[("watch", 0)] * len(history)]:
        if step == "own":
            known = history[number : number + 1]
            mirror.wrote(known)
        elif step == "watch":
            known = history[heard : heard + 1]
            mirror.heard(known, heard + len(known))
            heard += len(known)
        else:
            heard = max(heard, min(number, len(history)))
            known = history[:heard]
            mirror.replaced(at(history, heard).values(), heard)
        for one in known:
            newest[one.key] = max(newest.get(one.key, 0), one.version)
        for key, version in newest.items():
            last = history[version - 1]
            assert mirror.read(key) == (None if last.value is None else Entry(key, last.value, version))
    assert {entry.key: entry for entry in mirror.scan("")} == at(history, len(history))


@given(histories())
def test_what_is_told_as_new_leads_from_what_was_known_to_what_is(history: list[News]) -> None:
    mirror, followed = Mirror(), dict[str, bytes]()
    for one in history:
        for news in mirror.heard([one, one], one.version):
            if news.value is None:
                del followed[news.key]
            else:
                followed[news.key] = news.value
    assert followed == {entry.key: entry.value for entry in mirror.scan("")}
    assert mirror.heard(history, len(history)) == [], "told once"

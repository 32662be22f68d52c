"""What will happen and what to look after, by one set of rules."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gossamer.identity import forecast
from gossamer.identity.forecast import DAY, Event, Facts, Span, Warning

ANCHOR = Span("root", 0.0, 3650 * DAY)
ISSUER = Span("issuer", 0.0, 365 * DAY)
FACTS = Facts([ANCHOR], ISSUER, automatic=True)


def texts(facts: Facts, now: float) -> list[str]:
    return [f"{one.level}: {one.text}" for one in forecast.warnings(facts, now)]


def test_what_replaces_itself_needs_nobody() -> None:
    assert forecast.events(FACTS, DAY) == [
        Event(365 * DAY * 2 / 3, "another issuer is made and takes over", True),
        Event(3470 * DAY, "trust anchor root is rotated", True),
    ]
    assert forecast.warnings(FACTS, 300 * DAY) == [
        Warning(
            "warning",
            "the issuer should have been replaced at 1970-09-01T08:00:00Z",
            "`gossamer logs --control-plane` says why it was not",
        )
    ]
    assert texts(FACTS, 250 * DAY) == []


def test_what_somebody_must_replace_is_warned_of_in_its_last_part() -> None:
    facts = replace(FACTS, automatic=False)
    assert texts(facts, 300 * DAY) == []
    assert texts(facts, 310 * DAY) == ["warning: the issuer ends in 55 days"]
    assert texts(facts, 365 * DAY) == ["error: the issuer ended at 1971-01-01T00:00:00Z"]
    short = replace(facts, issuer=Span("issuer", 0.0, 3 * 3600.0))
    assert texts(short, 3600.0) == []
    assert texts(short, 2.5 * 3600) == ["warning: the issuer ends in 30 minutes"]


def test_a_mesh_without_anything_valid_says_so_first() -> None:
    late = replace(FACTS, issuer=None)
    assert texts(late, 4000 * DAY)[0] == "error: no trust anchor is valid now"
    assert "error: there is no issuer: nothing can be signed" in texts(late, 4000 * DAY)
    early = replace(FACTS, issuer=Span("issuer", 10 * DAY, 20 * DAY))
    assert texts(early, DAY) == [
        "error: the issuer is not valid before 1970-01-11T00:00:00Z; is this machine's clock right?"
    ]


def test_leaves_are_told_by_name() -> None:
    leaves = [
        Span("default/old", 0.0, 100.0),
        Span("default/late", 0.0, 210.0),
        Span("default/fine", 100.0, 900.0),
        Span("default/skewed", 400.0, 900.0),
    ]
    assert texts(replace(FACTS, leaves=leaves), 200.0) == [
        "error: certificates ended: default/old",
        "warning: certificates are not renewed in time: default/late",
        "warning: certificates begin in the future: default/skewed; clocks differ",
    ]


def test_a_rotation_that_waits_long_names_whom_for() -> None:
    facts = replace(FACTS, moving=True, since=100.0, waiting=["default/web-0 (has not heard)"])
    assert texts(facts, 150.0) == []
    assert texts(facts, 200.0) == ["warning: the rotation of trust anchors waits: default/web-0 (has not heard)"]


def test_refused_files_are_errors() -> None:
    assert texts(replace(FACTS, refusals=["tls.crt: empty"]), DAY) == [
        "error: tls.crt: empty; what was used before goes on"
    ]


spans = st.builds(lambda start, life: Span("x", start, start + life), st.floats(0, 1e9), st.floats(1, 1e9))


@given(spans, spans, st.floats(0, 3e9), st.booleans())
def test_an_end_is_never_a_surprise(anchor: Span, issuer: Span, now: float, automatic: bool) -> None:
    """Whatever has ended is an error; whatever ends by a person's neglect was warned of before."""
    facts = Facts([anchor], issuer, automatic=automatic)
    levels = [one.level for one in forecast.warnings(facts, now)]
    if now >= min(anchor.not_after, issuer.not_after):
        assert "error" in levels
    for one in (anchor, issuer):
        assert one.not_before <= forecast.soon(one) <= one.not_after
        assert forecast.anchor_due(one, 180 * DAY) <= one.not_after
    assert levels == sorted(levels)

"""What will happen to certificates, when, and what should be looked after: one set of rules for `gossamer identity`,
`gossamer check` and the metrics. Pure; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

DAY = 86_400.0
# An issuer is replaced at this part of its life.
ISSUER_AGE = 2 / 3
# Nobody is warned earlier than this before an end (Linkerd's checks: 60 days), nor before the last third of a life.
SOON = 60 * DAY
LAST_PART = 1 / 3
# Of the life of a leaf, after which a renewal is overdue: sidecars ask at half to seven tenths.
OVERDUE_LEAF = 0.9
# Of a life after the moment at which it should have been replaced.
GRACE = 0.1
# Seconds after which a step of a rotation that has not ended is worth a warning.
SLOW_STEP = 60.0
# Seconds by which a sidecar's clock may differ: leaves are dated back by twenty.
SKEW = 15.0
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Span:
    """A certificate's life. `name` is what people call it."""

    name: str
    not_before: float
    not_after: float

    @property
    def life(self) -> float:
        return self.not_after - self.not_before


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the rules look at. `issuer` None: there is none. `automatic`: rotated by age, the key being here."""

    anchors: Sequence[Span]
    issuer: Span | None
    leaves: Sequence[Span] = ()
    automatic: bool = False
    # An anchor is replaced when it has less than this left.
    margin: float = 180 * DAY
    # Why a rotation does not go on, and since when the step lasts.
    moving: bool = False
    waiting: Sequence[str] = ()
    since: float = 0.0
    refusals: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Event:
    when: float
    what: str
    automatic: bool


@dataclass(frozen=True, slots=True)
class Warning:
    """`level`: "warning" or "error"."""

    level: str
    text: str
    hint: str


def issuer_due(issuer: Span) -> float:
    """When an issuer is replaced by age."""
    return issuer.not_before + issuer.life * ISSUER_AGE


def anchor_due(anchor: Span, margin: float) -> float:
    """When an anchor is replaced by age."""
    return anchor.not_after - min(margin, anchor.life * LAST_PART)


def soon(span: Span) -> float:
    """From when on the end of a certificate that nobody replaces is warned of."""
    return span.not_after - min(SOON, span.life * LAST_PART)


def events(facts: Facts, now: float) -> list[Event]:
    """Soonest first; what is overdue comes at once."""
    found = []
    if facts.issuer is not None:
        due, end = issuer_due(facts.issuer), facts.issuer.not_after
        if facts.automatic:
            found.append(Event(max(due, now), "another issuer is made and takes over", True))
        else:
            found.append(Event(end, "the issuer ends: no certificate can be signed from then on", False))
    for anchor in facts.anchors:
        due = anchor_due(anchor, facts.margin)
        if facts.automatic and not facts.moving:
            found.append(Event(max(due, now), f"trust anchor {anchor.name} is rotated", True))
        else:
            found.append(Event(anchor.not_after, f"trust anchor {anchor.name} ends", False))
    if facts.moving:
        found.append(Event(now, "the rotation of trust anchors takes its next step", not facts.waiting))
    if facts.leaves:
        first = min(facts.leaves, key=lambda one: one.not_after)
        found.append(Event(first.not_after, f"the first leaf ends, of {first.name}, unless renewed before", True))
    return sorted(found, key=lambda one: one.when)


def warnings(facts: Facts, now: float) -> list[Warning]:
    """Errors first."""
    found = [*_authorities(facts, now), *_leaves(facts.leaves, now)]
    if facts.moving and facts.waiting and now - facts.since > SLOW_STEP:
        found.append(
            Warning("warning", f"the rotation of trust anchors waits: {_named(facts.waiting)}", "`gossamer identity`")
        )
    found += [
        Warning("error", f"{refused}; what was used before goes on", "replace the file by one that can be used")
        for refused in facts.refusals
    ]
    return sorted(found, key=lambda one: one.level != "error")


def _authorities(facts: Facts, now: float) -> Iterator[Warning]:
    anchor_hint = "`gossamer identity rotate anchor`, or bring one: `gossamer identity install --trust-anchors FILE …`"
    issuer_hint = (
        "`gossamer identity rotate issuer`, or `gossamer identity csr` and `install` if its anchor is elsewhere"
    )
    usable = [one for one in facts.anchors if one.not_before <= now < one.not_after]
    if not usable:
        yield Warning("error", "no trust anchor is valid now", anchor_hint)
    for anchor in facts.anchors:
        due = anchor_due(anchor, facts.margin)
        yield from _ending(f"trust anchor {anchor.name}", anchor, due, facts.automatic, anchor_hint, now)
    if facts.issuer is None:
        yield Warning("error", "there is no issuer: nothing can be signed", issuer_hint)
    else:
        yield from _ending("the issuer", facts.issuer, issuer_due(facts.issuer), facts.automatic, issuer_hint, now)


def _ending(what: str, span: Span, due: float, automatic: bool, hint: str, now: float) -> Iterator[Warning]:
    if now >= span.not_after:
        yield Warning("error", f"{what} ended at {_moment(span.not_after)}", hint)
    elif now < span.not_before:
        start = _moment(span.not_before)
        yield Warning("error", f"{what} is not valid before {start}; is this machine's clock right?", hint)
    elif automatic and now > due + span.life * GRACE:
        yield Warning(
            "warning",
            f"{what} should have been replaced at {_moment(due)}",
            "`gossamer logs --control-plane` says why it was not",
        )
    elif not automatic and now > soon(span):
        yield Warning("warning", f"{what} ends in {_left(span.not_after - now)}", hint)


def _leaves(leaves: Iterable[Span], now: float) -> Iterator[Warning]:
    hint = "`gossamer logs WORKLOAD` says why it was not renewed"
    ended, late, early = [], [], []
    for one in leaves:
        if now >= one.not_after:
            ended.append(one.name)
        elif now > one.not_before + one.life * OVERDUE_LEAF:
            late.append(one.name)
        elif now < one.not_before - SKEW:
            early.append(one.name)
    if ended:
        yield Warning("error", f"certificates ended: {_named(ended)}", hint)
    if late:
        yield Warning("warning", f"certificates are not renewed in time: {_named(late)}", hint)
    if early:
        text = f"certificates begin in the future: {_named(early)}; clocks differ"
        yield Warning("warning", text, "set the clocks of both machines by NTP")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _left(seconds: float) -> str:
    for unit, size in (("days", DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"

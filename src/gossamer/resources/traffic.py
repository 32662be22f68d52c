"""Annotations about traffic, on services, egress networks and routes → values of the model.

`retry.linkerd.io`, `timeout.linkerd.io`, `balancer.linkerd.io` and `balancer.alpha.linkerd.io` as Linkerd reads them;
`balancer.gossamer.dev` and `retry.gossamer.dev` are ours, and what is not known of those is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gossamer.model.traffic import (
    Accrual,
    Backoff,
    Balancing,
    Consecutive,
    GrpcRetry,
    HttpRetry,
    Penalty,
    Prefer,
    Sticky,
    StickyBy,
    Timeouts,
    Traffic,
    Unified,
)
from gossamer.resources.problem import InvalidResource, Where

T = TypeVar("T")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
GRPC_CODES = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
# What a sidecar takes; beyond it the whole policy would be refused (reference §7.13).
MOST_REQUESTS, LEAST_WINDOW, MOST_MILLISECONDS = 1_000_000, 10, 2**32 - 1

_ACCRUAL = "balancer.linkerd.io/failure-accrual"
_ALPHA = "balancer.alpha.linkerd.io/"
OWN_BALANCER = "balancer.gossamer.dev/"
OWN_RETRY = "retry.gossamer.dev/"


def duration(text: str) -> int:
    """Milliseconds of "500ms", "10s", "5m", "2h", "1d"; "0" needs no unit."""
    text = text.strip()
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) * _UNITS[found[2]] > MOST_MILLISECONDS * 1_000:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]


@dataclass(slots=True)
class Annotations:
    """Those of one document; `known` are all that were asked for."""

    values: Mapping[str, str]
    where: Where
    known: set[str] = field(default_factory=set)

    def read(self, name: str, parse: Callable[[str], T], expected: str) -> T | None:
        """`parse` of an annotation; its ValueError means that the value is not `expected`."""
        self.known.add(name)
        value = self.values.get(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError:
            raise self.refuse(name, f"{value!r} is not {expected}") from None

    def milliseconds(self, name: str) -> int | None:
        return self.read(name, duration, 'a duration such as "10s" or "500ms"')

    def number(self, name: str, most: int) -> int | None:
        return self.read(name, lambda text: _whole(text, most), f"a whole number up to {most}")

    def flag(self, name: str) -> bool:
        return bool(self.read(name, _boolean, "true or false"))

    def refuse(self, name: str, message: str) -> InvalidResource:
        return InvalidResource(self.where, f"metadata.annotations.{name}", message)

    def refuse_unknown(self, *prefixes: str) -> None:
        for name in self.values:
            if name.startswith(prefixes) and name not in self.known:
                close = difflib.get_close_matches(name, sorted(self.known), 1, 0.6)
                remedy = f"did you mean {close[0]}?" if close else ""
                raise InvalidResource(self.where, f"metadata.annotations.{name}", "is not known", remedy)


def traffic(annotations: Mapping[str, str], where: Where, lenient: bool = False) -> Traffic:
    """Of a Service or EgressNetwork. `lenient`: each part that cannot be read is as if it were not there, as Linkerd
    takes objects that an API server has admitted already."""
    found = Annotations(annotations, where)

    def part(read: Callable[[Annotations], T], otherwise: T) -> T:
        try:
            return read(found)
        except InvalidResource:
            if lenient:
                return otherwise
            raise

    result = Traffic(
        part(accrual, None),
        part(penalty, None),
        part(http_retry, None),
        part(grpc_retry, None),
        part(timeouts, Timeouts()),
        part(balancing, Balancing()),
    )
    if not lenient:
        found.refuse_unknown(OWN_BALANCER)
    return result


def timeouts(found: Annotations) -> Timeouts:
    """0 is no limit."""
    request, response, idle = (
        found.milliseconds(f"timeout.linkerd.io/{name}") for name in ("request", "response", "idle")
    )
    return Timeouts(request or None, response or None, idle or None)


def http_retry(found: Annotations) -> HttpRetry | None:
    """A limit or timeout of 0 is as good as none; with neither and no conditions nothing is tried again."""
    limit, timeout = _retry(found)
    statuses = found.read("retry.linkerd.io/http", _statuses, 'a list such as "5xx,gateway-error,429,500-503"')
    if limit is None and timeout is None and statuses is None:
        return None
    return HttpRetry(limit or 1, timeout, statuses or ())


def grpc_retry(found: Annotations) -> GrpcRetry | None:
    limit, timeout = _retry(found)
    codes = found.read("retry.linkerd.io/grpc", _codes, f"a list of {', '.join(GRPC_CODES)}")
    if limit is None and timeout is None and codes is None:
        return None
    return GrpcRetry(limit or 1, timeout, codes or ())


def idempotent(found: Annotations) -> bool:
    """`retry.gossamer.dev/idempotent` of a route."""
    said = found.flag(f"{OWN_RETRY}idempotent")
    found.refuse_unknown(OWN_RETRY)
    return said


def _retry(found: Annotations) -> tuple[int | None, int | None]:
    limit = found.number("retry.linkerd.io/limit", 65_535)
    return limit or None, found.milliseconds("retry.linkerd.io/timeout") or None


def accrual(found: Annotations) -> Accrual | None:
    mode = found.read(_ACCRUAL, _mode, "consecutive or unified")
    if mode is None:
        return None
    max_failures, backoff = _consecutive(found)
    if mode == "consecutive":
        return Consecutive(max_failures, backoff)
    rate = f"{_ALPHA}failure-accrual-success-rate-"
    threshold = found.read(f"{rate}threshold", _share, "a number from 0.0 to 1.0")
    threshold = 0.8 if threshold is None else threshold
    window = _or(found.milliseconds(f"{rate}window"), 10_000)
    if window < (LEAST_WINDOW if threshold else 1):
        raise found.refuse(f"{rate}window", f"must be at least {LEAST_WINDOW}ms")
    requests = _or(found.number(f"{rate}min-requests", 2**32 - 1), 5)
    if threshold and requests > MOST_REQUESTS:
        raise found.refuse(f"{rate}min-requests", f"{requests} is more than {MOST_REQUESTS}")
    honor = found.flag(f"{_ALPHA}failure-accrual-honor-retry-after")
    return Unified(max_failures, backoff, threshold, window, requests, honor)


def _consecutive(found: Annotations) -> tuple[int, Backoff]:
    prefix = f"{_ACCRUAL}-consecutive-"
    max_failures = _or(found.number(f"{prefix}max-failures", 2**32 - 1), 7)
    maximum = _or(found.milliseconds(f"{prefix}max-penalty"), 60_000)
    minimum = _or(found.milliseconds(f"{prefix}min-penalty"), 1_000)
    jitter = found.read(f"{prefix}jitter-ratio", _jitter, "a number from 0 to 100")
    if minimum > maximum or not maximum:
        raise found.refuse(f"{prefix}max-penalty", f"{maximum}ms is shorter than the least penalty, {minimum}ms, or 0")
    return max_failures, Backoff(minimum, maximum, 0.5 if jitter is None else jitter)


def penalty(found: Annotations) -> Penalty | None:
    if not found.flag(f"{_ALPHA}penalize-failures"):
        return None
    plain = Penalty()
    of = _or(found.milliseconds(f"{_ALPHA}load-biaser-penalty"), plain.penalty)
    if of > MOST_MILLISECONDS:
        raise found.refuse(f"{_ALPHA}load-biaser-penalty", "is more than 49 days")
    return Penalty(of, _or(found.milliseconds(f"{_ALPHA}load-biaser-max-retry-after"), plain.max_retry_after))


def balancing(found: Annotations) -> Balancing:
    plain = Balancing()
    prefers = ", ".join(one.value for one in Prefer)
    prefer = found.read(f"{OWN_BALANCER}locality", lambda text: Prefer(text.strip()), f"one of {prefers}")
    return Balancing(
        found.read(f"{OWN_BALANCER}sticky", _sticky, '"source", "header:NAME", "cookie:NAME" or "cookie:NAME;1h"'),
        prefer or plain.prefer,
        _or(found.read(f"{OWN_BALANCER}panic-floor", _percent, 'a share such as "50%"'), plain.panic_floor),
        _or(found.milliseconds(f"{OWN_BALANCER}slow-start"), plain.slow_start),
    )


def _sticky(text: str) -> Sticky:
    word, _, rest = text.strip().partition(":")
    name, _, ttl = rest.partition(";")
    by = StickyBy(word)
    if (by is StickyBy.SOURCE) == bool(rest) or (ttl and by is not StickyBy.COOKIE):
        raise ValueError(text)
    if rest and not _TOKEN.fullmatch(name):
        raise ValueError(text)
    return Sticky(by, name.lower() if by is StickyBy.HEADER else name, duration(ttl) if ttl else None)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _mode(text: str) -> str:
    if text not in ("consecutive", "unified"):
        raise ValueError(text)
    return text


def _boolean(text: str) -> bool:
    if text.strip() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.strip() in _TRUE


def _whole(text: str, most: int) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > most:
        raise ValueError(text)
    return int(text)


def _number(text: str, most: float) -> float:
    value = float(text.strip())
    if not 0.0 <= value <= most:
        raise ValueError(text)
    return value


def _share(text: str) -> float:
    return _number(text, 1.0)


def _jitter(text: str) -> float:
    return _number(text, 100.0)


def _percent(text: str) -> int:
    return _whole(text.strip().removesuffix("%"), 100)


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_status(part) for part in text.split(","))


def _status(text: str) -> tuple[int, int]:
    named = {"5xx": (500, 599), "gateway-error": (502, 504)}.get(text.lower())
    if named is not None:
        return named
    if text != text.strip():
        raise ValueError(text)
    low, dash, high = text.partition("-")
    first, last = _whole(low, 599), _whole(high if dash else low, 599)
    if not 100 <= first <= last:
        raise ValueError(text)
    return first, last


def _codes(text: str) -> tuple[str, ...]:
    found = tuple(part.lower() for part in text.split(","))
    if any(one not in GRPC_CODES for one in found):
        raise ValueError(text)
    return found

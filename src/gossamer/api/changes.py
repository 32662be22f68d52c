"""Documents as they arrive → what to do with them: all of it, or problems with file, line, field and remedy. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gossamer.api.plane import Document, Plane
from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind
from gossamer.resources.metadata import key_of
from gossamer.resources.problem import InvalidResource, Where

MOST_DOCUMENTS = 10_000
STORE = "store"
# Objects made by `gossamer run` yield to declared ones of the same name (seams §23).
YIELDING = ("run",)


@dataclass(frozen=True, slots=True)
class Given:
    """One document of a request. `json` is text of one object."""

    where: Where
    json: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one object."""

    kind: Kind[Any]
    key: Key
    action: str
    value: Object | None = None
    document: Document | None = None


class Refused(Exception):
    """Nothing is done: these are wrong."""

    def __init__(self, problems: Sequence[InvalidResource]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = list(problems)


def applying(plane: Plane, given: Sequence[Given]) -> list[Step]:
    """What applying the documents does to each object. Raises Refused with every problem found."""
    steps, problems = [], []
    seen: dict[tuple[Kind[Any], Key], Where] = {}
    for one in _bounded(given):
        try:
            step = _apply(plane, one)
            first = seen.setdefault((step.kind, step.key), one.where)
            if first is not one.where:
                raise InvalidResource(one.where, "metadata.name", f"{step.key} is declared twice, also at {_at(first)}")
            steps.append(step)
        except InvalidResource as problem:
            problems.append(problem)
    if problems:
        raise Refused(problems)
    return steps


def deleting(plane: Plane, given: Sequence[Given], ignore_missing: bool = False) -> list[Step]:
    """What deleting the objects does. Raises Refused for those that are not there or are declared elsewhere."""
    steps, problems = [], []
    for one in _bounded(given):
        try:
            kind, key = key_of(_parsed(one), one.where)
            if _deletable(plane, kind, key, one.where, ignore_missing):
                steps.append(Step(kind, key, "deleted"))
        except InvalidResource as problem:
            problems.append(problem)
    if problems:
        raise Refused(problems)
    return steps


def carried_out(plane: Plane, steps: Iterable[Step]) -> None:
    """Makes it so. Raises ports.Unavailable and ports.Conflict."""
    todo = [step for step in steps if step.action != "unchanged"]
    puts = [(step.value, step.document) for step in todo if step.value is not None and step.document is not None]
    plane.declared.write(puts, [(step.kind, step.key) for step in todo if step.value is None])


def shown_kind(kind: Kind[Any]) -> str:
    """`server.policy.linkerd.io`, `service`: as kubectl prints it."""
    return f"{kind.name}.{kind.group}".lower() if kind.group else kind.name.lower()


def _bounded(given: Sequence[Given]) -> Sequence[Given]:
    if len(given) > MOST_DOCUMENTS:
        raise Refused([InvalidResource(given[0].where, "", f"more than {MOST_DOCUMENTS} documents", "apply fewer")])
    return given


def _parsed(given: Given) -> Document:
    try:
        document = json.loads(given.json)
    except (ValueError, RecursionError) as error:
        raise InvalidResource(given.where, "", f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidResource(given.where, "", "a document must be an object", "begin it with apiVersion and kind")
    return document


def _apply(plane: Plane, given: Given) -> Step:
    document = _parsed(given)
    kind, key = key_of(document, given.where)
    before = plane.declared.document(kind, key)
    stamped = _stamped(document, before, kind, key, plane.now())
    value = plane.decode(stamped, given.where)
    holder = plane.state.holder(kind, key, other_than=STORE)
    if holder is not None and holder.source not in YIELDING:
        raise InvalidResource(
            given.where, "metadata.name", f"{kind.name} {key} is also declared in {holder}", "keep one of the two"
        )
    action = "created" if before is None else "unchanged" if before == stamped else "configured"
    return Step(kind, key, action, value, stamped)


def _stamped(document: Document, before: Document | None, kind: Kind[Any], key: Key, now: float) -> Document:
    """With its namespace, and the time it was first applied: of two Servers on one port the older one decides."""
    metadata = dict(document["metadata"])
    if kind.namespaced:
        metadata["namespace"] = key.namespace
    if "creationTimestamp" not in metadata:
        kept = (before or {}).get("metadata", {}).get("creationTimestamp")
        metadata["creationTimestamp"] = kept or datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    stamped = {**document, "metadata": metadata}
    stamped.pop("status", None)
    return stamped


def _deletable(plane: Plane, kind: Kind[Any], key: Key, where: Where, ignore_missing: bool) -> bool:
    if plane.declared.document(kind, key) is not None:
        return True
    holder = plane.state.holder(kind, key, other_than=STORE)
    if holder is None:
        if ignore_missing:
            return False
        raise InvalidResource(where, "metadata.name", f"{kind.name} {key} not found")
    remedy = "it goes with its last workload" if holder.source in YIELDING else "delete it there"
    raise InvalidResource(where, "metadata.name", f"{kind.name} {key} is declared in {holder}", remedy)


def _at(where: Where) -> str:
    return f"{where.source}:{where.line}" if where.line else where.source

"""What is said to etcd and heard from it: values, and their JSON (etcd's rpc.proto through grpc-gateway).

Pure. Keys and values are bytes; in JSON they are base64, and 64-bit numbers are text.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Fact = Literal["MOD", "CREATE", "VALUE"]
# Answers of gRPC that say nothing of whether a request was carried out: deadline exceeded, internal, unavailable.
UNKNOWN = frozenset({2, 4, 13, 14})
UNAUTHENTICATED = 16


class Failed(Exception):
    """Nothing was done, and the message says why."""


class Unreachable(Failed):
    """No member could be asked."""


class Rejected(Failed):
    """A member answered with an error. `code` is gRPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unanswered(Exception):
    """A request was sent and nobody knows whether it was carried out."""


class Compacted(Exception):
    """The history from that revision on is gone: read everything anew."""


@dataclass(frozen=True, slots=True)
class Item:
    """A key as stored. `revision`: that of its last change; `created`: of its creation."""

    key: bytes
    value: bytes
    revision: int
    created: int


@dataclass(frozen=True, slots=True)
class Compare:
    """That a fact about a key equals this: `MOD` and `CREATE` are revisions, 0 where the key is absent."""

    key: bytes
    fact: Fact
    equals: int | bytes


@dataclass(frozen=True, slots=True)
class Put:
    key: bytes
    value: bytes
    # Gone when this lease ends; 0: stays.
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: bytes


@dataclass(frozen=True, slots=True)
class Get:
    key: bytes


Operation = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Page:
    """Items of one revision of the whole store, by key. `more`: there are others behind."""

    items: tuple[Item, ...]
    revision: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`found` holds what the `Get`s of the branch that was taken found."""

    succeeded: bool
    revision: int
    found: Mapping[bytes, Item]


@dataclass(frozen=True, slots=True)
class Change:
    """`item` None: deleted at `revision`."""

    key: bytes
    item: Item | None
    revision: int


@dataclass(frozen=True, slots=True)
class Heard:
    """Changes in the order of revisions; everything up to `revision` has been said. 0: that is not known, as in the
    first message of a watch and in a part of a larger one. (A message's header tells where etcd is, not the watch.)"""

    changes: tuple[Change, ...]
    revision: int


def text(data: bytes) -> str:
    return b64encode(data).decode()


def transaction(compares: Iterable[Compare], then: Iterable[Operation], otherwise: Iterable[Operation]) -> bytes:
    return dump(
        {
            "compare": [_compare(one) for one in compares],
            "success": [_operation(one) for one in then],
            "failure": [_operation(one) for one in otherwise],
        }
    )


def outcome(answer: Mapping[str, Any]) -> Outcome:
    found: dict[bytes, Item] = {}
    for response in answer.get("responses", ()):
        for one in (response.get("response_range") or {}).get("kvs", ()):
            item = _item(one)
            found[item.key] = item
    return Outcome(bool(answer.get("succeeded")), _revision(answer), found)


def page(answer: Mapping[str, Any]) -> Page:
    items = tuple(_item(one) for one in answer.get("kvs", ()))
    return Page(items, _revision(answer), bool(answer.get("more")))


def heard(answer: Mapping[str, Any]) -> Heard:
    """One message of a watch. Raises `Compacted`, or `Rejected` when the watch was ended."""
    if answer.get("canceled"):
        if int(answer.get("compact_revision", 0)):
            raise Compacted
        raise Rejected(14, answer.get("cancel_reason") or "the watch was ended")
    changes = tuple(_change(one) for one in answer.get("events", ()))
    complete = changes and not answer.get("fragment")
    return Heard(changes, changes[-1].revision if complete else 0)


def dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def last(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with `prefix`, which does not end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _compare(one: Compare) -> dict[str, Any]:
    field, value = {
        "MOD": ("mod_revision", str(one.equals)),
        "CREATE": ("create_revision", str(one.equals)),
        "VALUE": ("value", text(one.equals) if isinstance(one.equals, bytes) else ""),
    }[one.fact]
    return {"key": text(one.key), "target": one.fact, "result": "EQUAL", field: value}


def _operation(one: Operation) -> dict[str, Any]:
    match one:
        case Put(key, value, lease):
            held = {"lease": str(lease)} if lease else {}
            return {"request_put": {"key": text(key), "value": text(value), **held}}
        case Delete(key):
            return {"request_delete_range": {"key": text(key)}}
        case Get(key):
            return {"request_range": {"key": text(key)}}


def _change(event: Mapping[str, Any]) -> Change:
    item = _item(event["kv"])
    # A put is the type's default, which the gateway leaves out.
    gone = event.get("type") == "DELETE"
    return Change(item.key, None if gone else item, item.revision)


def _item(held: Mapping[str, Any]) -> Item:
    return Item(
        b64decode(held.get("key", "")),
        b64decode(held.get("value", "")),
        int(held.get("mod_revision", 0)),
        int(held.get("create_revision", 0)),
    )


def _revision(answer: Mapping[str, Any]) -> int:
    return int((answer.get("header") or {}).get("revision", 0))

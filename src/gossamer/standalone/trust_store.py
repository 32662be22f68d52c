"""The mesh's trust in the store: one value, changed by compare-and-swap, so that a rotation goes on where it was."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from gossamer.identity.revocation import Revoked
from gossamer.identity.rotation import Phase, Trusted
from gossamer.model.mesh import Revocation
from gossamer.ports import Conflict, Store, Unavailable, Write

KEY = "trust/state"
# Attempts before somebody else's changes are more than this process can keep up with.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything sidecars are told of trust, and what is needed to go on."""

    trusted: Trusted
    revoked: tuple[Revoked, ...] = ()
    # What was last taken from files: digests of the anchors and of the issuer. Only what differs is news.
    files: tuple[str, str] = ("", "")


class TrustStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = 0

    def read(self) -> Kept | None:
        """What is stored now. Raises `Unavailable` when another version of Gossamer wrote it in other words."""
        entry = self._store.read(KEY)
        self._version = entry.version if entry is not None else 0
        if entry is None:
            return None
        try:
            return decoded(json.loads(entry.value))
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"the store's {KEY} cannot be read ({error}); was it written by a newer version?"
            ) from None

    def generation_before(self) -> int:
        """Of a store that counted sets of anchors and kept nothing else; 0 where there is none."""
        entry = self._store.read("mesh/bundle")
        return int(entry.value.decode().rpartition(" ")[2]) if entry is not None else 0

    def start(self, kept: Kept) -> Kept:
        """Stores the first value. Another process's first value wins."""
        with suppress(Conflict):
            self._store.commit([Write(KEY, encoded(kept), expected=0)])
        return self.read() or kept

    def change(self, decide: Callable[[Kept], Kept]) -> Kept:
        """Stores what `decide` makes of the stored value, deciding again when somebody was quicker."""
        for _ in range(ATTEMPTS):
            before = self.read()
            if before is None:
                raise Unavailable(f"the store has lost {KEY}; restore it from a backup")
            after = decide(before)
            if after == before:
                return before
            try:
                self._store.commit([Write(KEY, encoded(after), expected=self._version)])
            except Conflict:
                continue
            return after
        raise Unavailable(f"{KEY} is being changed by others all the time")


def encoded(kept: Kept) -> bytes:
    one = kept.trusted
    document = {
        "anchors": [b64encode(der).decode() for der in one.anchors],
        "added": one.added,
        "wanted": [name.hex() for name in one.wanted],
        "active": one.active.hex(),
        "target": one.target.hex(),
        "generation": one.generation,
        "phase": one.phase.value,
        "activated": one.activated,
        "since": one.since,
        "used": [name.hex() for name in one.used],
        "permitted": one.permitted.value,
        "before": [name.hex() for name in one.before],
        "renew_within": one.renew_within,
        "revoked": [
            {
                "identity": each.revocation.identity,
                "issued_before": each.revocation.issued_before,
                "serials": [serial.hex() for serial in each.revocation.serials],
                "subject": each.subject,
                "barred": each.barred,
                "when": each.when,
                "forget": each.forget,
            }
            for each in kept.revoked
        ],
        "files": kept.files,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decoded(document: dict[str, Any]) -> Kept:
    def names(field: str) -> tuple[bytes, ...]:
        return tuple(bytes.fromhex(text) for text in document[field])

    trusted = Trusted(
        anchors=tuple(b64decode(text) for text in document["anchors"]),
        added=tuple(document["added"]),
        wanted=names("wanted"),
        active=bytes.fromhex(document["active"]),
        target=bytes.fromhex(document["target"]),
        generation=document["generation"],
        phase=Phase(document["phase"]),
        activated=document["activated"],
        since=document["since"],
        used=names("used"),
        permitted=Phase(document["permitted"]),
        before=names("before"),
        renew_within=document["renew_within"],
    )
    revoked = tuple(
        Revoked(
            Revocation(
                one["identity"], one["issued_before"], tuple(bytes.fromhex(serial) for serial in one["serials"])
            ),
            one["subject"],
            tuple(one["barred"]),
            one["when"],
            one["forget"],
        )
        for one in document["revoked"]
    )
    anchors, issuer = document["files"]
    return Kept(trusted, revoked, (anchors, issuer))


def bumped(kept: Kept, revoked: tuple[Revoked, ...]) -> Kept:
    """With other revocations, which is another generation."""
    if tuple(one.revocation for one in revoked) == tuple(one.revocation for one in kept.revoked):
        return replace(kept, revoked=revoked)
    return replace(kept, trusted=replace(kept.trusted, generation=kept.trusted.generation + 1), revoked=revoked)

"""What people may ask of certificates, done: the api.lifecycle.Lifecycle of a mesh on one machine or several."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gossamer.identity import issuance, revocation, shown
from gossamer.identity.forecast import anchor_due, issuer_due
from gossamer.identity.issuance import Entry
from gossamer.identity.material import Unusable
from gossamer.identity.revocation import Revoked
from gossamer.identity.rotation import CannotMove
from gossamer.identity.shown import Authority, Leaf, NotFound, Shown
from gossamer.model.mesh import Mesh, Revocation
from gossamer.ports import Unavailable
from gossamer.standalone.issuance import IssuanceLog
from gossamer.standalone.registration import Registration
from gossamer.standalone.signer import Signer
from gossamer.standalone.trust_root import Heard
from gossamer.standalone.trust_store import bumped
from gossamer.standalone.trustee import Trustee

# A rotation by age that failed is not tried again before so many seconds.
PATIENCE = 60.0

_log = logging.getLogger("gossamer.identity")


class Lifecycle:
    def __init__(
        self,
        trustee: Trustee,
        signer: Signer,
        log: IssuanceLog,
        mesh: Mesh,
        registrations: Callable[[], Sequence[Registration]],
        heard: Heard,
        clock: Callable[[], float],
    ) -> None:
        self._trustee = trustee
        self._signer = signer
        self._log = log
        self._mesh = mesh
        self._registrations = registrations
        self._heard = heard
        self._clock = clock
        self._next_try = 0.0
        self.ended: Callable[[str], None] = lambda identity: None
        """Told of an identity all whose certificates are revoked. The composition root sets it."""

    def show(self) -> Shown:
        trustee, now = self._trustee, self._clock()
        return shown.shown(
            self._mesh.trust_domain,
            trustee.trusted,
            trustee.issuers,
            list(self._leaves(now)),
            trustee.waiting(),
            trustee.kept.revoked,
            [f"{where}: {why}" for where, why in trustee.refusals.now.items()],
            self.automatic,
            trustee.terms.margin,
            now,
        )

    @property
    def automatic(self) -> bool:
        """Whether issuer and anchor are replaced by age: where that is wanted and the anchor's key is here."""
        return self._trustee.terms.automatic and self._trustee.own_anchor

    def metrics(self) -> str:
        counted = {
            "gossamer_identity_issued_total": ("Certificates signed since the start.", self._signer.issued),
            "gossamer_identity_refused_total": ("Requests for certificates refused.", self._signer.refused),
            "gossamer_identity_refused_files_total": ("Times that files were refused.", self._trustee.refusals.count),
        }
        return shown.metrics(self.show(), counted)

    async def by_age(self) -> None:
        """Replaces what is due. Called every few seconds."""
        now = self._clock()
        self._log.forget(now)
        trusted = self._trustee.trusted
        early = now < self._next_try <= now + PATIENCE
        if not self.automatic or trusted.moving or early:
            return
        try:
            anchor = next((one for one in shown.anchors(trusted) if one.role == "active"), None)
            issuers = [shown.issuer(one, trusted.active) for one in self._trustee.issuers]
            issuer = next((one for one in issuers if one.role == "in use"), None)
            if anchor is not None and now >= anchor_due(shown.span(anchor), self._trustee.terms.margin):
                _log.info("trust anchor %s is rotated by its age", anchor.subject)
                await self._trustee.rotate_anchor(by_hand=False)
            elif issuer is not None and now >= issuer_due(shown.span(issuer)):
                _log.info("the issuer is replaced by its age")
                await self._trustee.rotate_issuer()
        except (Unavailable, Unusable, CannotMove) as error:
            self._next_try = now + PATIENCE
            _log.error("replacing certificates by age: %s", error)

    async def rotate_issuer(self) -> Authority:
        return shown.issuer(await self._trustee.rotate_issuer(), self._trustee.trusted.active)

    async def rotate_anchor(self, step: bool) -> None:
        await self._trustee.rotate_anchor(step)

    def abort(self) -> None:
        self._trustee.abort()

    def request(self) -> bytes:
        return self._trustee.request()

    def install(self, certificate: bytes, key: bytes, anchors: bytes) -> Authority:
        return shown.issuer(self._trustee.install(certificate, key, anchors), self._trustee.trusted.active)

    def revoke(self, subject: str, namespace: str, undo: bool) -> Revoked:
        if undo:
            return self._undone(subject, namespace)
        now = self._clock()
        name = subject if "/" in subject or "." in subject else f"{namespace}/{subject}"
        registrations = self._registrations()
        one = next((each for each in registrations if str(each.key) == name), None)
        if one is not None:
            new = self._of_workload(one, registrations, now)
        else:
            new = self._of_identity(name, registrations, now)
        self._trustee.change(lambda kept: bumped(kept, revocation.added(kept.revoked, new)))
        if one is None:
            self.ended(new.revocation.identity)
        _log.warning("%s is revoked: %d certificates named", new.subject, len(new.revocation.serials))
        return new

    def log(self, lines: int) -> Sequence[bytes]:
        return [text.rstrip(b"\n") for text in deque(self._log.lines(), maxlen=lines)]

    def verify(self) -> tuple[int, int]:
        lines = list(self._log.lines())
        return len(lines), issuance.broken(lines) or 0

    def _undone(self, subject: str, namespace: str) -> Revoked:
        names = (subject, f"{namespace}/{subject}")
        held = next((one for one in self._trustee.kept.revoked if one.subject in names), None)
        if held is None:
            raise NotFound(f"{subject} is not revoked; `gossamer identity` lists what is")
        self._trustee.change(lambda kept: bumped(kept, revocation.without(kept.revoked, held.subject)))
        _log.warning("%s is no longer revoked", held.subject)
        return held

    def _of_workload(self, one: Registration, registrations: Sequence[Registration], now: float) -> Revoked:
        """Its certificates by their serials. Where the log cannot tell replicas apart, those of nobody else known."""
        identity = one.identity(self._mesh)
        name = str(one.key)
        others = [each for each in registrations if each.identity(self._mesh) == identity and each is not one]
        if not others:
            return replace(self._of_identity(identity, registrations, now), subject=name)
        theirs = {self._serial(each) for each in others}
        valid = list(self._log.of(identity, now))
        mine = [each for each in valid if (each.session or self._guessed(each, theirs, one)) == one.session]
        serials = {entry.serial for entry in mine} | {self._serial(one)} - {""}
        forget = max([now + self._longest(), *(entry.not_after for entry in mine)])
        revoked = Revocation(identity, 0, tuple(map(revocation.serial_of, sorted(serials))))
        return Revoked(revoked, name, (one.session,), now, forget)

    def _of_identity(self, identity: str, registrations: Sequence[Registration], now: float) -> Revoked:
        """Everything issued up to now. `notBefore` lies `skew` before the moment of issue."""
        held = [one for one in registrations if one.identity(self._mesh) == identity]
        valid = list(self._log.of(identity, now))
        if not held and not valid:
            raise NotFound(
                f"nothing goes by {identity}: neither a workload nor a valid certificate; see `gossamer identity`"
            )
        before = int(now - self._trustee.terms.skew) + 1
        forget = max([now + self._longest(), *(entry.not_after for entry in valid)])
        return Revoked(Revocation(identity, before), identity, tuple(one.session for one in held), now, forget)

    @staticmethod
    def _guessed(entry: Entry, theirs: set[str], one: Registration) -> str:
        """Whose a certificate is of which the log does not know: the one's, unless another sidecar says it holds it."""
        return "" if entry.serial in theirs else one.session

    def _longest(self) -> float:
        """How long a certificate that was signed just now may be valid anywhere."""
        return self._trustee.terms.leaf + 2 * self._trustee.terms.skew

    def _serial(self, one: Registration) -> str:
        told = self._heard(one.key.namespace, one.name)
        if told is None or told.when < one.started:
            return ""
        return told.identity.serial.hex().lstrip("0")

    def _leaves(self, now: float) -> Iterator[Leaf]:
        revoked = self._trustee.kept.revoked
        front = self._mesh.front
        told = self._heard(front.namespace, front.name)
        said, when = (told.identity, told.when) if told is not None else (None, 0.0)
        yield shown.leaf(str(front), self._mesh.control_identity, said, when, revoked, now)
        for one in sorted(self._registrations(), key=lambda each: each.key):
            told = self._heard(one.key.namespace, one.name)
            if told is not None and told.when < one.started:
                told = None
            when = told.when if told is not None else 0.0
            said = told.identity if told is not None else None
            yield shown.leaf(str(one.key), one.identity(self._mesh), said, when, revoked, now)

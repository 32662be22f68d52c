"""The mesh's trust as it lives: issuers from files, anchors from the store, the bundle that sidecars are told.

What it takes over, it has checked first; what it refuses changes nothing and is said. Each change goes out in one
order: the store, the file that sidecars begin with, the stream, and only then certificates are signed accordingly. It
never opens an anchor's key: other processes do (`keys`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.identity import material, revocation, rotation
from gossamer.identity.authority import Authority, Issuer, from_timestamp
from gossamer.identity.material import Unusable
from gossamer.identity.rotation import CannotMove, Live, Phase, Trusted
from gossamer.model.mesh import Bundle, Mesh
from gossamer.ports import Store, Unavailable
from gossamer.standalone.issuer_files import Brought, IssuerFiles, Moving, Signature
from gossamer.standalone.keys import KeyFiles, write_anchors
from gossamer.standalone.trust_store import Kept, TrustStore

PERIOD = 0.25
# Files that were refused are looked at again after so many seconds: a certificate may have become valid.
AGAIN = 5.0
# How far behind the sidecars a backup may be, in generations, and how often that is made up for, in seconds.
FURTHEST = 1_000_000
SELDOM = 60.0
# Sidecars that may ask for a certificate at once: the rest of them is spread over time.
AT_ONCE = 100
SHORTEST_RENEWAL = 2

_log = logging.getLogger("gossamer.identity")


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things live, in seconds, and what happens by itself."""

    leaf: float
    skew: float
    issuer: float
    anchor: float
    # Rotate by age.
    automatic: bool = True
    # An anchor is replaced when it has less than this left, or a third of its life if that is less.
    margin: float = 180 * 86_400.0


@dataclass(slots=True)
class Refusals:
    """What is wrong with files now, and how often something was refused since the start."""

    now: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def say(self, where: str, why: str) -> None:
        if self.now.get(where) != why:
            self.count += 1
            _log.error("%s: %s; what was used before goes on", where, why)
        self.now[where] = why

    def clear(self, where: str) -> None:
        if self.now.pop(where, None) is not None:
            _log.info("%s: all is well again", where)


class Trustee:
    """`live` tells every sidecar that counts; `publish` takes each new bundle."""

    def __init__(
        self,
        store: Store,
        keys: KeyFiles,
        brought: IssuerFiles | None,
        mesh: Mesh,
        anchors_file: Path,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self.terms = terms
        self.keys = keys
        self.refusals = Refusals()
        self.issued_since = 0.0
        self.live: Callable[[], Sequence[Live]] = tuple
        self.registered: Callable[[], set[str]] = set
        # Whether this is the control plane that advances rotations.
        self.leads: Callable[[], bool] = lambda: True
        # Called when other registrations are barred than before.
        self.judge: Callable[[], None] = lambda: None
        self.publish: Callable[[Bundle], None] = lambda bundle: None
        self._store = TrustStore(store)
        self._brought = brought
        self._mesh = mesh
        self._anchors_file = anchors_file
        self._clock = clock
        self._issuers: dict[bytes, Issuer] = {}
        self._seen: Signature | None = None
        self._doubted: Signature | None = None
        self._looked = 0.0
        self._caught_up = 0.0
        self._making = asyncio.Lock()
        self._written = 0
        self._kept = self._start()
        if not self.trusted.moving and self.keys.next() is not None:
            self._settled()
        self._say()

    # What is true now.

    @property
    def kept(self) -> Kept:
        return self._kept

    @property
    def trusted(self) -> Trusted:
        return self._kept.trusted

    @property
    def bundle(self) -> Bundle:
        told = revocation.told(self._kept.revoked, self._clock())
        return rotation.bundle(self.trusted, self._mesh.trust_domain, told)

    @property
    def authority(self) -> Authority:
        """Signs under the active anchor only."""
        issuer = self._issuers.get(self.trusted.active)
        return Authority(
            (issuer,) if issuer is not None else (),
            timedelta(seconds=self.terms.leaf),
            timedelta(seconds=self.terms.skew),
        )

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """The one in use first."""
        active = self.trusted.active
        return tuple(one for _, one in sorted(self._issuers.items(), key=lambda pair: pair[0] != active))

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        return tuple(map(x509.load_der_x509_certificate, self.trusted.anchors))

    @property
    def brings(self) -> bool:
        """Somebody else makes the issuer."""
        return self._brought is not None

    @property
    def own_anchor(self) -> bool:
        """The anchor was made here and its key is here."""
        return self._brought is None and self.keys.anchor_key

    def waiting(self) -> tuple[rotation.Waiting, ...]:
        return rotation.waiting(self.trusted, self.live(), self._ready())

    # As time goes by.

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                self.look()
                self.step()
            except Unavailable as error:
                _log.warning("trust cannot change now: %s", error)

    def refresh(self) -> None:
        """Another control plane has changed what is stored."""
        kept = self._store.read()
        if kept is None or kept == self._kept:
            return
        before, self._kept = self._kept, kept
        if kept.trusted.target not in self._issuers:
            self._load_next()
        if before.trusted.moving and not kept.trusted.moving:
            if kept.trusted.active in self._issuers:
                self._settled()
            else:
                # What is in the files is of before, and no wish of anybody's; the new ones come from where it ended.
                self._seen = self._source.signature()
        self._say()
        self._tell(before.trusted)
        if kept.revoked != before.revoked:
            self.judge()

    def look(self) -> None:
        """Takes over files that were replaced, if they can be used."""
        source = self._source
        signature = source.signature()
        now = self._clock()
        again = bool(self.refusals.now) and abs(now - self._looked) >= AGAIN
        if signature == self._seen and not again:
            return
        self._looked = now
        try:
            brought = source.read()
            wanted, issuer = self._checked(brought)
        except Moving:
            return
        except (Unavailable, Unusable) as error:
            # Files that are written one after another belong together a moment later.
            if signature != self._doubted and not again:
                self._doubted = signature
                return
            self._seen = signature
            self.refusals.say(source.where, str(error))
            return
        try:
            self._take(brought, wanted, issuer)
        except CannotMove as error:
            self.refusals.say(source.where, str(error))
        else:
            self.refusals.clear(source.where)
            signature = self._seen if self._brought is None and self._seen is not None else signature
        self._seen = signature

    def step(self) -> None:
        """Goes on with a rotation, and forgets revocations that nothing is left of."""
        if self.trusted.moving and self.trusted.target not in self._issuers:
            # Made at another replica, perhaps.
            self._load_next()
        if not self.leads():
            return
        now = self._clock()
        live = self.live()
        self._catch_up(max((one.generation for one in live), default=0), now)
        moving = self.trusted.moving
        if moving:
            within = max(SHORTEST_RENEWAL, min(len(live) // AT_ONCE, int(self.terms.leaf / 3)))
            self.change(
                lambda kept: replace(
                    kept, trusted=rotation.advance(kept.trusted, live, self._ready(), self._clock(), within)
                )
            )
        if moving != self.trusted.moving:
            self._settled()
        if any(now >= one.forget for one in self._kept.revoked):
            self.change(self._remembered)

    def _catch_up(self, heard: int, now: float) -> None:
        """Goes on counting after a restore from a backup: sidecars follow larger generations only.

        What a sidecar says is believed within reason, and seldom: each new generation goes to all of them.
        """
        ours = self.trusted.generation
        if not ours < heard < ours + FURTHEST or abs(now - self._caught_up) < SELDOM:
            return
        self._caught_up = now
        _log.warning("sidecars know generation %d of trust, this control plane %d: it goes on from theirs", heard, ours)
        self.change(lambda kept: replace(kept, trusted=replace(kept.trusted, generation=heard + 1)))

    # What people ask for. Raise Unavailable, Unusable or CannotMove in one line.

    async def rotate_issuer(self) -> Issuer:
        """Another issuer under the same anchor."""
        if self._brought is not None:
            raise CannotMove(f"the issuer is brought in {self._brought.where}: replace that file, it is watched")
        async with self._making:
            if self.trusted.moving:
                raise CannotMove("trust anchors are being rotated, the issuer with them: `gossamer identity`")
            common = f"identity.{self._mesh.control_namespace}.{self._mesh.trust_domain}"
            made = await self.keys.new_issuer(common, self.terms.issuer)
            return self._install(made, made)

    async def rotate_anchor(self, by_hand: bool) -> None:
        """Begins to rotate the anchor; one that is under way gets the next word."""
        if self.trusted.moving:
            self.change(lambda kept: replace(kept, trusted=rotation.permit(kept.trusted, everything=not by_hand)))
            self.step()
            return
        if self._brought is not None:
            raise CannotMove(
                f"the trust anchors are brought in {self._brought.anchors}: replace that file, it is watched"
            )
        async with self._making:
            self.keys.drop_next()
            await self.keys.new_anchor(
                self._mesh.control_namespace, self._mesh.trust_domain, self.terms.anchor, self.terms.issuer
            )
            anchor = self._load_next()
            if anchor is None:
                raise Unavailable("the new anchor is gone; try again")
            der = anchor.public_bytes(serialization.Encoding.DER)
            self.change(
                lambda kept: replace(
                    kept, trusted=rotation.follow(kept.trusted, [der], rotation.name_of(der), self._clock(), by_hand)
                )
            )
        self.step()

    def abort(self) -> None:
        self.change(lambda kept: replace(kept, trusted=rotation.abort(kept.trusted, self._clock())))
        self.step()

    def request(self) -> bytes:
        """A signing request (PEM) for another issuer; its key stays here until the certificate is installed."""
        held = self.keys.request_key()
        if held is None:
            key = ec.generate_private_key(ec.SECP256R1())
            held = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self.keys.keep_request_key(held)
        private = serialization.load_pem_private_key(held, password=None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        common = f"identity.{self._mesh.control_namespace}.{self._mesh.trust_domain}"
        built = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)

    def install(self, certificate: bytes, key: bytes, anchors: bytes) -> Issuer:
        """An issuer signed elsewhere, under an anchor of `anchors` (PEM) or, without them, of the mesh."""
        if self._brought is not None:
            raise CannotMove(f"the issuer is brought in {self._brought.where}: replace that file, it is watched")
        held = key or self.keys.request_key()
        if held is None:
            raise CannotMove("there is no key for it: give --key FILE, or begin with `gossamer identity csr`")
        issuer = self._install(certificate, held, anchors)
        if not key:
            self.keys.drop_request_key()
        return issuer

    def change(self, decide: Callable[[Kept], Kept]) -> Kept:
        """Changes what is stored, and says it if it is news."""
        before = self._kept
        self._kept = self._store.change(decide)
        if self._kept != before:
            self._say()
            self._tell(before.trusted)
        if self._kept.revoked != before.revoked:
            self.judge()
        return self._kept

    # Between the parts.

    @property
    def _source(self) -> IssuerFiles:
        return self._brought or self.keys.files

    def _start(self) -> Kept:
        """What was stored, or the first value, with the issuers there are. Raises `Unusable` when none can be used."""
        held = self._store.read()
        if held is not None:
            self._kept = held
            self._load_next()
        try:
            brought = self._source.read()
            wanted, issuer = self._checked(brought)
        except (Unavailable, Unusable, Moving) as error:
            if held is None or not self._load_last():
                raise Unusable(str(error) or f"{self._source.where} is being replaced; try again") from error
            if not self._healed():
                self.refusals.say(self._source.where, str(error))
            return self._store.read() or held
        name = rotation.name_of(_der(issuer.anchor))
        self._issuers.setdefault(name, issuer)
        self._seen = self._source.signature()
        ders = [_der(one) for one in wanted]
        if held is None:
            self.keys.keep_issuer(_chain(issuer), brought.key)
            self.keys.keep_anchors(b"".join(map(_pem, wanted)))
            generation = max(1, self._store.generation_before())
            first = rotation.first(ders, name, self._clock(), generation)
            return self._store.start(Kept(first, files=self._source.read().digests))
        self._load_last()
        if held.trusted.active not in self._issuers and held.trusted.target not in self._issuers:
            # The keys are others than those of the store: restored from elsewhere, or made anew.
            _log.warning("no issuer of the trust this mesh had is here: certificates come from the new one at once")
            every = [*held.trusted.anchors, *(one for one in ders if one not in held.trusted.anchors)]
            first = rotation.first(every, name, self._clock(), held.trusted.generation + 1)
            return self._store.change(lambda kept: replace(kept, trusted=first, files=brought.digests))
        try:
            return self._followed(brought, wanted, name)
        except CannotMove as error:
            self.refusals.say(self._source.where, str(error))
            return held

    def _followed(self, brought: Brought, wanted: Sequence[x509.Certificate], issuer: bytes) -> Kept:
        """Sets out for what files say, as far as it is news. Raises `CannotMove`."""
        digests = brought.digests

        def decide(kept: Kept) -> Kept:
            if kept.files == digests:
                return kept
            trusted = kept.trusted
            if kept.files[0] != digests[0]:
                ders = [_der(one) for one in wanted]
                trusted = rotation.follow(trusted, ders, issuer, self._clock())
            elif issuer not in (trusted.active, trusted.target):
                ders = [one for one in trusted.anchors if rotation.name_of(one) in trusted.wanted]
                trusted = rotation.follow(trusted, ders, issuer, self._clock())
            return replace(kept, trusted=trusted, files=digests)

        return self._store.change(decide)

    def _checked(self, brought: Brought) -> tuple[tuple[x509.Certificate, ...], Issuer]:
        """Everything is checked before anything is believed. Raises `Unusable`."""
        now = from_timestamp(self._clock())
        wanted = self._valid_anchors(brought.anchors, now)
        return wanted, material.issuer(brought.certificate, brought.key, wanted, now)

    def _valid_anchors(self, pem: bytes, now: datetime) -> tuple[x509.Certificate, ...]:
        """Anchors that have expired trust nobody and are left out, as long as another is there."""
        found = material.certificates(pem, "the trust anchors")
        valid = [one for one in found if now < one.not_valid_after_utc]
        if valid and len(valid) < len(found):
            pem = b"".join(map(_pem, valid))
        return material.anchors(pem, now)

    def _take(self, brought: Brought, wanted: Sequence[x509.Certificate], issuer: Issuer) -> None:
        name = rotation.name_of(_der(issuer.anchor))
        old = self._kept
        self._kept = self._followed(brought, wanted, name)
        known = self._issuers.get(name)
        self._issuers[name] = issuer
        if known is None or known.certificate != issuer.certificate:
            _log.info("issuer %s, valid until %s, from %s", _serial(issuer), issuer.not_after, brought.where)
            if name == self.trusted.active:
                self._keep(issuer)
        if self._kept != old:
            self._say()
            self._tell(old.trusted)

    def _install(self, certificate: bytes, key: bytes, anchors: bytes = b"") -> Issuer:
        """Takes over an issuer that no file holds yet."""
        now = from_timestamp(self._clock())
        wanted = self._valid_anchors(anchors, now) if anchors else self.anchors
        issuer = material.issuer(certificate, key, wanted, now)
        name = rotation.name_of(_der(issuer.anchor))
        if anchors or name != self.trusted.active:
            ders = [_der(one) for one in wanted] if anchors else self._wanted()
            # Before it is trusted it must be on disk, or an interruption would leave a rotation without an issuer.
            self.keys.keep_next(_pem(issuer.anchor), _chain(issuer), _pem_key(issuer))
            self._issuers[name] = issuer
            self.change(lambda kept: replace(kept, trusted=rotation.follow(kept.trusted, ders, name, self._clock())))
            self.step()
        else:
            self._issuers[name] = issuer
            self._keep(issuer)
        _log.info("issuer %s, valid until %s", _serial(issuer), issuer.not_after)
        return issuer

    def _keep(self, issuer: Issuer) -> None:
        """On disk, so that it is there at the next start; what this writes is no news."""
        self.keys.keep_issuer(_chain(issuer), _pem_key(issuer))
        if self._brought is None:
            self._own_files()
        else:
            self.keys.keep_anchors(self._pem())

    def _own_files(self) -> None:
        self._seen = self._source.signature()
        digests = self._source.read().digests
        self._kept = self._store.change(lambda kept: replace(kept, files=digests))
        self.refusals.clear(self._source.where)

    def _wanted(self) -> list[bytes]:
        return [one for one in self.trusted.anchors if rotation.name_of(one) in self.trusted.wanted]

    def _load_last(self) -> bool:
        """The issuer last signed with, where the files no longer hold one."""
        held = self.keys.last()
        if held is None:
            return False
        try:
            issuer = material.issuer(held, held, self.anchors, from_timestamp(self._clock()))
        except Unusable as error:
            _log.warning("the issuer last used cannot be used: %s", error)
            return False
        self._issuers.setdefault(rotation.name_of(_der(issuer.anchor)), issuer)
        return True

    def _healed(self) -> bool:
        """Whether the files were but half written by this process when it was killed; then they are written again."""
        held = self.keys.last()
        if self._brought is not None or held is None:
            return False
        try:
            ours = held.endswith(self.keys.issuer()[1])
        except Unavailable:
            return False
        issuer = next((one for one in self._issuers.values() if held.startswith(_pem(one.certificate))), None)
        if not ours or issuer is None:
            return False
        self.keys.keep_issuer(_chain(issuer), _pem_key(issuer))
        self._own_files()
        return True

    def _load_next(self) -> x509.Certificate | None:
        """The anchor of CA/next, with the issuer under it."""
        held = self.keys.next()
        if held is None:
            return None
        pem, certificate, key = held
        now = from_timestamp(self._clock())
        try:
            (anchor,) = material.anchors(pem, now)
            issuer = material.issuer(certificate, key, (anchor,), now)
        except Unusable as error:
            self.refusals.say("the new trust anchor", str(error))
            return None
        self._issuers[rotation.name_of(_der(anchor))] = issuer
        return anchor

    def _ready(self) -> set[bytes]:
        now = from_timestamp(self._clock())
        return {name for name, one in self._issuers.items() if one.not_before <= now < one.not_after}

    def _settled(self) -> None:
        """A rotation has ended: files say what is so now. What an interruption leaves undone, the next start does."""
        active = self.trusted.active
        self._issuers = {name: one for name, one in self._issuers.items() if name in self.trusted.wanted}
        if active in self._issuers:
            self.keys.keep_issuer(_chain(self._issuers[active]), _pem_key(self._issuers[active]))
        held = self.keys.next()
        self.keys.keep_anchors(self._pem())
        if self._brought is None:
            self._own_files()
        else:
            # What stands in brought files may be wanted once more.
            self._seen = None
        if held is not None:
            (anchor,) = material.certificates(held[0], "the new trust anchor")
            if rotation.name_of(_der(anchor)) == active:
                self.keys.adopt_next()
            else:
                self.keys.drop_next()

    def _remembered(self, kept: Kept) -> Kept:
        return replace(kept, revoked=revocation.remembered(kept.revoked, self.registered(), self._clock()))

    def _say(self) -> None:
        """The file first: who begins now must not know less than who is told."""
        bundle = self.bundle
        if self._written != bundle.generation:
            write_anchors(self._anchors_file, self._pem(), bundle.generation)
            self._written = bundle.generation
        self.publish(bundle)

    def _tell(self, before: Trusted) -> None:
        after = self.trusted
        if (before.phase, before.target) != (after.phase, after.target):
            what = {
                Phase.PREPARE: "sidecars are told of the trust anchors to come",
                Phase.ACTIVATE: "certificates move to the new trust anchor",
                Phase.STEADY: "the rotation of trust anchors has ended",
            }[after.phase]
            _log.info("%s (generation %d, %d anchors)", what, after.generation, len(after.anchors))

    def _pem(self) -> bytes:
        return b"".join(map(_pem, self.anchors))


def _pem(one: x509.Certificate | None) -> bytes:
    assert one is not None
    return one.public_bytes(serialization.Encoding.PEM)


def _der(one: x509.Certificate | None) -> bytes:
    assert one is not None
    return one.public_bytes(serialization.Encoding.DER)


def _chain(issuer: Issuer) -> bytes:
    return b"".join(map(_pem, (issuer.certificate, *issuer.chain)))


def _pem_key(issuer: Issuer) -> bytes:
    return issuer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _serial(issuer: Issuer) -> str:
    return f"{issuer.certificate.serial_number:x}"

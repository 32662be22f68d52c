"""Certificates as they are asked for: cheap refusals at once, then each caller in its turn, then the log.

What a revocation takes away is refused here: to a barred registration no token, to its certificates no renewal.
"""

from __future__ import annotations

from collections.abc import Callable

from gossamer.identity import revocation
from gossamer.identity.authority import Leaf, Random
from gossamer.identity.certify import Busy, Renewals, Shown, admitted, certify
from gossamer.identity.issuance import Entry, Issued
from gossamer.kit.fair import Fair, Full
from gossamer.ports import Denied, Holder
from gossamer.standalone.issuance import IssuanceLog
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.trustee import Trustee


class Signer:
    def __init__(
        self, trustee: Trustee, tokens: Tokens, log: IssuanceLog, clock: Callable[[], float], random: Random
    ) -> None:
        self._trustee = trustee
        self._tokens = tokens
        self._log = log
        self._clock = clock
        self._random = random
        self._renewals = Renewals()
        self._queue = Fair()
        self.issued = 0
        self.refused = 0
        tokens.barred = self.barred

    async def certify(self, identity: str, token: bytes, csr: bytes, peer: str | None, serial: str) -> Leaf:
        """`peer` and `serial` are of the caller's verified certificate, None and "" without one.

        Raises `InvalidRequest`, `Denied`, `Busy` or `Unavailable`.
        """
        try:
            return await self._certified(Shown(identity, token, csr, peer), serial)
        except Full as error:
            self.refused += 1
            raise Busy(f"{error}; try again later") from None
        except Exception:
            self.refused += 1
            raise

    def at_once(self, identity: str, token: bytes, csr: bytes, peer: str | None) -> Leaf:
        """Out of turn, for what this process itself vouches for. Raises as `certify` does."""
        shown = Shown(identity, token, csr, peer)
        admitted(shown, self._tokens, self._renewals, identity, self._clock())
        return self._sign(shown, "", None)

    async def _certified(self, shown: Shown, serial: str) -> Leaf:
        parent = self._log.find(serial) if serial else None
        if parent is not None and parent.identity != shown.peer:
            parent = None
        if shown.renewal:
            # Before it takes anybody's turn.
            self._check(shown.identity, serial, parent)
        holder = admitted(shown, self._tokens, self._renewals, self._caller(shown, parent), self._clock())
        caller = holder.workload or self._caller(shown, parent)
        return await self._queue.run(caller, lambda: self._sign(shown, serial, parent))

    def _sign(self, shown: Shown, serial: str, parent: Entry | None) -> Leaf:
        now = self._clock()
        if shown.renewal:
            # It waited for its turn; what was revoked meanwhile is not signed.
            self._check(shown.identity, serial, parent)
        leaf, holder = certify(
            shown, authority=self._trustee.authority, tokens=self._tokens, now=now, random=self._random
        )
        if shown.renewal:
            holder = Holder(parent.workload, parent.session) if parent is not None else Holder()
        proof = "certificate" if shown.renewal else "token"
        self._log.append(Issued(leaf, now, proof, serial, holder.workload, holder.session))
        self.issued += 1
        return leaf

    def barred(self, session: str) -> bool:
        return revocation.barred(self._trustee.kept.revoked, session)

    def _check(self, identity: str, serial: str, parent: Entry | None) -> None:
        """Raises `Denied` for a certificate that is revoked, whoever let it through."""
        number = revocation.serial_of(serial)
        since = parent.when - self._trustee.terms.skew if parent is not None else None
        for one in revocation.told(self._trustee.kept.revoked, self._clock()):
            if revocation.covers(one, identity, number, since):
                raise Denied("this certificate is revoked")
        if parent is not None and parent.session and self.barred(parent.session):
            raise Denied("this workload's registration is revoked; start the program again")

    def _caller(self, shown: Shown, parent: Entry | None) -> str:
        """In whose turn a request waits: the workload where it is known, else the identity."""
        return (parent.workload if parent is not None else "") or shown.identity

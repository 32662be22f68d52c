"""Renewing the machine's certificate: by the one it has, or by its session and key when that is no longer good."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from gossamer.agent.controls import Controls
from gossamer.agent.joining import SERVICE
from gossamer.agent.membership import Folder, Membership, request
from gossamer.kit.grpc.status import Code, Status
from gossamer.pb.linkerd import identity_pb2
from gossamer.pb.v1 import machines_pb2 as pb

CERTIFY = "/io.linkerd.proxy.identity.Identity/Certify"
# Of its lifetime, when a certificate is renewed.
SHARE = 0.7
LONGEST_SLEEP = 600.0
RETRY = 10.0
# Beats that fail in a row before the certificate is suspected.
SUSPICIOUS = 5

_log = logging.getLogger("gossamer.agent")


class Renewing:
    def __init__(self, membership: Membership, folder: Folder, controls: Controls, rng: Callable[[], float]) -> None:
        self._membership = membership
        self._folder = folder
        self._controls = controls
        self._rng = rng
        self._due = 0.0
        self._failed = 0
        self._wake = asyncio.Event()
        self._strange = False
        # Why the control plane gives this machine no certificate any more; "" while it does.
        self.denied = ""

    def soon(self, active: bytes, within: int) -> None:
        """Certificates should chain to another anchor: within so many seconds."""
        if active and hashlib.sha256(self._anchor()).digest() != active:
            self._due = min(self._due, time.time() + within * self._rng())
            self._wake.set()

    def unheard(self, *, refused: bool) -> None:
        """Another beat failed: perhaps the certificate is refused (its anchor was retired while this machine slept)."""
        self._failed += 1
        if self._failed % SUSPICIOUS == 0 or (refused and not self._strange):
            self._strange, self._due = True, 0.0
            self._wake.set()

    async def run(self) -> None:
        self._due = self._planned()
        while True:
            now = time.time()
            if now >= self._due:
                await self._try(now)
            self._wake.clear()
            # Never for long: clocks are set, and machines sleep (F-25).
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(max(0.1, self._due - time.time()), LONGEST_SLEEP))

    async def begin(self) -> None:
        """Before anything else is asked with it: a certificate that has expired is replaced, if it can be now."""
        if self._expired(time.time()):
            await self._try(time.time())

    async def _try(self, now: float) -> None:
        try:
            await self._renew(now)
        except Status as status:
            _log.warning("the machine's certificate cannot be renewed now: %s", status.message)
            self.denied = status.message if status.code is Code.PERMISSION_DENIED else self.denied
            self._due = now + RETRY
        else:
            self._due = self._planned()
            self._strange, self._failed, self.denied = False, 0, ""

    def _expired(self, now: float) -> bool:
        return now >= self._folder.certificate().not_valid_after_utc.timestamp()

    async def _renew(self, now: float) -> None:
        key = self._folder.key()
        csr = request(key, self._membership.identity)
        if self._expired(now) or self._strange:
            back = pb.ReturnRequest(
                name=self._membership.name, session=self._membership.session, certificate_signing_request=csr
            )
            again = await self._controls.certify(f"{SERVICE}/Return", back, pb.JoinResponse, strange=True)
            chain = [again.leaf_certificate, *again.intermediate_certificates]
        else:
            asked = identity_pb2.CertifyRequest(identity=self._membership.identity, certificate_signing_request=csr)
            found = await self._controls.certify(CERTIFY, asked, identity_pb2.CertifyResponse)
            chain = [found.leaf_certificate, *found.intermediate_certificates]
        self._folder.keep_identity(key, chain)
        _log.info("certificate renewed, until %s", self._folder.certificate().not_valid_after_utc)

    def _planned(self) -> float:
        """Some time after 70 % of the lifetime, not all machines at once."""
        leaf = self._folder.certificate()
        start, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        return start + (end - start) * (SHARE + 0.1 * self._rng())

    def _anchor(self) -> bytes:
        """The anchor to which the machine's certificate chains, DER; b"" for none that is known."""
        last = self._folder.chain()[-1]
        for der in self._folder.anchors():
            anchor = x509.load_der_x509_certificate(der)
            with suppress(ValueError, TypeError, InvalidSignature):
                last.verify_directly_issued_by(anchor)
                return anchor.public_bytes(serialization.Encoding.DER)
        return b""

"""`python -m gossamer.standalone.new_keys issuer|anchor …`: what only an anchor's key can make.

A program of its own, as `first_keys` is, so that the anchor's key is in no memory but this short-lived one's.

    issuer CA NAME SECONDS              the new issuer's certificate, then its key (PEM), on standard output
    anchor CA NAMESPACE DOMAIN SECONDS ISSUER_SECONDS
                                        CA/next/: anchor.pem, anchor.key, issuer.pem, issuer.key; all or nothing
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gossamer.identity.material import Pair, Unusable, new_anchor, new_issuer
from gossamer.ports import Unavailable
from gossamer.standalone.keys import private_directory, read_private, write_private

NEXT = "next"


def issuer(folder: Path, name: str, lifetime: timedelta, now: datetime) -> bytes:
    """Signed by the anchor whose key is here. Raises `Unavailable` or `Unusable` in one line."""
    key = read_private(folder / "anchor" / "key.pem")
    made = new_issuer(
        name, Pair(_certificate_of(key, read_private(folder / "anchors.pem")), key), now, os.urandom, lifetime
    )
    return made.certificate + made.key


def anchor(folder: Path, namespace: str, domain: str, lifetime: timedelta, leaf: timedelta, now: datetime) -> None:
    """A new anchor and an issuer under it. What an interrupted run left is thrown away."""
    unfinished = folder / f".{NEXT}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    private_directory(unfinished)
    root = new_anchor(f"root.{namespace}.{domain}", now, os.urandom, lifetime)
    below = new_issuer(f"identity.{namespace}.{domain}", root, now, os.urandom, leaf)
    write_private(unfinished / "anchor.pem", root.certificate)
    write_private(unfinished / "anchor.key", root.key)
    write_private(unfinished / "issuer.pem", below.certificate)
    write_private(unfinished / "issuer.key", below.key)
    try:
        unfinished.rename(folder / NEXT)
    except OSError as error:
        raise Unavailable(f"{folder / NEXT}: {error.strerror or error}") from error


def _certificate_of(key: bytes, anchors: bytes) -> bytes:
    """The anchor that a key belongs to."""
    try:
        public = serialization.load_pem_private_key(key, password=None).public_key()
        found = x509.load_pem_x509_certificates(anchors)
    except (ValueError, TypeError) as error:
        raise Unusable("the trust anchor's key cannot be read") from error
    for one in found:
        if one.public_key() == public:
            return one.public_bytes(serialization.Encoding.PEM)
    raise Unusable("the trust anchor's key belongs to none of the trust anchors")


def main(arguments: list[str]) -> int:
    what, folder, *rest = arguments
    now = datetime.now(UTC)
    try:
        if what == "issuer":
            name, seconds = rest
            sys.stdout.buffer.write(issuer(Path(folder), name, timedelta(seconds=float(seconds)), now))
        else:
            namespace, domain, *seconds_of = rest
            lifetime, below = (timedelta(seconds=float(text)) for text in seconds_of)
            anchor(Path(folder), namespace, domain, lifetime, below, now)
    except (Unavailable, Unusable) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

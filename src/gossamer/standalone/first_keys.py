"""`python -m gossamer.standalone.first_keys FOLDER CONTROL_NAMESPACE TRUST_DOMAIN [SECONDS SECONDS]`: a new anchor and
its issuer, which live as long as is said or as usual.

A program of its own, so that the anchor's key is in no memory but this short-lived one's. Writes nothing over.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gossamer.identity.material import ANCHOR_LIFETIME, ISSUER_LIFETIME, new_anchor, new_issuer
from gossamer.ports import Unavailable
from gossamer.standalone.keys import private_directory, write_private


def make(
    folder: Path,
    control_namespace: str,
    trust_domain: str,
    now: datetime,
    anchor_lifetime: timedelta = ANCHOR_LIFETIME,
    issuer_lifetime: timedelta = ISSUER_LIFETIME,
) -> None:
    """The issuer's key is written last: where it is, everything is."""
    anchor_folder = folder / "anchor"
    private_directory(folder)
    private_directory(anchor_folder)
    anchor = new_anchor(f"root.{control_namespace}.{trust_domain}", now, os.urandom, anchor_lifetime)
    issuer = new_issuer(f"identity.{control_namespace}.{trust_domain}", anchor, now, os.urandom, issuer_lifetime)
    write_private(anchor_folder / "key.pem", anchor.key)
    write_private(folder / "anchors.pem", anchor.certificate)
    write_private(folder / "issuer.pem", issuer.certificate)
    write_private(folder / "issuer.key", issuer.key)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    if (folder / "issuer.key").exists():
        sys.stderr.write(f"{folder}: holds keys already\n")
        return 1
    try:
        lifetimes = (timedelta(seconds=float(text)) for text in arguments[3:5])
        make(folder, arguments[1], arguments[2], datetime.now(UTC), *lifetimes)
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The text of a join token: what a machine needs to know before it trusts anything.

`gsm1.` and base64url of compact JSON: `h` the hash of whom to trust, `s` the secret, `e` when it ends, `n` the machine
it is for ("" when that is open), `d` the trust domain. The hash covers the control plane's name as well as its anchors:
else somebody with a certificate of the mesh could show the right anchors and be taken for the control plane.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = "gsm1."
LONGEST = 1024


class NotAToken(ValueError):
    """The text is not a whole join token; one line."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """`trust`: hex. `expires`: seconds since the epoch."""

    trust: str
    secret: str
    expires: int
    machine: str = ""
    domain: str = "cluster.local"

    def __repr__(self) -> str:
        return f"JoinToken(machine={self.machine!r}, expires={self.expires})"


def trust_hash(control_name: str, anchors: Iterable[bytes]) -> str:
    """Of the control plane's identity and its anchors (DER), whatever their order."""
    prints = sorted(hashlib.sha256(one).hexdigest() for one in anchors)
    return hashlib.sha256("\n".join([control_name, *prints]).encode()).hexdigest()


def encode(token: JoinToken) -> str:
    words = {"h": token.trust, "s": token.secret, "e": token.expires, "n": token.machine, "d": token.domain}
    text = json.dumps(words, separators=(",", ":")).encode()
    return PREFIX + urlsafe_b64encode(text).rstrip(b"=").decode()


def decode(text: str) -> JoinToken:
    """Raises `NotAToken`."""
    body = text.strip()
    if not body.startswith(PREFIX):
        raise NotAToken(f"not a join token: it begins with {PREFIX}; make one with `gossamer token create`")
    if len(body) > LONGEST:
        raise NotAToken(f"not a join token: longer than {LONGEST} characters")
    raw = body.removeprefix(PREFIX)
    try:
        words = json.loads(urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
        token = JoinToken(words["h"], words["s"], words["e"], words["n"], words["d"])
        whole = len(bytes.fromhex(token.trust)) == 32
    except (Error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAToken("the join token is damaged: copy all of it, in one line") from error
    texts = all(isinstance(one, str) for one in (token.secret, token.machine, token.domain))
    if not whole or not texts or not isinstance(token.expires, int):
        raise NotAToken("the join token is damaged: copy all of it, in one line")
    return token

"""What a joined machine keeps on its disk: where its control plane is, whom it trusts, and its own key.

The folder is the machine's identity: whoever has a copy can claim to be it, until the copy is noticed (F-85).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.ports import Unavailable
from gossamer.settings import Paths
from gossamer.standalone import keys


@dataclass(frozen=True, slots=True)
class Membership:
    """`control`: "ADDRESS:PORT" of each control plane. `address`: what this machine's workloads advertise.

    `network`: one of its own with an address for each workload, "" for ports of the one address.
    """

    name: str
    control: tuple[str, ...]
    control_name: str
    identity: str
    trust_domain: str
    session: str = field(repr=False)
    address: str = ""
    # Nobody said an address: it is that from which the machine calls, whatever that becomes.
    follows: bool = True
    network: str = ""
    node: str = ""
    zone: str = ""


class Folder:
    """`state/machine`: everything is written whole, mode 0600."""

    def __init__(self, paths: Paths) -> None:
        self.path = paths.machine

    @property
    def identity(self) -> Path:
        """The key, then its certificate and what leads to the anchors, PEM."""
        return self.path / "identity.pem"

    def membership(self) -> Membership | None:
        """None for a machine that has not joined. Raises `Unavailable`."""
        file = self.path / "membership.json"
        try:
            words = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{file}: {error}") from error
        known = {name: words[name] for name in Membership.__dataclass_fields__ if name in words}
        return Membership(**{**known, "control": tuple(known["control"])})

    def anchors(self) -> list[bytes]:
        """DER."""
        found = x509.load_pem_x509_certificates(self._read("anchors.pem"))
        return [one.public_bytes(serialization.Encoding.DER) for one in found]

    def bundle(self) -> bytes:
        """As sidecars read it: the generation, then the anchors, PEM."""
        return self._read("anchors.pem")

    def keep_bundle(self, text: bytes) -> None:
        self._make()
        _write(self.path / "anchors.pem", text)

    def chain(self) -> list[x509.Certificate]:
        """The machine's own certificate first."""
        text = self._read("identity.pem")
        return x509.load_pem_x509_certificates(text[text.index(b"-----BEGIN CERTIFICATE-----") :])

    def certificate(self) -> x509.Certificate:
        return self.chain()[0]

    def key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self._read("identity.pem"), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def keep(self, membership: Membership) -> None:
        self._make()
        _write(self.path / "membership.json", json.dumps(asdict(membership), indent=2).encode() + b"\n")

    def keep_anchors(self, anchors: Iterable[bytes]) -> None:
        self.keep_bundle(b"# generation: 0\n" + pem(anchors))

    def keep_identity(self, key: ec.EllipticCurvePrivateKey, chain: Iterable[bytes]) -> None:
        self._make()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(self.identity, private + pem(chain))

    def forget(self) -> None:
        for name in ("membership.json", "identity.pem", "anchors.pem"):
            (self.path / name).unlink(missing_ok=True)

    def _make(self) -> None:
        for path in (self.path.parent, self.path):
            keys.private_directory(path)

    def _read(self, name: str) -> bytes:
        file = self.path / name
        try:
            return file.read_bytes()
        except OSError as error:
            raise Unavailable(f"{file}: {error.strerror or error}; join this machine again") from error


def joined(paths: Paths) -> bool:
    """Whether this machine is a joined one, looked up without reading."""
    return (paths.machine / "membership.json").exists()


def request(key: ec.EllipticCurvePrivateKey, identity: str) -> bytes:
    """A signing request for `identity`, DER."""
    name = x509.SubjectAlternativeName([x509.DNSName(identity)])
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(name, critical=True)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(certificates: Iterable[bytes]) -> bytes:
    return b"".join(
        x509.load_der_x509_certificate(one).public_bytes(serialization.Encoding.PEM) for one in certificates
    )


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)

"""etcd over TLS, with certificates on both sides, and with a user and a password."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gossamer.kit.etcd.client import Client
from gossamer.kit.etcd.wire import dump, text
from gossamer.ports import Unavailable, Write
from gossamer.standalone.etcd.place import parse, place
from gossamer.standalone.etcd.store import EtcdStore
from tests import etcd


def write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(pem)
    (folder / f"{name}.key").chmod(0o600)


def authority(folder: Path, name: str, *leaves: str) -> None:
    """A CA in NAME.pem, and certificates of its for 127.0.0.1 that may be shown by either side."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())

    def built(of: x509.Name, public: ec.EllipticCurvePublicKey, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(of)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            address = x509.IPAddress(ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False).add_extension(
                x509.SubjectAlternativeName([address]), critical=False
            )
        return builder.sign(key, hashes.SHA256())

    write(folder, name, built(subject, key.public_key(), True), key)
    for leaf in leaves:
        own = ec.generate_private_key(ec.SECP256R1())
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, leaf)])
        write(folder, leaf, built(named, own.public_key(), False), own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    authority(made, "ca", "server", "client")
    authority(made, "foreign", "stranger")
    return made


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[etcd.Cluster]:
    flags = {
        "cert-file": "server.pem",
        "key-file": "server.key",
        "trusted-ca-file": "ca.pem",
    }
    given = tuple(f"--{name}={folder / file}" for name, file in flags.items())
    try:
        with etcd.running(tls=(*given, "--client-cert-auth")) as cluster:
            yield cluster
    except etcd.Absent as absent:
        pytest.skip(str(absent))


def opened(
    cluster: etcd.Cluster, folder: Path, ca: str | None, leaf: str | None, login: Path | None = None
) -> EtcdStore:
    address = parse(f"etcds://{cluster.addresses}/tls", "test")
    trusted = folder / f"{ca}.pem" if ca else None
    certificate, key = (folder / f"{leaf}.pem", folder / f"{leaf}.key") if leaf else (None, None)
    return EtcdStore(place(address, trusted, certificate, key, login), address.prefix, "a", address.text)


def test_both_sides_show_certificates(secured: etcd.Cluster, folder: Path) -> None:
    store = opened(secured, folder, "ca", "client")
    try:
        store.commit([Write("x", b"1")])
        found = store.read("x")
        assert found is not None and found.value == b"1"
    finally:
        store.close()


@pytest.mark.parametrize(("ca", "leaf"), [("foreign", "client"), (None, "client"), ("ca", None), ("ca", "stranger")])
def test_who_is_not_trusted_is_refused_in_one_line(
    secured: etcd.Cluster, folder: Path, ca: str | None, leaf: str | None
) -> None:
    with pytest.raises(Unavailable) as refused:
        opened(secured, folder, ca, leaf)
    assert "\n" not in str(refused.value)
    assert "etcds://127.0.0.1" in str(refused.value)


def test_a_key_that_others_may_read_is_refused(secured: etcd.Cluster, folder: Path) -> None:
    (folder / "client.key").chmod(0o644)
    try:
        with pytest.raises(Unavailable, match="others may read it"):
            opened(secured, folder, "ca", "client")
    finally:
        (folder / "client.key").chmod(0o600)


def test_a_user_may_touch_what_his_role_says_and_a_token_is_fetched_again(tmp_path: Path) -> None:
    try:
        with etcd.running() as cluster:
            login = tmp_path / "login"
            login.write_text("mesh:let me in\n")
            login.chmod(0o600)
            prepare(cluster)
            store = logged_in(cluster, login, "allowed")
            try:
                store.commit([Write("x", b"1")])
                cluster.members[0].kill()
                cluster.members[0].start()  # which forgets its tokens
                cluster.wait()
                again(store)
                assert {entry.key for entry in store.scan("")} == {"x", "y"}
            finally:
                store.close()
            with pytest.raises(Unavailable, match="permission denied"):
                logged_in(cluster, login, "forbidden")
            login.write_text("mesh:wrong\n")
            with pytest.raises(Unavailable, match="invalid user ID or password"):
                logged_in(cluster, login, "allowed")
    except etcd.Absent as absent:
        pytest.skip(str(absent))


def logged_in(cluster: etcd.Cluster, login: Path, prefix: str) -> EtcdStore:
    address = parse(f"etcd://{cluster.addresses}/{prefix}", "test")
    return EtcdStore(place(address, None, None, None, login), address.prefix, "a", address.text)


def again(store: EtcdStore) -> None:
    import time

    deadline = time.monotonic() + 20
    while True:
        try:
            return store.commit([Write("y", b"2")])
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def prepare(cluster: etcd.Cluster) -> None:
    """A user `mesh` who may read and write below `allowed/`, and authentication on."""
    client = Client(place(parse(f"etcd://{cluster.addresses}", "x"), None, None, None, None), 5.0)
    steps = [
        ("user/add", {"name": "root", "password": "root"}),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "mesh", "password": "let me in"}),
        ("role/add", {"name": "mesh"}),
        (
            "role/grant",
            {
                "name": "mesh",
                "perm": {"permType": "READWRITE", "key": text(b"allowed/"), "range_end": text(b"allowed0")},
            },
        ),
        ("user/grant", {"user": "mesh", "role": "mesh"}),
        ("enable", {}),
    ]
    try:
        for path, asked in steps:
            client._once(f"/v3/auth/{path}", dump(asked))
    finally:
        client.close()

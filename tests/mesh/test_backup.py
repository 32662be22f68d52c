"""A mesh is brought back from a file, on a machine where there is nothing left of it, or into another store."""

from __future__ import annotations

import time
from pathlib import Path

from tests.mesh import harness, several
from tests.mesh.harness import Mesh, eventually
from tests.mesh.test_faults import ECHO, outcome, steady
from tests.mesh.test_replicas import SERVER, get, servers, workloads

PASSPHRASE = "correct horse battery staple\n"


def passphrase(mesh: Mesh) -> str:
    file = mesh.folder / "passphrase"
    file.write_text(PASSPHRASE)
    return str(file)


def anchors(mesh: Mesh) -> bytes:
    return (mesh.folder / "s" / "gossamer" / mesh.name / "ca" / "anchors.pem").read_bytes()


def identities(mesh: Mesh) -> dict[str, str]:
    items = mesh.json("get", "workloads", "-A")["items"]
    return {one["metadata"]["name"]: one["spec"]["identity"] for one in items}


def test_a_machine_that_lost_its_disk_is_what_it_was_after_a_restore() -> None:
    with harness.mesh() as mesh:
        mesh.apply(SERVER)
        mesh.serve("echo", harness.need("node").path, ECHO, "8080")
        before, who, trusted = workloads(mesh), identities(mesh), anchors(mesh)
        load = steady(mesh, "echo", 50, 10)
        time.sleep(2)
        file, secret = str(mesh.folder / "backup"), passphrase(mesh)
        assert "entries" in mesh.cli("backup", file, "--passphrase-file", secret).stdout
        living = mesh.cli("restore", file, "--passphrase-file", secret, check=False)
        assert living.returncode == 1
        assert "a living mesh is not overwritten" in living.stderr
        several.kill(mesh)
        several.forget(mesh)
        mesh.cli("restore", file, "--passphrase-file", secret)
        mesh.up()
        assert servers(mesh) == ["echo"]
        assert anchors(mesh) == trusted
        eventually("what runs is found again", lambda: set(before) <= set(workloads(mesh)))
        assert who.items() <= identities(mesh).items()
        assert get(mesh).returncode == 0, "a new workload is trusted by those that run, and trusts them"
        assert outcome(load) == {"counts": {"200": 500}, "bad": []}


def test_a_mesh_moves_from_sqlite_to_etcd_and_back() -> None:
    with several.cluster(1) as cluster, harness.mesh() as mesh:
        place = f"etcd://{cluster.addresses}/moved"
        mesh.apply(SERVER)
        mesh.serve("echo", harness.need("node").path, ECHO, "8080")
        before, trusted = workloads(mesh), anchors(mesh)
        unmoved = mesh.cli("up", "--store", place, check=False)
        assert "--store not applied" in unmoved.stdout
        secret = passphrase(mesh)
        for number, where in enumerate((["--store", place], [])):
            file = str(mesh.folder / f"backup-{number}")
            mesh.cli("backup", file, "--passphrase-file", secret)
            mesh.cli("down")
            for old in (mesh.folder / "s" / "gossamer" / mesh.name).glob("store.sqlite*"):
                old.unlink()
            mesh.cli("restore", file, "--passphrase-file", secret, *where)
            mesh.up()
            assert servers(mesh) == ["echo"]
            assert anchors(mesh) == trusted
            eventually("what runs is found again", lambda: workloads(mesh) == before)
            again = mesh.cli("restore", file, "--passphrase-file", secret, *where, check=False)
            assert again.returncode == 1
            assert get(mesh).returncode == 0


def test_a_backup_is_refused_when_it_is_another_damaged_or_unreadable(tmp_path: Path) -> None:
    with harness.mesh() as mesh:
        file, secret = mesh.folder / "backup", passphrase(mesh)
        mesh.cli("backup", str(file), "--passphrase-file", secret)
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"PRIVATE KEY" not in file.read_bytes()
        again = mesh.cli("backup", str(file), "--passphrase-file", secret, check=False)
        assert "nothing is overwritten" in again.stderr
        plain = mesh.cli("backup", str(mesh.folder / "plain"), "--unencrypted")
        assert "keep it like a password" in plain.stderr
        assert (mesh.folder / "plain").stat().st_mode & 0o777 == 0o600
        mesh.cli("down")
        several.forget(mesh)
        wrong = mesh.folder / "wrong"
        wrong.write_text("another passphrase\n")
        damaged = bytearray(file.read_bytes())
        damaged[-100] ^= 1
        (mesh.folder / "damaged").write_bytes(damaged)
        (mesh.folder / "short").write_bytes(file.read_bytes()[:-30])
        (mesh.folder / "other").write_bytes(b"PK\3\4")
        for name, key, said in (
            ("backup", str(wrong), "the passphrase is another one"),
            ("damaged", secret, "damaged"),
            ("short", secret, "damaged"),
            ("other", secret, "not a backup of Gossamer's"),
        ):
            refused = mesh.cli("restore", str(mesh.folder / name), "--passphrase-file", key, check=False)
            assert refused.returncode == 1
            assert said in refused.stderr
            assert refused.stderr.count("\n") == 1
            assert not (mesh.folder / "s" / "gossamer" / mesh.name / "store.sqlite").exists()
        mesh.cli("restore", str(mesh.folder / "plain"))
        mesh.up()

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gossamer.identity import material, trust
from gossamer.ports import Unavailable
from gossamer.standalone.keys import KeyFiles, private_directory, read_private, write_private
from gossamer.standalone.lock import Lock


def test_a_first_start_makes_an_anchor_and_an_issuer_in_another_process(tmp_path: Path) -> None:
    keys = KeyFiles(tmp_path / "ca")
    assert not keys.exist
    keys.make("gossamer", "cluster.local")
    assert keys.exist
    now = datetime.now(UTC)
    trusted = trust.load(keys, now, timedelta(hours=1), timedelta(seconds=20))
    assert trusted.described_anchors[0].subject == "CN=root.gossamer.cluster.local"
    assert trusted.described_issuers[0].subject == "CN=identity.gossamer.cluster.local"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path)) for path in files} == {
        "ca/anchors.pem", "ca/issuer.pem", "ca/issuer.key", "ca/anchor/key.pem",
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


def test_keys_are_never_written_over(tmp_path: Path) -> None:
    keys = KeyFiles(tmp_path / "ca")
    keys.make("gossamer", "cluster.local")
    before = keys.issuer()
    with pytest.raises(Unavailable, match="holds keys already"):
        keys.make("gossamer", "cluster.local")
    assert keys.issuer() == before


def test_brought_material_takes_the_place_of_what_was_made(tmp_path: Path) -> None:
    keys = KeyFiles(tmp_path / "ca")
    now = datetime.now(UTC)
    anchor = material.new_anchor("mine", now, os.urandom)
    issuer = material.new_issuer("issuer", anchor, now, os.urandom)
    keys.bring(anchor.certificate, issuer.certificate, issuer.key)
    assert trust.load(keys, now).described_anchors[0].subject == "CN=mine"
    assert not (tmp_path / "ca" / "anchor").exists()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "k", b"secret")
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        read_private(tmp_path / "k")


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "d").chmod(0o755)
    with pytest.raises(Unavailable, match="chmod 700"):
        private_directory(tmp_path / "d")
    (tmp_path / "f").write_text("")
    with pytest.raises(Unavailable):
        private_directory(tmp_path / "f")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Unavailable, match="not a directory of this user"):
        private_directory(tmp_path / "link")


def test_a_missing_or_huge_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        read_private(tmp_path / "none")
    write_private(tmp_path / "big", b"x" * (256 * 1024 + 1))
    with pytest.raises(Unavailable, match="no key or certificate"):
        read_private(tmp_path / "big")


def test_a_second_control_plane_is_refused_naming_the_first(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock") as first:
        assert first.held()
        with pytest.raises(Unavailable, match=f"process {os.getpid()}"):
            Lock(tmp_path / "lock")
    Lock(tmp_path / "lock").release()
    assert not first.held()

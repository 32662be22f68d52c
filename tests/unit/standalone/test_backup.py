"""What a backup may hold, and what restoring it may ask of this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gossamer.ports import Unavailable
from gossamer.settings import Paths
from gossamer.standalone.archive import About, Contents, Unreadable, pack, unpack
from gossamer.standalone.backup import put_back
from gossamer.standalone.opening import Choice

ABOUT = About("m", "cluster.local", 0)


@pytest.mark.parametrize("name", ["../../authorized_keys", "/root/.ssh/authorized_keys", "anchor/other.pem"])
def test_files_that_no_mesh_has_are_not_written(name: str, tmp_path: Path) -> None:
    files = Paths("m", tmp_path / "state" / "m", tmp_path / "run" / "m")
    with pytest.raises(Unavailable, match="files that no mesh has"):
        put_back(Contents(ABOUT, {}, {name: b"x"}), Choice(), files)
    assert list(tmp_path.iterdir()) == []


def test_a_file_cannot_ask_for_any_amount_of_memory() -> None:
    packed = pack(Contents(ABOUT, {}, {}), b"long enough", lambda size: bytes(size))
    head, _, rest = packed[:-64].partition(b'"n": 65536')
    greedy = head + b'"n": 1048576' + rest
    with pytest.raises(Unreadable, match="unknown terms of encryption"):
        unpack(greedy + hashlib.sha256(greedy).hexdigest().encode(), b"long enough")

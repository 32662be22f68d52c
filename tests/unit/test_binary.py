"""Where the sidecar's program is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer import binary


def test_the_given_path_of_the_sidecar_is_the_only_one_tried(tmp_path: Path) -> None:
    program = tmp_path / "proxy"
    program.write_text("")
    program.chmod(0o755)

    assert binary.find_proxy({"GOSSAMER_PROXY": str(program)}) == program
    with pytest.raises(binary.ProxyNotFound, match="GOSSAMER_PROXY=/nowhere"):
        binary.find_proxy({"GOSSAMER_PROXY": "/nowhere"})


def test_a_missing_sidecar_names_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_usable", lambda _: False)
    with pytest.raises(binary.ProxyNotFound) as error:
        binary.find_proxy({"PATH": "/nowhere"})

    for place in ("bin/gossamer-proxy", "target/release/gossamer-proxy", "PATH (/nowhere)"):
        assert place in str(error.value)

"""Every case of golden/ gives what its output files say."""

from __future__ import annotations

import pytest

from tests.golden import cases


@pytest.mark.parametrize("name", cases.names())
def test_a_case_gives_what_its_files_say(name: str) -> None:
    said = cases.outputs(name)
    expected = {suffix: (cases.FOLDER / f"{name}{suffix}").read_text() for suffix in said}

    assert said == expected, "if the change is meant: make golden, and look at the difference"


def test_no_output_is_left_without_its_case() -> None:
    wanted = {f"{name}{suffix}" for name in cases.names() for suffix in cases.outputs(name)}

    assert {path.name for path in cases.FOLDER.glob("*.json")} == wanted

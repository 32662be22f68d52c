"""Every case of golden/ gives what its output file says."""

from __future__ import annotations

import pytest

from tests.golden import cases


@pytest.mark.parametrize("name", cases.names())
def test_a_case_gives_what_its_file_says(name: str) -> None:
    expected = (cases.FOLDER / f"{name}{cases.OUT}").read_text()

    assert cases.answer(name) == expected, "if the change is meant: make golden, and look at the difference"


def test_no_output_is_left_without_its_case() -> None:
    outputs = {path.name.removesuffix(cases.OUT) for path in cases.FOLDER.glob(f"*{cases.OUT}")}

    assert outputs == set(cases.names())

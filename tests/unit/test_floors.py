"""The version check refuses what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("floors", Path(__file__).parents[2] / "tools" / "floors.py")
assert SPEC is not None and SPEC.loader is not None
floors = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(floors)


def test_a_version_below_its_floor_is_named_with_the_reason() -> None:
    lines = floors.complaints([("h2", "0.4.9")], {"h2": ["0.4.18", "flood"]}, "Cargo.lock")

    assert lines == ["Cargo.lock: h2 0.4.9 is below its floor 0.4.18 (flood)"]


def test_versions_are_compared_as_numbers_not_as_text() -> None:
    assert floors.complaints([("x", "0.103.17")], {"x": ["0.103.9", ""]}, "lock") == []


def test_a_package_that_must_be_absent_is_refused() -> None:
    lines = floors.complaints([("ring", "0.17.14")], {"ring": ["absent", "one provider"]}, "lock")

    assert lines == ["lock: ring 0.17.14 must not be used (one provider)"]

"""How numbers and names are shown."""

from __future__ import annotations

import pytest

from gossamer.cli.output import Column, age, milliseconds, percent, short_identity, table


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (18720, "5h12m"), (273600, "3d4h")]
)
def test_ages_are_kubectls(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_nearly_all_is_not_all() -> None:
    assert (percent(0.99999), percent(1.0), percent(None)) == ("99.99%", "100.00%", "-")


def test_latencies_have_a_unit() -> None:
    assert [milliseconds(value) for value in (None, 0.84, 12.3, 1300.0)] == ["-", "0.8ms", "12ms", "1.3s"]


def test_identities_are_short_where_they_are_the_meshs() -> None:
    assert short_identity("web.default.serviceaccount.identity.gossamer.cluster.local") == "web.default"
    assert short_identity("spiffe://example.org/web") == "spiffe://example.org/web"
    assert short_identity("") == "-"


def test_columns_are_aligned_and_wide_ones_asked_for() -> None:
    columns: list[Column[str]] = [
        Column("NAME", str),
        Column("N", lambda _: "7", right=True),
        Column("MORE", str, wide=True),
    ]

    assert table(columns, ["a", "long"]) == "NAME   N\na      7\nlong   7"
    assert table(columns, ["a"], wide=True).splitlines()[1] == "a      7   a"

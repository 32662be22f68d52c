"""What `check` makes of this machine."""

from __future__ import annotations

from gossamer.cli.check import Result, document, host_checks, lines


def test_a_probe_is_a_line_per_capability() -> None:
    found = list(host_checks(lambda: ("user-namespaces=ok\nnftables=fail|EPERM\n", "")))

    assert [(one.name, one.result, one.error) for one in found] == [
        ("user namespaces", "success", ""),
        ("nftables", "error", "EPERM"),
    ]
    assert "nf_tables" in found[1].hint


def test_a_probe_that_says_nothing_is_a_failure_with_its_reason() -> None:
    assert [one.error for one in host_checks(lambda: ("", "no such file"))] == ["no such file"]


def test_results_are_linkerds_document() -> None:
    found = [Result("a", "one"), Result("a", "two", "error", "broken", "mend it"), Result("b", "three", "warning")]

    assert document(found) == {
        "success": False,
        "categories": [
            {
                "categoryName": "a",
                "checks": [
                    {"description": "one", "result": "success"},
                    {"description": "two", "result": "error", "error": "broken", "hint": "mend it"},
                ],
            },
            {"categoryName": "b", "checks": [{"description": "three", "result": "warning"}]},
        ],
    }


def test_the_last_line_says_how_it_went() -> None:
    assert list(lines([Result("a", "one")]))[-1] == "Status check results are √ (1 checks passed)"
    assert list(lines([Result("a", "one", "error")]))[-1] == "Status check results are × (1 of 1 checks failed)"
    assert "one" not in "\n".join(lines([Result("a", "one")], short=True))

"""A pattern that is taken is one that sidecars can compile; what is refused says where and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.resources import pattern
from gossamer.resources.decode import decode
from gossamer.resources.documents import load
from gossamer.resources.problem import InvalidResource

TABLE = Path(__file__).resolve().parents[3] / "golden" / "patterns.txt"
LINES = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
ROUTE = """
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: api}]
  rules:
  - matches:
    - path: {type: RegularExpression, value: '%s'}
"""


@pytest.mark.parametrize("line", LINES)
def test_the_table_of_patterns_holds(line: str) -> None:
    """The sidecar's side of it is `proxy/rules/tests/patterns.rs`."""
    if line.startswith("+ "):
        pattern.check(line[2:])
        return
    with pytest.raises(pattern.InvalidPattern) as refused:
        pattern.check(line[2:])
    assert refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (
            r"/\p{L}+",
            r"\p asks for a class of Unicode (near character 4)",
            "name the characters, as in [A-Za-z]",
        ),
        ("/{id}", "'{' begins no repetition", r"write {2}, {2,} or {2,5}; or \{ for the character"),
        ("/(?!a)", "looks ahead or behind", "write what it must match"),
        (r"(a)\1", r"\1 refers back", "write what it must match"),
        ("/a[b", "'[' is not closed", r"write \[ for the character"),
        ("[aé]", "'é' is more than one byte", "(?:[a-z]|é)"),
        (r"/a\Z", r"\Z is not known here", r"write \z"),
        ("(?x)/ a", "(?x) sets no flags that are known here", "of i, m, s and U"),
        ("((a{100}){100}){100}", "is too large", "repeat less often"),
        ("é" * 600, "is longer than 1024 bytes", "write several matches"),
        ("(" * 31 + ")" * 31, "is nested too deeply", "flatter"),
        ("a" + "*" * 31, "is nested too deeply", "flatter"),
    ],
)
def test_a_refusal_names_field_and_remedy(text: str, message: str, remedy: str) -> None:
    (document,) = load((ROUTE % text.replace("'", "''")).encode(), "route.yaml")
    with pytest.raises(InvalidResource) as refused:
        decode(document.value, document.where)

    assert refused.value.field == "spec.rules[0].matches[0].path.value"
    assert message in refused.value.message
    assert remedy in refused.value.remedy


@given(st.text(st.sampled_from("ab(){}[]|*+?^$.\\-:<>=!PpxuUdw0159,#&~é\ud800 \n"), max_size=60))
def test_whatever_is_written_is_taken_or_refused(text: str) -> None:
    try:
        pattern.check(text)
    except pattern.InvalidPattern as error:
        assert error.remedy

"""Laws of documents: whatever the bytes are, they are accepted or refused by name; nothing else ever comes out."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gossamer.model.kinds import WRITABLE
from gossamer.resources.decode import decode
from gossamer.resources.documents import load
from gossamer.resources.problem import InvalidResource, Where

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = """
    name namespace labels annotations spec podSelector matchLabels matchExpressions port ports targetPort targetRef
    kind group requiredAuthenticationRefs identities identityRefs networks cidr except parentRefs rules matches path
    type value filters backendRefs timeouts request endpoints addresses addressType clusterIP selector meshTLS
    ip identity serverName workloadIPs proxyProtocol accessPolicy hostnames headers method weight conditions ready
    server client unauthenticated
""".split()  # noqa: SIM905 - a list of fifty words in quotes is unreadable
specs: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        ("web", "/", "10.0.0.0/8", "Exact", "Server", "", "8080", 80, 0, -1, True, None, "IPv4", "1s", "*")
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@given(st.binary(max_size=200) | st.text(alphabet="abk:-[]{}&*!|>%@`'\"#\n\t ,?~0", max_size=80).map(str.encode))
@example(b"a: &a [*a]")
@example(b"? {a: b} : c")
@example(b"\xff\xfe")
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        load(text, "any.yaml")
    except InvalidResource as refused:
        assert str(refused).startswith("any.yaml")


@given(st.sampled_from(WRITABLE), specs)
def test_any_object_is_decoded_or_refused_by_field(kind: Any, spec: Any) -> None:
    version = f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0]
    document = {"apiVersion": version, "kind": kind.name, "metadata": {"name": "a"}, "spec": spec}
    if isinstance(spec, dict):
        document |= {name: value for name, value in spec.items() if name in ("addressType", "endpoints", "ports")}
    try:
        assert decode(document, Where("any.yaml")).key.name == "a"
    except InvalidResource as refused:
        assert refused.field


@given(values.filter(lambda value: isinstance(value, dict)))
def test_json_is_read_as_json_reads_it(value: dict[str, Any]) -> None:
    """Documents may be JSON. (Numbers too long for anything here stay text.)"""
    text = json.dumps(value)
    try:
        found = load(text.encode(), "any.json")
    except InvalidResource:
        return
    if value.get("kind") != "List" and not any(len(word.strip('[]{},"')) > 16 for word in text.split()):
        assert [one.value for one in found] == [value]

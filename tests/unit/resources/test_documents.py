"""Reading YAML and JSON: values as JSON has them, the line of every field, limits."""

from __future__ import annotations

import pytest

from gossamer.resources.documents import MAX_BYTES, load
from gossamer.resources.problem import InvalidResource

TEXT = b"""\
# a comment
apiVersion: v1
kind: Service
spec:
  ports:
  - port: 80
    name: http
  -
    port: 81
---
---
kind: Second
"""


def test_documents_come_with_the_line_of_every_field() -> None:
    first, second = load(TEXT, "a.yaml")

    assert (first.where.line, second.where.line) == (2, 12)
    assert first.where.at("spec.ports[0].name") == 7
    assert first.where.at("spec.ports[1].port") == 9
    assert first.where.at("spec.ports[1].missing.field") == 9
    assert first.value["spec"] == {"ports": [{"port": 80, "name": "http"}, {"port": 81}]}


def test_scalars_are_what_json_would_have_them_be() -> None:
    text = b"[no, on, yes, 012, 12:30:45, 1e3, 0x1f, true, null, ~, '1', 1.5, -7, .inf, 2026-01-01, NULL]"

    (found,) = load(b"a: " + text, "a.yaml")

    expected = ["no", "on", "yes", "012", "12:30:45", 1000.0, "0x1f", True, None, None, "1", 1.5, -7]
    assert found.value["a"] == [*expected, ".inf", "2026-01-01", "NULL"]


def test_a_list_is_taken_apart() -> None:
    text = b'{"kind": "List", "items": [\n{"kind": "A"},\n{"kind": "B",\n"x": [1]}]}'

    first, second = load(text, "a.json")

    assert (first.value, second.value) == ({"kind": "A"}, {"kind": "B", "x": [1]})
    assert second.where.at("x[0]") == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1,\nb: 2", "bad.yaml:2: not valid YAML"),
        (b"a:\n\tb: 1", "bad.yaml:2: not valid YAML"),
        (b"a: &x 1\nb: *x", "bad.yaml:2: alias *x is not accepted; write it out"),
        (b"a: 1\nb: 2\na: 3", "bad.yaml:3: key 'a' is there twice; keep one of them"),
        (b"a: !!python/name:os.system x", "tag tag:yaml.org,2002:python/name:os.system is not accepted"),
        (b"- 1", "bad.yaml:1: a document must be an object; begin it with apiVersion and kind"),
        (b"{[1]: 2}", "a key must be text"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b"a:\n" + b"- " * 100_000, "nested more than 64 deep"),
        (b"\xff", "not valid YAML"),
        (b"a: \x00", "not valid YAML"),
        (b"---\n" * 10_001, "more than 10000 documents"),
        (b" " * (MAX_BYTES + 1), "more than 4 MiB"),
        (b"a: [" + b"1," * 260_000 + b"]", "more than 250000 values"),
        (b"? " + b"k" * 1_025 + b"\n: 1", "a key is longer than 1024 characters"),
        (b"kind: List\nitems: [1]", "items[0]: an item must be an object"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: bytes, said: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        load(text, "bad.yaml")

    assert said in str(refused.value)


def test_paths_do_not_outgrow_the_text() -> None:
    """Sixty long keys around many short ones would make gigabytes of paths."""
    text = b"".join(b" " * depth + b"k" * 1000 + b":\n" for depth in range(60))
    text += b"".join(b" " * 60 + b"f%d: 1\n" % number for number in range(5_000))

    (found,) = load(text, "deep.yaml")

    assert sum(map(len, found.where.lines)) < 4 * len(text)


def test_a_list_of_many_items_costs_its_length() -> None:
    items = ",".join('{"kind": "A", "x": 1}' for _ in range(20_000))

    assert len(load(f'{{"kind": "List", "items": [{items}]}}'.encode(), "many.json")) == 20_000


def test_nothing_is_expanded() -> None:
    """The billion laughs are refused at the first one."""
    bomb = b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"

    with pytest.raises(InvalidResource, match=r":2: alias \*a is not accepted"):
        load(bomb, "bomb.yaml")

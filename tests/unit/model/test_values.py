"""Small values: selectors, port sets, names of kinds."""

from __future__ import annotations

import pytest

from gossamer.model import kinds
from gossamer.model.names import identity, is_uri, local
from gossamer.model.ports import parse_ports, port_set
from gossamer.model.selector import Operator, Requirement, Selector


@pytest.mark.parametrize(
    ("operator", "values", "matching"),
    [
        (Operator.IN, ("web", "api"), [True, False, False]),
        (Operator.NOT_IN, ("web", "api"), [False, True, True]),
        (Operator.EXISTS, (), [True, True, False]),
        (Operator.DOES_NOT_EXIST, (), [False, False, True]),
    ],
)
def test_requirements_mean_what_kubernetes_means(
    operator: Operator, values: tuple[str, ...], matching: list[bool]
) -> None:
    selector = Selector(expressions=(Requirement("app", operator, values),))

    assert [selector.matches(labels) for labels in ({"app": "web"}, {"app": "db"}, {})] == matching


def test_an_empty_selector_matches_everything_and_all_parts_must_hold() -> None:
    both = Selector((("app", "web"),), (Requirement("tier", Operator.EXISTS),))

    assert Selector().matches({})
    assert both.matches({"app": "web", "tier": "x"})
    assert not both.matches({"app": "web"})


def test_port_sets_have_one_form() -> None:
    assert parse_ports(" 80, 82-90,81 ") == port_set([80, 81, (82, 90)]) == port_set([(80, 90)])
    assert parse_ports("") == port_set([])
    assert [port in port_set([25, (80, 90)]) for port in (24, 25, 80, 90, 91)] == [False, True, True, True, False]


@pytest.mark.parametrize("text", ["a", "0", "65536", "90-80", "80-", "-80", "1-2-3", "٣"])
def test_what_is_no_list_of_ports_is_none(text: str) -> None:
    assert parse_ports(text) is None


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("svc", ["Service"]),
        ("Services", ["Service"]),
        ("srv", ["Server"]),
        ("servers.policy.linkerd.io", ["Server"]),
        ("httproute", ["HTTPRoute", "HTTPRoute"]),
        ("httproutes.gateway.networking.k8s.io", ["HTTPRoute"]),
        ("pods", []),
    ],
)
def test_kinds_are_found_by_every_name_people_use(word: str, found: list[str]) -> None:
    assert [kind.name for kind in kinds.called(word)] == found


def test_nobody_writes_what_the_mesh_makes() -> None:
    assert all(kind.versions for kind in kinds.WRITABLE)
    assert len({str(kind) for kind in kinds.ALL}) == len(kinds.ALL)


def test_identities_are_linkerds() -> None:
    name = identity("web", "shop", "gossamer", "cluster.local")

    assert name == "web.shop.serviceaccount.identity.gossamer.cluster.local"
    assert [is_uri(one) for one in (name, "spiffe://example.org/web")] == [False, True]
    assert str(local("shop", "web")) == "shop/web"

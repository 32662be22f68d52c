"""Who may ask in whose name (security §2.2)."""

from __future__ import annotations

import pytest

from gossamer.api import caller
from gossamer.api.caller import Claim
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Source
from gossamer.testing.build import workload

WEB = workload("web-0", service="web")
API = workload("api-0", service="api", address="127.64.0.2")
SNAPSHOT = Snapshot().changed([WEB, API])
SHOP = "cart.shop.serviceaccount.identity.gossamer.cluster.local"


def code_of(text: str, peer: str | None) -> Code | None:
    try:
        caller.check(caller.workload(text), peer, SNAPSHOT)
    except Status as status:
        return status.code
    return None


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ('{"ns":"default","pod":"web-0"}', Claim("default", "web-0")),
        ('{"ns":"default","external_workload":"vm"}', Claim("default", "vm", external=True)),
        ("default:web-0", Claim("default", "web-0")),
    ],
)
def test_a_workload_is_named_in_three_forms(text: str, claim: Claim) -> None:
    assert caller.workload(text) == claim


@pytest.mark.parametrize(
    "text",
    [
        *("", "web-0", ":web-0", "default:", "{", "{}", "[]", '{"ns":"default"}', '{"ns":1,"pod":"a"}'),
        *('{"ns":"a","pod":"b","x":"c"}', '{"ns":"a","pod":"b","external_workload":"c"}'),
        *("{" + " " * 5000 + '"ns":"a","pod":"b"}', '{"a":' * 5000),
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(Status) as refused:
        caller.workload(text)

    assert refused.value.code is Code.INVALID_ARGUMENT


def test_only_its_own_identity_speaks_for_a_workload() -> None:
    web = '{"ns":"default","pod":"web-0"}'

    assert code_of(web, WEB.identity) is None
    assert code_of(web, API.identity) is Code.PERMISSION_DENIED, "of the same namespace, another account"
    assert code_of(web, SHOP) is Code.PERMISSION_DENIED
    assert code_of(web, None) is Code.PERMISSION_DENIED


def test_a_workload_that_is_not_known_is_claimed_from_its_namespace_only() -> None:
    assert code_of("default:gone", API.identity) is None
    assert code_of("default:gone", SHOP) is Code.PERMISSION_DENIED
    assert code_of("default:gone", "spiffe://example.org/default/x") is Code.PERMISSION_DENIED
    assert code_of("default:gone", "a.default.evil.example") is Code.PERMISSION_DENIED


def test_a_source_is_where_the_workload_is_and_not_where_it_says() -> None:
    from dataclasses import replace

    placed = replace(WEB, node="n1", zone="z1")
    claim = caller.context('{"ns":"default","nodeName":"elsewhere","pod":"web-0"}')

    assert caller.source(claim, WEB.identity, SNAPSHOT.changed([placed])) == Source("default", node="n1", zone="z1")


def test_without_a_token_the_certificate_says_the_namespace() -> None:
    assert caller.source(caller.context(""), SHOP, SNAPSHOT) == Source("shop")
    assert caller.context("ns:shop") == Claim("shop")
    with pytest.raises(Status):
        caller.context("shop")

"""`gossamer authz`: a table against files, and questions to a mesh."""

from __future__ import annotations

import json
from pathlib import Path

from gossamer.model.change import Put
from gossamer.model.workload import WorkloadPort
from gossamer.testing.build import resources, workload
from tests.unit.api.fakes import World
from tests.unit.cli.conftest import Run

POLICY = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: ledger, namespace: bank}
spec: {podSelector: {matchLabels: {app: ledger}}, port: 8080}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: shop, namespace: bank}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: ledger}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: shop}]
---
apiVersion: policy.gossamer.dev/v1alpha1
kind: AccessPolicy
metadata: {name: guard, namespace: bank}
spec: {rules: [{name: no-deletes, action: Deny, requests: [{methods: [DELETE]}]}]}
"""
TABLE = """
resources: [policy]
workloads: [{name: bank/ledger, ports: [{name: http, port: 8080}]}]
tests:
- {from: bank/shop, to: bank/ledger, port: 8080, path: /pay, expect: allow, by: AuthorizationPolicy/shop}
- {from: bank/shop, to: bank/ledger, port: 8080, method: DELETE, expect: deny, by: AccessPolicy/guard (no-deletes)}
- {from: bank/web, to: bank/ledger, port: 8080, expect: deny}
- {to: bank/ledger, port: 8080, expect: deny}
"""


def table(folder: Path, text: str) -> str:
    (folder / "policy").mkdir()
    (folder / "policy" / "ledger.yaml").write_text(POLICY)
    (folder / "table.yaml").write_text(text)
    return str(folder / "table.yaml")


def test_a_table_that_holds_ends_with_zero(run: Run, tmp_path: Path) -> None:
    found = run("authz", "test", table(tmp_path, TABLE))

    assert found.exit_code == 0, found.output
    assert found.output.endswith("4 tests, 0 failed\n")


def test_what_does_not_hold_is_said_with_every_policy_considered(run: Run, tmp_path: Path) -> None:
    wrong = TABLE + "- {name: the web pays, from: bank/web, to: bank/ledger, port: 8080, expect: allow}\n"
    found = run("authz", "test", "-q", table(tmp_path, wrong))

    assert found.exit_code == 1
    policy = tmp_path / "policy" / "ledger.yaml"
    web = "web.bank.serviceaccount.identity.gossamer.cluster.local"
    assert found.output.splitlines() == [
        f"FAIL {tmp_path}/table.yaml:9: the web pays: expected allow, found deny: nothing admits the client (Server/ledger)",
        f"     AccessPolicy/guard (no-deletes): denies other requests  [{policy}:14]",
        f"     AuthorizationPolicy/shop: names others than {web}  [{policy}:7]",
        f"     accessPolicy deny: admits nobody  [{policy}:2]",
        "5 tests, 1 failed",
    ]


def test_a_verdict_for_another_reason_is_wrong(run: Run, tmp_path: Path) -> None:
    found = run("authz", "test", table(tmp_path, TABLE.replace("AuthorizationPolicy/shop", "AuthorizationPolicy/web")))

    assert found.exit_code == 1
    assert "expected AuthorizationPolicy/web to decide, found AuthorizationPolicy/shop" in found.output


def test_a_table_is_refused_by_field(run: Run, tmp_path: Path) -> None:
    found = run("authz", "test", table(tmp_path, TABLE.replace("to: bank/ledger, port: 8080, expect", "to: x, expect")))

    assert found.exit_code == 1
    assert "tests[2].to: default/x is none of the workloads; known: bank/ledger" in found.output


def test_an_explanation_names_what_decides(run: Run, made: World) -> None:
    web = workload("web-0", service="web", ports=(WorkloadPort("http", 80, 8080),))
    denied = "apiVersion: policy.gossamer.dev/v1alpha1\nkind: MeshAccessPolicy\nmetadata: {name: far}\n"
    (policy,) = resources(denied + "spec: {rules: [{action: Deny, clients: [{notNamespaces: [default]}]}]}", "far.yaml")
    for one in (web, policy):
        made.state.apply("run", Put(one))
    found = run("authz", "explain", "--from", "elsewhere/nobody", "--to", "web", "-o", "json")

    (answer,) = json.loads(found.output)
    assert found.exit_code == 1
    assert answer == {
        "admitted": False,
        "outcome": "denied",
        "because": "MeshAccessPolicy/far (rule-0) denies it, whatever else admits "
        "(no Server; default policy all-authenticated)",
        "place": "far.yaml:1",
        "client": "nobody.elsewhere.serviceaccount.identity.gossamer.cluster.local",
        "workload": "default/web-0",
        "port": 8080,
        "considered": [
            {"policy": "MeshAccessPolicy/far (rule-0)", "place": "far.yaml:1", "said": "denies it"},
            {"policy": "default policy all-authenticated", "place": "", "said": "admits the client"},
        ],
    }
    assert run("authz", "explain", "--from", "default/somebody", "--to", "web").exit_code == 0


def test_a_question_about_nothing_is_not_found(run: Run) -> None:
    found = run("authz", "explain", "--from", "web", "--to", "nothing")

    assert found.exit_code == 4
    assert "no service or workload nothing" in found.output


def test_where_nothing_was_seen_nothing_is_suggested(run: Run) -> None:
    found = run("authz", "suggest")

    assert (found.exit_code, found.output) == (
        4,
        "Error: no authenticated traffic was seen: there is nothing to suggest\n",
    )

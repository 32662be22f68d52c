"""What commands print, and how they exit."""

from __future__ import annotations

import json

import pytest
import yaml

from gossamer.cli.errors import Exit
from gossamer.model.edge import Author, Direction, FailureTotal, Protocol, Report, Reporter, Totals, TotalsKey
from tests.unit.api.fakes import NOW, World, identity
from tests.unit.cli.conftest import Run

POLICY = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  port: 8080
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: home}
spec: {networks: [{cidr: 10.0.0.0/8}]}
"""


def talk(made: World, *failures: FailureTotal, successes: int = 10) -> None:
    made.run("web", 8080)
    key = TotalsKey(Direction.OUTBOUND, Protocol.HTTP1, True, identity("web"), "default", "web", 8080)
    totals = Totals(requests=successes, successes=successes, failures=failures, latency=(5, 5), bounds_ms=(1.0,))
    made.edges.report(Reporter("default", "load-1", "load", identity("load"), NOW), Report(1, ((key, totals),)), NOW)


def test_apply_prints_as_kubectl_does(run: Run) -> None:
    result = run("apply", "-f", "-", stdin=POLICY)

    assert (
        result.output == "server.policy.linkerd.io/web created\nnetworkauthentication.policy.linkerd.io/home created\n"
    )


def test_a_bad_document_is_named_by_file_line_and_field(run: Run) -> None:
    result = run("apply", "-f", "-", stdin=POLICY.replace("10.0.0.0/8", "10.0.0.0/99"))

    assert result.exit_code == Exit.FAILED
    assert "standard input:11: spec.networks[0].cidr:" in result.output
    assert "1 problem; nothing was changed" in result.output


def test_what_is_not_yaml_is_named_by_line(run: Run) -> None:
    result = run("apply", "-f", "-", stdin="a: b\n  c: [")

    assert result.exit_code == Exit.FAILED
    assert "standard input:2: not valid YAML" in result.output


def test_get_is_a_table_or_the_documents(run: Run, made: World) -> None:
    made.run("web", 8080)
    run("apply", "-f", "-", stdin=POLICY)

    table = run("get", "servers").output.splitlines()
    document = yaml.safe_load(run("get", "server/web", "-o", "yaml").output)
    listed = json.loads(run("get", "netauthn", "-o", "json").output)

    assert table[0].split() == ["NAME", "SELECTS", "PORT", "PROTOCOL", "ACCESS", "ORIGIN"]
    assert table[1].split() == ["web", "app=web", "8080", "unknown", "deny", "store"]
    assert document["spec"]["port"] == 8080
    assert [one["metadata"]["name"] for one in listed["items"]] == ["home"]


def test_what_does_not_exist_exits_with_four(run: Run) -> None:
    assert run("get", "server", "nobody").exit_code == Exit.NOT_FOUND
    assert run("get", "frobs").exit_code == Exit.NOT_FOUND
    assert run("describe", "nobody").exit_code == Exit.NOT_FOUND
    assert run("delete", "server", "nobody").exit_code == Exit.NOT_FOUND


def test_without_a_control_plane_the_code_is_three_and_the_line_says_what_to_do(dead: Run) -> None:
    for arguments in (("get", "servers"), ("edges",), ("describe", "web"), ("identity",)):
        result = dead(*arguments)

        assert result.exit_code == Exit.UNREACHABLE
        assert result.output == "Error: no control plane runs for mesh default; start it with `gossamer up`\n"


@pytest.mark.parametrize("command", ["get servers", "describe web", "why web", "logs web", "edges", "stat"])
def test_what_cannot_be_a_namespace_is_wrong_usage_and_not_an_empty_answer(run: Run, command: str) -> None:
    result = run(*command.split(), "-n", "Bad NS")

    assert result.exit_code == Exit.USAGE
    assert result.output.splitlines()[-1] == (
        "Error: --namespace 'Bad NS': use 1 to 63 lower-case letters, digits and dashes"
    )


def test_up_says_of_a_control_plane_that_hangs_that_it_does_not_answer(hung: Run) -> None:
    result = hung("up")

    assert result.exit_code == Exit.UNREACHABLE
    assert result.output.startswith(
        "Error: the control plane of mesh default runs but does not answer; "
        "end it with `gossamer down`, then start it again (its log is "
    )


def test_why_names_a_control_plane_that_is_gone(dead: Run) -> None:
    result = dead("why", "web", "-o", "json")

    assert result.exit_code == Exit.UNREACHABLE
    assert [one["author"] for one in json.loads(result.output)["failures"]] == ["control plane"]


def test_why_answers_with_author_sentence_evidence_and_remedy(run: Run, made: World) -> None:
    talk(made, FailureTotal(Author.APPLICATION, "status-503", 4, NOW - 1))
    result = run("why", "web")

    assert result.exit_code == Exit.FAILED
    assert result.output.splitlines() == [
        "application: default/web itself answered 503; the mesh delivered it unchanged",
        "  edge      default/load → default/web",
        "  evidence  application: status-503, 4 times, last 1 s ago",
        "  evidence  10 of 14 answers on this edge were successes",
        f"  evidence  the connection was mutual TLS with {identity('web')}",
        "  do        look at what default/web itself prints",
    ]


def test_why_of_a_healthy_mesh_is_nobody(run: Run, made: World) -> None:
    talk(made)
    result = run("why", "load", "web")

    assert result.exit_code == Exit.OK
    assert result.output.startswith("nobody: nothing is wrong with default/web")


def test_edges_have_linkerds_fields_and_ours(run: Run, made: World) -> None:
    talk(made)
    (edge,) = json.loads(run("edges", "-o", "json").output)

    assert {key: edge[key] for key in ("src", "src_namespace", "dst", "dst_namespace", "no_tls_reason")} == {
        "src": "load",
        "src_namespace": "default",
        "dst": "web",
        "dst_namespace": "default",
        "no_tls_reason": "",
    }
    assert (edge["client_id"], edge["tls"], edge["success_rate"], edge["requests"]) == (identity("load"), True, 1.0, 10)
    assert run("edges").output.splitlines()[1].split()[:6] == ["load", "web", "default", "default", "http/1", "yes"]


def test_stat_has_linkerds_fields(run: Run, made: World) -> None:
    talk(made)
    (row,) = json.loads(run("stat", "-o", "json").output)

    assert (row["namespace"], row["kind"], row["name"], row["meshed"]) == ("default", "service", "web", "1/1")
    assert (row["success"], row["latency_ms_p50"]) == (1.0, 1.0)
    assert run("stat", "other", "-o", "json").output == "[]\n"
    assert json.loads(run("stat", "--to", "web", "-o", "json").output)[0]["name"] == "load"


def test_check_is_linkerds_json_and_fails_with_one(run: Run, made: World) -> None:
    made.run("web", 8080, ready=False)
    made.now = NOW + 365 * 86400
    result = run("check", "--proxy", "-o", "json")
    found = json.loads(result.output)
    checks = {one["description"]: one["result"] for each in found["categories"] for one in each["checks"]}

    assert result.exit_code == Exit.FAILED
    assert (found["success"], checks["issuer: valid now"], checks["workloads are ready"]) == (False, "error", "warning")


def test_diff_exits_with_one_when_something_changes(run: Run, made: World) -> None:
    made.run("web", 8080)
    talk(made)
    result = run("diff", "-f", "-", "--quiet", stdin=POLICY)

    assert result.exit_code == Exit.FAILED
    assert "inbound default/web-1:8080: changes" in result.output
    assert "WOULD BE REFUSED" in result.output


def test_describe_is_a_page_or_json(run: Run, made: World) -> None:
    made.run("web", 8080)

    assert "admits  default policy all-authenticated" in run("describe", "web").output
    assert json.loads(run("describe", "web", "-o", "json").output)["endpoints"] == ["127.64.0.1:8080"]


def test_identity_lists_anchors_issuers_and_leaves(run: Run, made: World) -> None:
    made.run("web", 8080)
    found = json.loads(run("identity", "-o", "json").output)

    assert [one["kind"] for one in found["certificates"]] == ["anchor", "issuer", "leaf"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(run: Run, shell: str) -> None:
    assert "_GOSSAMER_COMPLETE" in run("completion", shell).output


def test_a_local_port_needs_explicit_mode(run: Run) -> None:
    result = run("run", "--connect", "web:80", "--", "true")

    assert result.exit_code == Exit.USAGE
    assert "--connect belongs to --explicit" in result.output


def test_an_unknown_context_names_the_file_it_would_be_in(run: Run) -> None:
    result = run("--context", "prod", "edges")

    assert result.exit_code == Exit.USAGE
    assert "contexts.toml (known: local)" in result.output


def test_common_options_stand_before_or_after_the_command(run: Run, dead: Run) -> None:
    assert "mesh shop" in dead("--mesh", "shop", "edges").output
    assert "mesh shop" in dead("edges", "--mesh", "shop").output

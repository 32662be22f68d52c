"""gossamer.v1.Admin over a mesh in memory."""

from __future__ import annotations

import json

import pytest

from gossamer.api.admin import Admin
from gossamer.kit.grpc.status import Status
from gossamer.model.change import Put
from gossamer.model.edge import Direction, Protocol, Report, Reporter, Totals, TotalsKey
from gossamer.model.workload import WorkloadPort
from gossamer.pb.v1 import admin_pb2 as pb
from gossamer.testing.build import resources, service, workload
from tests.unit.api.fakes import NOW, World, identity, world

SERVER = {
    "apiVersion": "policy.linkerd.io/v1beta3",
    "kind": "Server",
    "metadata": {"name": "web"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "port": 8080, "proxyProtocol": "HTTP/1"},
}
POLICY = {
    "apiVersion": "policy.linkerd.io/v1alpha1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "from-load"},
    "spec": {
        "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web"},
        "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "load"}],
    },
}


def documents(*values: object) -> list[pb.Document]:
    return [pb.Document(source="p.yaml", line=1, json=json.dumps(value).encode()) for value in values]


def applied(made: World, *values: object) -> pb.ApplyResponse:
    return Admin(made.plane).apply(pb.ApplyRequest(documents=documents(*values)))


def talk(made: World, client: str, requests: int, **rest: int) -> None:
    """As if the sidecars of `client` and of web had reported."""
    key = TotalsKey(Direction.OUTBOUND, Protocol.HTTP1, True, identity("web"), "default", "web", 8080)
    reporter = Reporter("default", f"{client}-1", client, identity(client), NOW)
    made.edges.report(reporter, Report(1, ((key, Totals(requests=requests, successes=requests)),)), NOW)


def test_documents_are_created_configured_and_unchanged() -> None:
    made = world()
    changed = {**SERVER, "spec": {**SERVER["spec"], "port": 9090}}  # type: ignore[dict-item]

    actions = [[one.action for one in applied(made, document).results] for document in (SERVER, SERVER, changed)]

    assert actions == [["created"], ["unchanged"], ["configured"]]


def test_one_bad_document_refuses_all_and_is_named() -> None:
    made = world()
    answer = applied(made, SERVER, {**POLICY, "spec": {}})

    assert [(one.source, one.field) for one in answer.problems] == [("p.yaml", "spec.targetRef")]
    assert not answer.results
    assert not made.declared.documents


def test_the_same_object_twice_in_one_request_is_refused() -> None:
    (problem,) = applied(world(), SERVER, SERVER).problems

    assert "declared twice" in problem.message


def test_an_object_declared_in_a_file_is_not_applied_again() -> None:
    from gossamer.model.change import Put
    from gossamer.resources.decode import decode
    from gossamer.resources.problem import Where

    made = world()
    made.state.apply("files", Put(decode(SERVER, Where("/etc/mesh/web.yaml", 7), "files")))
    (problem,) = applied(made, SERVER).problems

    assert "/etc/mesh/web.yaml:7" in problem.message


def test_a_service_of_run_yields_to_a_declared_one() -> None:
    made = world()
    made.run("web", 8080)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }

    assert [one.action for one in applied(made, service).results] == ["created"]


def test_a_dry_run_changes_nothing() -> None:
    made = world()
    answer = Admin(made.plane).apply(pb.ApplyRequest(documents=documents(SERVER), dry_run=True))

    assert [one.action for one in answer.results] == ["created"]
    assert not made.declared.documents


def test_deleting_what_is_not_there_is_refused_unless_asked_otherwise() -> None:
    admin = Admin(world().plane)

    assert "not found" in admin.delete(pb.DeleteRequest(documents=documents(SERVER))).problems[0].message
    assert not admin.delete(pb.DeleteRequest(documents=documents(SERVER), ignore_missing=True)).problems


def test_get_shows_what_was_applied_and_what_run_made() -> None:
    made = world()
    made.run("web", 8080)
    applied(made, SERVER)
    admin = Admin(made.plane)

    (server,) = admin.get(pb.GetRequest(kind="srv", namespace="default")).resources
    (service,) = admin.get(pb.GetRequest(kind="services")).resources
    (workload,) = admin.get(pb.GetRequest(kind="wl", name="web-1")).resources

    assert json.loads(server.json)["spec"] == SERVER["spec"]
    assert (service.origin, json.loads(service.json)["spec"]["clusterIP"]) == ("run", "198.19.0.1")
    assert json.loads(workload.json)["spec"]["identity"] == identity("web")
    assert "no kind" in admin.get(pb.GetRequest(kind="frob")).problems[0].message


def test_describe_tells_the_policy_that_applies() -> None:
    made = world()
    made.run("web", 8080)
    applied(made, SERVER, POLICY)

    found = Admin(made.plane).describe(pb.DescribeRequest(subject="web"))

    assert (found.service, list(found.endpoints)) == ("default/web", ["127.64.0.1:8080"])
    (port,) = found.ports
    assert (port.port, port.protocol, port.server) == (8080, "HTTP/1", "Server/web")
    assert list(port.authorizations) == [f"AuthorizationPolicy/from-load: {identity('load')}"]


def test_describe_of_a_stranger_says_who_is_known() -> None:
    made = world()
    made.run("web", 8080)

    with pytest.raises(Status, match="known: web, web-1"):
        Admin(made.plane).describe(pb.DescribeRequest(subject="nobody"))


def test_diff_predicts_what_changes_and_who_would_be_refused() -> None:
    made = world()
    made.run("web", 8080)
    made.run("load", last_octet=2)
    made.run("job", last_octet=3)
    talk(made, "load", 5)
    talk(made, "job", 5)

    found = Admin(made.plane).diff(pb.DiffRequest(documents=documents(SERVER, POLICY)))

    assert [(one.what, one.subject) for one in found.changes] == [("inbound", "default/web-1:8080")]
    assert [(one.client_id, one.server, one.port) for one in found.denied] == [(identity("job"), "default/web-1", 8080)]
    assert "Server/web admits it no longer" in found.denied[0].reason
    assert not made.declared.documents


def test_diff_of_what_is_there_already_is_empty() -> None:
    made = world()
    made.run("web", 8080)
    applied(made, SERVER, POLICY)

    found = Admin(made.plane).diff(pb.DiffRequest(documents=documents(SERVER, POLICY)))

    assert not found.changes
    assert not found.denied


def test_an_audit_window_lets_in_and_ends() -> None:
    import asyncio

    made = world()
    made.run("web", 8080)
    applied(made, SERVER)

    async def play() -> tuple[list[str], list[str]]:
        admin = Admin(made.plane)
        admin.audit(pb.AuditRequest(workload="web", seconds=60))
        during = list(admin.describe(pb.DescribeRequest(subject="web")).ports[0].authorizations)
        admin.audit(pb.AuditRequest(workload="web", seconds=0))
        return during, list(admin.describe(pb.DescribeRequest(subject="web")).ports[0].authorizations)

    during, after = asyncio.run(play())

    assert during == ["default policy audit: anybody with an identity of this mesh"]
    assert after == ["nobody is admitted"]


def test_status_lists_workloads_certificates_and_checks() -> None:
    made = world()
    made.run("web", 8080)
    found = Admin(made.plane).status(pb.StatusRequest())

    assert (found.pid, found.mesh, found.control_address) == (42, "test", "127.64.9.9:8443")
    assert [(one.name, one.ready, one.certificate_not_after) for one in found.workloads] == [
        ("web-1", True, NOW + 3600)
    ]
    assert {one.result for one in found.checks} == {"success"}


def test_shutdown_answers_and_stops() -> None:
    made = world()
    Admin(made.plane).shutdown(pb.ShutdownRequest())

    assert made.stopped == [True]


def test_diagnostics_answer_as_a_sidecar_is_answered() -> None:
    import asyncio

    made = world()
    made.run("web", 8080)
    admin = Admin(made.plane)

    def asked(what: str, *arguments: str) -> list[object]:
        answer = asyncio.run(admin.diagnose(pb.DiagnoseRequest(what=what, arguments=arguments)))
        return [json.loads(text) for text in answer.answers]

    (rows,) = asked("endpoints", "web:8080")
    assert [(row["ip"], row["pod"]) for row in rows] == [("127.64.0.1", "web-1")]  # type: ignore[attr-defined]
    assert asked("policy", "web", "8080")[0]["protocol"]["detect"]  # type: ignore[index]
    assert asked("profile", "198.19.0.1:8080")[0]["fully_qualified_name"] == "web.default.svc.cluster.local"  # type: ignore[index]
    with pytest.raises(Status, match="expected HOST:PORT"):
        asked("profile", "web")


def test_describe_names_denials_and_what_became_of_routes() -> None:
    made = world()
    admin = Admin(made.plane)
    objects = resources(
        "apiVersion: policy.gossamer.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: guard}\n"
        "spec: {rules: [{name: far, action: Deny, clients: [{notNamespaces: [default]}], requests: [{methods: [PUT]}]}]}\n"
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n"
        'spec: {parentRefs: [{group: "", kind: Service, name: web}], '
        "rules: [{backendRefs: [{name: gone, port: 80}]}]}\n"
    )
    running = workload("web-0", service="web", ports=(WorkloadPort("", 80, 8080),))
    for one in (running, service("web"), *objects):
        made.state.apply("run", Put(one))

    found = admin.describe(pb.DescribeRequest(subject="web"))
    assert list(found.routes) == ["HTTPRoute/web: BackendNotFound"]
    assert list(found.ports[0].rules) == [
        "AccessPolicy/guard (far): denies all but *.default.serviceaccount.identity.gossamer.cluster.local, some requests"
    ]


def test_diff_shows_what_only_our_sidecars_are_told() -> None:
    """An Allow with conditions on requests has no words in Linkerd's messages."""
    made = world()
    made.state.apply("run", Put(workload("web-0", service="web", ports=(WorkloadPort("", 80, 8080),))))
    allow = {
        "apiVersion": "policy.gossamer.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": {"name": "more"},
        "spec": {
            "rules": [{"action": "Allow", "clients": [{"identities": ["a.id"]}], "requests": [{"methods": ["GET"]}]}]
        },
    }
    found = Admin(made.plane).diff(pb.DiffRequest(documents=[pb.Document(json=json.dumps(allow).encode())]))

    (change,) = found.changes
    assert "ALLOW" in change.after
    assert "ALLOW" not in change.before

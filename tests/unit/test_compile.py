"""The one function, and the memory around it. What it answers is shown in golden/."""

from __future__ import annotations

from gossamer.compile import Memo, compile
from gossamer.model.authorization import SERVER
from gossamer.model.mesh import Bundle, Mesh
from gossamer.model.names import local
from gossamer.model.proxy_config import EndpointSet
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Endpoints, Inbound, NameTarget, Source, TrustBundle
from gossamer.testing.build import resources, service, workload

SERVERS = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, port: 8080}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: other, namespace: other}
spec: {podSelector: {}, port: 8080}
"""
WEB = Endpoints(Source(""), NameTarget("web.default.svc.cluster.local", 80))


def test_an_answer_is_kept_while_what_it_was_made_from_is_identical() -> None:
    web, other = resources(SERVERS)
    snapshot = Snapshot().changed([workload("web-0", labels={"app": "web"}), web])
    memo = Memo(Inbound(local("default", "web-0"), 8080), snapshot)
    first = memo.value

    assert not memo.update(snapshot.changed([other])), "another namespace was not read"
    assert memo.value is first
    assert memo.update(snapshot.changed([], [(SERVER, web.key)]))
    assert memo.value != first


def test_an_answer_computed_again_and_equal_is_no_change() -> None:
    snapshot = Snapshot().changed([service("web"), workload("web-0", labels={"app": "web"})])
    memo = Memo(WEB, snapshot)
    first = memo.value

    assert not memo.update(snapshot.changed([workload("api-0", address="127.64.0.9", labels={"app": "api"})]))
    assert memo.value is first


def test_removing_the_last_endpoint_is_an_empty_set_and_not_an_absent_service() -> None:
    ready = Snapshot().changed([service("web"), workload("web-0", labels={"app": "web"})])
    withdrawn = ready.changed([workload("web-0", labels={"app": "web"}, ready=False)])
    answers = [compile(snapshot, WEB) for snapshot in (ready, withdrawn)]

    assert [len(one.endpoints) for one in answers if isinstance(one, EndpointSet)] == [1, 0]


def test_the_bundle_is_the_meshs() -> None:
    bundle = Bundle({"cluster.local": (b"der",)}, 3)

    assert compile(Snapshot(Mesh(bundle=bundle)), TrustBundle()) == bundle

"""gossamer.v1 and Linkerd's policy services answer one question from one value: whole, and narrowed."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.api import inbound, outbound
from gossamer.api.watches import Watches
from gossamer.kit.grpc.server import Context, Streaming, Unary
from gossamer.model.change import Replace
from gossamer.model.mesh import Mesh
from gossamer.pb.linkerd import inbound_pb2, outbound_pb2
from gossamer.pb.v1 import policy_pb2
from gossamer.state import State
from gossamer.testing.build import resources, service, workload

POLICY = """
apiVersion: policy.gossamer.dev/v1alpha1
kind: AccessPolicy
metadata: {name: guard}
spec: {rules: [{name: writes, action: Deny, clients: [{identities: [a.id]}], requests: [{methods: [PUT]}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules: [{filters: [{type: URLRewrite, urlRewrite: {hostname: b.example}}]}]
"""
ME = "web.default.serviceaccount.identity.gossamer.cluster.local"
CONTEXT = Context(peer=ME, metadata={}, deadline=None, credentials=None)
WORKLOAD = '{"ns":"default","pod":"web-0"}'


def call(path: str, request: bytes) -> bytes:
    calls: list[Callable[[], None]] = []
    state = State(("run",), Mesh(), calls.append)
    watches = Watches(state)
    state.apply("run", Replace((workload("web-0", service="web"), service("web"), *resources(POLICY))))
    for one in calls:
        one()
    methods = {**inbound.methods(state, watches), **outbound.methods(state, watches)}
    method = methods[path]
    assert isinstance(method, Unary)
    answer = method.handle(request, CONTEXT)
    assert isinstance(answer, bytes)
    return answer


def test_an_inbound_answer_is_whole_in_ours_and_narrowed_in_linkerds() -> None:
    asked = inbound_pb2.PortSpec(workload=WORKLOAD, port=8080).SerializeToString()
    own = policy_pb2.InboundConfig.FromString(call("/gossamer.v1.InboundPolicies/GetPort", asked))
    theirs = inbound_pb2.Server.FromString(call("/io.linkerd.proxy.inbound.InboundServerPolicies/GetPort", asked))

    assert (own.level, len(own.rules), own.audit_denials) == (1, 1, False)
    assert own.rules[0].action == policy_pb2.AccessRule.DENY
    assert own.rules[0].metadata.resource.section == "writes"
    assert len(own.policy.authorizations) == 1
    # Anybody of the mesh but one has no words there.
    assert len(theirs.authorizations) == 0
    assert theirs.protocol == own.policy.protocol


def test_an_outbound_answer_is_whole_in_ours_and_narrowed_in_linkerds() -> None:
    asked = outbound_pb2.TrafficSpec(
        source_workload=WORKLOAD, authority="web.default.svc.cluster.local:80"
    ).SerializeToString()
    own = policy_pb2.OutboundConfig.FromString(call("/gossamer.v1.OutboundPolicies/Get", asked))
    theirs = outbound_pb2.OutboundPolicy.FromString(call("/io.linkerd.proxy.outbound.OutboundPolicies/Get", asked))

    (rule,) = own.rules
    assert (own.level, rule.rule, rule.rewrite.hostname) == (1, 0, "b.example")
    assert rule.route == own.policy.protocol.detect.http1.routes[0].metadata
    assert not own.policy.protocol.detect.http1.routes[0].rules[0].filters
    (failure,) = theirs.protocol.detect.http1.routes[0].rules[0].filters
    assert failure.failure_injector.status == 500
    assert [one.backend.resource.name for one in own.backends] == ["web"]


def test_both_services_stream() -> None:
    state = State(("run",), Mesh(), lambda _: None)
    watches = Watches(state)
    methods = {**inbound.methods(state, watches), **outbound.methods(state, watches)}

    assert {path for path, method in methods.items() if isinstance(method, Streaming)} == {
        "/gossamer.v1.InboundPolicies/WatchPort",
        "/gossamer.v1.OutboundPolicies/Watch",
        "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort",
        "/io.linkerd.proxy.outbound.OutboundPolicies/Watch",
    }

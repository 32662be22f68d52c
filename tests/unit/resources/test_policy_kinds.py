"""Documents of the newer kinds that are refused, and the annotations about traffic. What is accepted is in golden/."""

from __future__ import annotations

import pytest

from gossamer.model.route import HttpRoute
from gossamer.model.service import Service
from gossamer.model.traffic import Penalty, Timeouts, Traffic
from gossamer.resources.decode import decode
from gossamer.resources.documents import load
from gossamer.resources.problem import InvalidResource, Where
from gossamer.resources.traffic import traffic
from gossamer.testing.build import resources

GATEWAY = "apiVersion: gateway.networking.k8s.io/{}\nkind: {}\nmetadata: {{name: a}}\n"
GRPC = GATEWAY.format("v1", "GRPCRoute")
HTTP = GATEWAY.format("v1", "HTTPRoute")
TLS = GATEWAY.format("v1alpha2", "TLSRoute")
TCP = GATEWAY.format("v1alpha2", "TCPRoute")
EGRESS = "apiVersion: policy.linkerd.io/v1alpha1\nkind: EgressNetwork\nmetadata: {name: a}\n"
LIMIT = "apiVersion: policy.linkerd.io/v1alpha1\nkind: HTTPLocalRateLimitPolicy\nmetadata: {name: a}\n"
PROFILE = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile\nmetadata: {name: a.b.svc.cluster.local}\n"
ACCESS = "apiVersion: policy.gossamer.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\n"
MESH = ACCESS.replace("AccessPolicy", "MeshAccessPolicy")
FAULT = "apiVersion: policy.gossamer.dev/v1alpha1\nkind: FaultInjection\nmetadata: {name: a}\n"
SERVER_REF = "targetRef: {group: policy.linkerd.io, kind: Server, name: a}"
TO_EGRESS = "parentRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: a}]"

REFUSED = [
    (GRPC + "spec: {rules: [{matches: [{method: {type: RegularExpression, method: a}}]}]}", "method.type: Regular"),
    (GRPC + "spec: {rules: [{matches: [{method: {}}]}]}", "needs at least one of service and method"),
    (GRPC + "spec: {rules: [{matches: [{method: {service: a/b}}]}]}", "'a/b' is not a gRPC service's full name"),
    (GRPC + "spec: {rules: [{matches: [{method: {method: a.b}}]}]}", "'a.b' is not a gRPC method's name"),
    (GRPC + "spec: {rules: [{filters: [{type: RequestRedirect}]}]}", "'RequestRedirect' is not known; did you mean"),
    (GRPC + f"spec: {{{TO_EGRESS}}}", "spec.parentRefs[0].port: is required for an EgressNetwork"),
    (GRPC.replace("v1\n", "v1beta1\n"), "is not a version of GRPCRoute"),
    (TLS + "spec: {rules: []}", "spec.rules: needs one rule, not 0"),
    (TLS + "spec: {rules: [{}, {}]}", "spec.rules: needs one rule, not 2"),
    (TLS + "spec: {hostnames: ['*'], rules: [{}]}", "spec.hostnames[0]: '*' is not a host name"),
    (TCP + "spec: {rules: [{}, {}]}", "spec.rules: needs one rule, not 2"),
    (TCP + "spec: {rules: [{backendRefs: [{name: a, port: 80, filters: []}]}]}", "filters: unknown field"),
    (TCP + f"spec: {{{TO_EGRESS}, rules: [{{}}]}}", "spec.parentRefs[0].port: is required for an EgressNetwork"),
    (EGRESS + "spec: {}", "spec.trafficPolicy: is required"),
    (EGRESS + "spec: {trafficPolicy: allow}", "'allow' is not known; did you mean Allow?"),
    (EGRESS + "spec: {trafficPolicy: Deny, networks: []}", "spec.networks: needs at least one network"),
    (EGRESS + "spec: {trafficPolicy: Deny, networks: [{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}]}", "nothing is left"),
    (LIMIT + f"spec: {{{SERVER_REF}, total: {{requestsPerSecond: 0}}}}", "0 is not between 1 and"),
    (
        LIMIT + f"spec: {{{SERVER_REF}, total: {{requestsPerSecond: 5}}, identity: {{requestsPerSecond: 6}}}}",
        "6 is more",
    ),
    (
        LIMIT + f"spec: {{{SERVER_REF}, overrides: [{{requestsPerSecond: 5, clientRefs: []}}]}}",
        "spec.overrides[0].clientRefs: needs at least one ServiceAccount",
    ),
    (LIMIT + "spec: {targetRef: {kind: Service, name: a}}", "core/Service cannot be referred to here"),
    (PROFILE + "spec: {routes: [{name: a}]}", "spec.routes[0].condition: is required"),
    (PROFILE + "spec: {routes: [{name: a, condition: {}}]}", "condition.pathRegex: a condition needs a field"),
    (PROFILE + "spec: {routes: [{name: a, condition: {pathRegex: '('}}]}", "pathRegex: '(': '(' is not closed"),
    (PROFILE + "spec: {routes: [{name: a, condition: {method: GET}, timeout: 5}]}", "must be text, not the number 5"),
    (PROFILE + "spec: {retryBudget: {retryRatio: -1, minRetriesPerSecond: 1, ttl: 1s}}", "retryRatio: -1 is not"),
    (PROFILE + "spec: {dstOverrides: [{authority: a, weight: much}]}", 'weight: is not a quantity; write "500m" or 1'),
    (PROFILE + "spec: {opaquePorts: [70000]}", "'70000' is not a port"),
    (FAULT + "spec: {}", "spec.abort: needs at least one of delay and abort"),
    (FAULT + "spec: {delay: {duration: 1}}", "must be text, not the number 1"),
    (FAULT + "spec: {abort: {percent: 101}}", "101 is not a number from 0 to 100"),
    (FAULT + "spec: {abort: {grpcStatus: unavailable}}", "did you mean UNAVAILABLE?"),
    (ACCESS + "spec: {}", "spec.rules: needs at least one rule"),
    (ACCESS + "spec: {rules: [{action: deny}]}", "'deny' is not known; did you mean Deny?"),
    (ACCESS + "spec: {rules: [{action: Deny, clients: []}]}", "clients: must not be empty; leave it out for all"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: []}]}", "requests: must not be empty; leave it out for all"),
    (ACCESS + "spec: {rules: [{action: Allow}]}", "clients: is required to allow"),
    (ACCESS + "spec: {rules: [{action: Deny, clients: [{}]}]}", "clients[0]: names nobody"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{}]}]}", "requests[0]: says nothing"),
    (ACCESS + "spec: {rules: [{action: Allow, clients: [{notIdentities: [a.b]}]}]}", "says who, not who is not"),
    (
        ACCESS + "spec: {rules: [{action: Deny, clients: [{identities: [a.b], unauthenticated: true}]}]}",
        "what they are, or what they are not, or that there is none",
    ),
    (ACCESS + "spec: {rules: [{action: Deny, clients: [{identities: [A]}]}]}", "'A' is not an identity"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{paths: [{}]}]}]}", "exactly one of exact, prefix, template"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{paths: [{template: '/a{b}'}]}]}]}", "'a{b}' is not a segment"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{paths: [{exact: '/a/../b'}]}]}]}", "is not a canonical path"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{paths: [{prefix: a}]}]}]}", "does not begin with /"),
    (ACCESS + "spec: {rules: [{action: Deny, requests: [{headers: [{name: a, present: false}]}]}]}", "must be true"),
    (ACCESS + "spec: {rules: [{action: Deny, name: a}, {action: Deny, name: a}]}", "'a' is there twice"),
    (ACCESS + "spec: {ports: ['80'], rules: [{action: Deny}]}", "'80' is neither a port nor the name of one"),
    (ACCESS + f"spec: {{{SERVER_REF}, ports: [80], rules: [{{action: Deny}}]}}", "ports: goes without targetRef"),
    (ACCESS + f"spec: {{{SERVER_REF}, selector: {{}}, rules: [{{action: Deny}}]}}", "selector: goes without targetRef"),
    (MESH + f"spec: {{{SERVER_REF}, rules: [{{action: Deny}}]}}", "spec.targetRef: unknown field"),
    (
        HTTP + "spec: {rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]}]}",
        "path.type",
    ),
    (
        HTTP + "spec: {rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, "
        "percent: 1, fraction: {numerator: 1}}}]}]}",
        "percent: goes without fraction",
    ),
    (
        HTTP + "spec: {rules: [{filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]}]}",
        "a/B is not known; policy.gossamer.dev/FaultInjection is",
    ),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=range(len(REFUSED)))
def test_a_document_is_refused_by_field_and_remedy(text: str, said: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        resources(text)

    assert said in str(refused.value)


WRONG = [
    ("retry.linkerd.io/http", "6xx"),
    ("retry.linkerd.io/http", "500-400"),
    ("retry.linkerd.io/http", "5xx, 429"),
    ("retry.linkerd.io/grpc", "ok"),
    ("retry.linkerd.io/limit", "-1"),
    ("retry.linkerd.io/limit", "65536"),
    ("retry.linkerd.io/timeout", "5"),
    ("timeout.linkerd.io/request", "1.5s"),
    ("timeout.linkerd.io/response", "-1s"),
    ("timeout.linkerd.io/idle", "1m30s"),
    ("balancer.linkerd.io/failure-accrual", "often"),
    ("balancer.alpha.linkerd.io/penalize-failures", "yes"),
    ("balancer.gossamer.dev/sticky", "header:"),
    ("balancer.gossamer.dev/sticky", "header:a;1h"),
    ("balancer.gossamer.dev/sticky", "source:a"),
    ("balancer.gossamer.dev/locality", "near"),
    ("balancer.gossamer.dev/panic-floor", "101%"),
    ("balancer.gossamer.dev/panic-flor", "50%"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_annotation_that_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidResource, match=f"metadata.annotations.{name}"):
        traffic({name: value}, Where("a.yaml"))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_of_what_an_api_server_admitted_it_is_left_out(name: str, value: str) -> None:
    """As Linkerd does: a Service is not lost for one setting."""
    kept = {"timeout.linkerd.io/request": "2s"} if not name.startswith("timeout") else {}

    assert traffic({name: value, **kept}, Where("a.yaml"), lenient=True) == Traffic(
        timeouts=Timeouts(request=2_000) if kept else Timeouts()
    )


ACCRUAL = "balancer.linkerd.io/failure-accrual"
RATE = "balancer.alpha.linkerd.io/failure-accrual-success-rate"


@pytest.mark.parametrize(
    "more",
    [
        {f"{ACCRUAL}-consecutive-min-penalty": "2m"},
        {f"{ACCRUAL}-consecutive-max-penalty": "0"},
        {f"{ACCRUAL}-consecutive-jitter-ratio": "-0.1"},
        {f"{ACCRUAL}-consecutive-max-failures": "many"},
        {f"{RATE}-threshold": "1.1"},
        {f"{RATE}-window": "9ms"},
        {f"{RATE}-min-requests": "1000001"},
    ],
)
def test_accrual_that_a_sidecar_would_refuse_is_refused_here(more: dict[str, str]) -> None:
    with pytest.raises(InvalidResource):
        traffic({ACCRUAL: "unified", **more}, Where("a.yaml"))


def test_a_window_may_be_short_where_it_is_off() -> None:
    found = traffic({ACCRUAL: "unified", f"{RATE}-threshold": "0", f"{RATE}-window": "1ms"}, Where("a.yaml"))

    assert found.accrual is not None


def test_a_penalty_is_off_unless_said() -> None:
    alpha = "balancer.alpha.linkerd.io/"

    assert traffic({f"{alpha}load-biaser-penalty": "1s"}, Where("a")).penalty is None
    assert traffic({f"{alpha}penalize-failures": "T"}, Where("a")).penalty == Penalty()


def test_unknown_fields_of_admitted_documents_say_nothing() -> None:
    text = (
        HTTP
        + "spec: {rules: [{newField: 1, retry: {attempts: 2}, matches: [{path: {value: /a}, more: 1}]}], other: {}}"
    )
    (document,) = load(text.encode(), "a.yaml")
    with pytest.raises(InvalidResource):
        decode(document.value, document.where)

    found = decode(document.value, document.where, lenient=True)

    assert isinstance(found, HttpRoute)
    assert len(found.rules) == 1


def test_a_service_with_an_annotation_that_cannot_be_read_is_still_a_service() -> None:
    text = (
        "apiVersion: v1\nkind: Service\n"
        "metadata: {name: a, annotations: {retry.linkerd.io/limit: many}}\nspec: {ports: [{port: 80}]}"
    )
    (document,) = load(text.encode(), "a.yaml")

    found = decode(document.value, document.where, lenient=True)

    assert isinstance(found, Service)
    assert found.traffic == Traffic()

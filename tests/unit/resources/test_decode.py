"""Documents that are refused: by line, field and remedy. What is accepted is shown in golden/."""

from __future__ import annotations

import pytest

from gossamer.model.authorization import DefaultPolicy, Server, ServerProtocol
from gossamer.model.names import Origin, local
from gossamer.model.ports import port_set
from gossamer.model.selector import Selector
from gossamer.model.service import Service, ServicePort
from gossamer.resources.decode import decode
from gossamer.resources.metadata import key_of
from gossamer.resources.problem import InvalidResource, Where
from gossamer.testing.build import resources

SERVER = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: a}\n"
POLICY = "apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n"
IDENTITIES = "apiVersion: policy.linkerd.io/v1alpha1\nkind: MeshTLSAuthentication\nmetadata: {name: a}\n"
NETWORKS = "apiVersion: policy.linkerd.io/v1alpha1\nkind: NetworkAuthentication\nmetadata: {name: a}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
ROUTE = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
SLICE = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\n"
MACHINE = "apiVersion: workload.linkerd.io/v1beta1\nkind: ExternalWorkload\nmetadata: {name: a}\n"

REFUSED = [
    ("kind: Server", "1: apiVersion: is required; begin the document with apiVersion and kind"),
    ("apiVersion: v1", "1: kind: is required"),
    ("apiVersion: v1\nkind: Pod", "2: kind: Pod of v1 is not a kind of this mesh; known: Namespace (v1), "),
    (
        "apiVersion: policy.linkerd.io/v9\nkind: Server",
        "1: apiVersion: policy.linkerd.io/v9 is not a version of Server; ",
    ),
    (SERVICE.replace("{name: a}", "{}"), "3: metadata.name: is required"),
    (SERVICE.replace("{name: a}", "{name: A_b}"), "3: metadata.name: 'A_b' is not a name of lower-case letters"),
    (SERVICE.replace("a}", "a, namespace: A}"), "3: metadata.namespace: 'A' is not a name"),
    (SERVICE.replace("a}", "a, lables: {}}"), "3: metadata.lables: unknown field; did you mean labels?"),
    (SERVICE.replace("a}", "a, labels: {x: 1}}"), '3: metadata.labels.x: must be text, not the number 1; write "1"'),
    (SERVICE.replace("a}", "a, creationTimestamp: x}"), "creationTimestamp: 'x' is not a time such as"),
    (SERVICE + "spec: {ports: [{port: 80}], selctor: {}}", "4: spec.selctor: unknown field; did you mean selector?"),
    (SERVICE + "sepc: {}", "spec: is required; sepc is not known here"),
    (
        SERVICE + "spec:\n  ports:\n  - {port: 80}\n  - {port: 81}",
        "6: spec.ports[0].name: is required where there is more",
    ),
    (SERVICE + "spec: {ports: [{port: 0}]}", "spec.ports[0].port: 0 is not between 1 and 65535"),
    (SERVICE + "spec: {ports: [{port: '80'}]}", "spec.ports[0].port: must be a whole number, not the text '80'"),
    (SERVICE + "spec: {ports: [{prot: 80}]}", "spec.ports[0].port: is required; prot is not known here"),
    (SERVICE + "spec: {ports: []}", "spec.ports: needs at least one port"),
    (SERVICE + "spec: {ports: [{port: 80, targetPort: '81'}]}", "spec.ports[0].targetPort: '81' is text; write 81"),
    (SERVICE + "spec: {clusterIP: x, ports: [{port: 80}]}", "spec.clusterIP: 'x' is not an IP address; leave it out"),
    (SERVICE + "spec: {clusterIP: 'fe80::1%lo', ports: [{port: 80}]}", "spec.clusterIP: 'fe80::1%lo' is not an IP"),
    (SERVICE + "spec: {clusterIP: 1.2.3.4, clusterIPs: [1.2.3.5], ports: [{port: 80}]}", "spec.clusterIPs[0]"),
    (SERVICE + "spec: {type: ExternalName}", "spec.externalName: goes with type ExternalName and with no other"),
    (
        SERVICE.replace("a}", "a, annotations: {config.linkerd.io/opaque-ports: x}}") + "spec: {ports: [{port: 80}]}",
        "metadata.annotations.config.linkerd.io/opaque-ports: 'x' is not a list of ports; write \"3306,8080-8090\"",
    ),
    (SERVER + "spec: {port: 80}", "spec.podSelector: needs exactly one of podSelector and externalWorkloadSelector"),
    (SERVER + "spec: {podSelector: {}, externalWorkloadSelector: {}, port: 80}", "spec.podSelector: needs exactly one"),
    (SERVER + "spec: {podSelector: {}}", "spec.port: is required"),
    (SERVER + "spec: {podSelector: {}, port: '80'}", "spec.port: '80' is text, which names a port; write 80"),
    (
        SERVER + "spec: {podSelector: {}, port: 80, proxyProtocol: http/1}",
        "'http/1' is not known; did you mean HTTP/1?",
    ),
    (
        SERVER + "spec: {podSelector: {}, port: 80, accessPolicy: allow}",
        "spec.accessPolicy: 'allow' is not known; one of",
    ),
    (SERVER + "spec: {podSelector: {matchExpressions: [{key: a, operator: In}]}, port: 80}", "[0].values: is required"),
    (
        SERVER + "spec: {podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}, port: 80}",
        "does not go",
    ),
    (
        SERVER + "spec: {podSelector: {matchLabel: {}}, port: 80}",
        "spec.podSelector.matchLabel: unknown field; did you mean",
    ),
    (
        POLICY + "spec: {targetRef: {kind: Pod, name: a}, requiredAuthenticationRefs: []}",
        "spec.targetRef.kind: core/Pod cannot be referred to here; one of policy.linkerd.io/Server, ",
    ),
    (
        POLICY + "spec: {targetRef: {kind: Namespace, name: b}, requiredAuthenticationRefs: []}",
        "spec.targetRef.name: 'b' is another namespace; write default",
    ),
    (
        POLICY + "spec: {targetRef: {kind: Namespace, name: default}}",
        "requiredAuthenticationRefs: is required; write []",
    ),
    (
        POLICY + "spec: {targetRef: {kind: Namespace, name: default}, requiredAuthenticationRefs: "
        "[{kind: ServiceAccount, name: a}, {kind: ServiceAccount, name: b}]}",
        "write one AuthorizationPolicy for each",
    ),
    (IDENTITIES + "spec: {}", 'spec.identities: needs at least one of identities and identityRefs; write ["*"]'),
    (IDENTITIES + "spec: {identities: ['a.*.b']}", "spec.identities[0]: 'a.*.b' is not an identity"),
    (
        IDENTITIES + "spec: {identityRefs: [{kind: Namespace, name: a, namespace: b}]}",
        "lies in no namespace; remove it",
    ),
    (NETWORKS + "spec: {networks: []}", "spec.networks: needs at least one network"),
    (NETWORKS + "spec: {networks: [{cidr: 10.0.0.0/33}]}", "spec.networks[0].cidr: '10.0.0.0/33' is not a network"),
    (
        NETWORKS + "spec: {networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]}",
        "10.0.0.0/8 does not include 11.0.0.0/8",
    ),
    (NETWORKS + "spec: {networks: [{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}]}", "nothing is left of 10.0.0.0/8"),
    (ROUTE + "spec: {rules: [{matches: [{path: {value: a}}]}]}", "'a' does not begin with /; write \"/a\""),
    (ROUTE + "spec: {rules: [{matches: [{path: {value: /a/../b}}]}]}", "is not a canonical path"),
    (ROUTE + "spec: {rules: [{matches: [{path: {value: /a%2Fb}}]}]}", "is not a canonical path"),
    (ROUTE + "spec: {rules: [{matches: [{path: {type: RegularExpression, value: '(a)\\1'}}]}]}", "linear-time engine"),
    (ROUTE + "spec: {rules: [{matches: [{path: {type: RegularExpression, value: '(?=a)'}}]}]}", "linear-time engine"),
    (
        ROUTE + "spec: {rules: [{matches: [{path: {type: RegularExpression, value: '['}}]}]}",
        "'[' is not closed (near character 2)",
    ),
    (ROUTE + "spec: {rules: [{matches: [{method: get}]}]}", "'get' is not known; did you mean GET?"),
    (ROUTE + "spec: {rules: [{matches: [{headers: [{name: 'a b', value: c}]}]}]}", "'a b' is not a header's name"),
    (
        ROUTE + "spec: {rules: [{filters: [{type: CORS}]}]}",
        "spec.rules[0].filters[0].type: 'CORS' is not known",
    ),
    (
        ROUTE + "spec: {rules: [{filters: [{type: RequestRedirect, requestHeaderModifier: {}}]}]}",
        "goes with type Request",
    ),
    (
        ROUTE + "spec: {rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
        '{add: [{name: a, value: "\\n"}]}}]}]}',
        "add[0].value: holds a control character",
    ),
    (ROUTE + "spec: {rules: [{retry: {}}]}", "spec.rules[0].retry: not supported; remove it"),
    (ROUTE + "spec: {rules: [{timeouts: {request: 10}}]}", "must be text, not the number 10"),
    (ROUTE + "spec: {rules: [{timeouts: {request: '10 s'}}]}", "'10 s' is not a duration such as \"10s\""),
    (
        ROUTE + "spec: {rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}",
        "backendRequest: is longer than request",
    ),
    (
        ROUTE + "spec: {rules: [{backendRefs: [{name: a}]}]}",
        "spec.rules[0].backendRefs[0].port: is required for a Service",
    ),
    (ROUTE + "spec: {hostnames: ['*']}", "spec.hostnames[0]: '*' is not a host name"),
    (ROUTE + "spec: {parentRefs: [{kind: Service}]}", "spec.parentRefs[0].name: is required"),
    (ROUTE + "spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: a, port: 80}]}", "all of a Server"),
    (ROUTE + "spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: a, namespace: b}]}", "write default"),
    (SLICE, "addressType: is required; one of IPv4, IPv6"),
    (
        SLICE + "addressType: IPv4\nendpoints: [{addresses: ['::1']}]",
        "endpoints[0].addresses[0]: ::1 is not of addressType",
    ),
    (SLICE + "addressType: IPv4\nendpoints: [{addresses: []}]", "endpoints[0].addresses: needs at least one address"),
    (MACHINE + "spec: {meshTLS: {identity: a, serverName: b}}", "spec.workloadIPs: needs at least one address"),
    (MACHINE + "spec: {workloadIPs: [{ip: 1.2.3.4}]}", "spec.meshTLS: is required"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=range(len(REFUSED)))
def test_a_document_is_refused_by_field_and_remedy(text: str, said: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        resources(text)

    assert said in str(refused.value)
    assert str(refused.value).startswith("test.yaml:")


def test_a_service_is_read_whole() -> None:
    (found,) = resources(
        """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {config.linkerd.io/opaque-ports: "90,100-102"}}
spec:
  type: ClusterIP
  clusterIP: None
  selector: {app: web}
  publishNotReadyAddresses: true
  sessionAffinity: None
  ports:
  - {name: a, port: 80, targetPort: http, appProtocol: http, protocol: TCP}
  - {name: b, port: 90}
  - {name: c, port: 53, protocol: UDP}
"""
    )

    assert found == Service(
        local("shop", "web"),
        (ServicePort("a", 80, "http", "http"), ServicePort("b", 90, 90)),
        Selector((("app", "web"),)),
        headless=True,
        opaque_ports=port_set([90, 100, 101, 102]),
        publish_not_ready=True,
        annotations={"config.linkerd.io/opaque-ports": "90,100-102"},
    )


def test_defaults_are_those_of_the_crds() -> None:
    (found,) = resources(SERVER + "spec: {podSelector: {}, port: http}")

    assert found == Server(local("default", "a"), "http", Selector(), None, ServerProtocol.UNKNOWN, DefaultPolicy.DENY)
    assert found.origin == Origin("store", "test.yaml", 1)


def test_status_is_other_peoples_business() -> None:
    (found,) = resources(SERVER + "spec: {podSelector: {}, port: http}\nstatus: {anything: [1]}")

    assert isinstance(found, Server)


def test_key_and_kind_are_enough_to_delete() -> None:
    kind, key = key_of({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}, Where("x"), "shop")

    assert (kind.name, key) == ("Service", local("shop", "a"))


def test_a_document_without_lines_is_still_refused_in_one_line() -> None:
    with pytest.raises(InvalidResource) as refused:
        decode({"apiVersion": "v1", "kind": "Service", "metadata": None}, Where("stdin"))

    assert str(refused.value) == "stdin: metadata: is required"

"""What policy says holds between real programs: denials, routes' status, the way out of the mesh, verdicts."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.mesh.harness import Mesh, eventually, need

SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: guarded}
spec: {podSelector: {matchLabels: {app: guarded}}, port: 8080}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: guarded}
spec: {identityRefs: [{kind: ServiceAccount, name: front}, {kind: ServiceAccount, name: back}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: guarded}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: guarded}
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: guarded}]
"""
DENY = """
apiVersion: policy.gossamer.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-back}
spec: {selector: {matchLabels: {app: guarded}}, rules: [{action: Deny, clients: [{serviceAccounts: [{name: back}]}]}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec: {parentRefs: [{group: "", kind: Service, name: guarded}], rules: [{backendRefs: [{name: gone, port: 80}]}]}
"""
CLOSED = """
apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: closed}
spec: {trafficPolicy: Deny}
"""


@pytest.fixture(scope="module")
def guarded(mesh: Mesh) -> Mesh:
    need("curl")
    mesh.serve("guarded", sys.executable, "-m", "http.server", "8080", "--bind", "0.0.0.0")
    return mesh


def code(mesh: Mesh, who: str, url: str) -> str:
    """curl's answer: a status, or 000 where there was none."""
    return mesh.ask(who, "curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", url).stdout.decode()


def test_a_denial_wins_over_what_admits_and_ends_with_its_document(guarded: Mesh) -> None:
    url = "http://guarded:8080/"
    guarded.apply(SERVER)
    eventually("both are admitted", lambda: (code(guarded, "front", url), code(guarded, "back", url)) == ("200", "200"))
    guarded.apply(DENY)
    eventually("one is denied", lambda: code(guarded, "back", url) == "403")
    assert code(guarded, "front", url) == "200"

    explained = guarded.cli("authz", "explain", "--from", "back", "--to", "guarded", "--port", "8080", check=False)
    assert explained.returncode == 1
    assert explained.stdout.startswith("refused: AccessPolicy/no-back (rule-0) denies it, whatever else admits")

    guarded.cli("delete", "accesspolicy", "no-back")
    eventually("it is admitted again", lambda: code(guarded, "back", url) == "200")
    guarded.cli("delete", "-f", "-", stdin=SERVER)


def test_a_route_that_leads_nowhere_says_so_in_its_status(guarded: Mesh) -> None:
    guarded.apply(ROUTE)
    eventually("it answers 500", lambda: code(guarded, "front", "http://guarded:8080/") == "500")

    route = guarded.json("get", "httproute", "guarded")
    (parent,) = route["status"]["parents"]
    assert {one["type"]: one["reason"] for one in parent["conditions"]} == {
        "Accepted": "Accepted",
        "ResolvedRefs": "BackendNotFound",
    }
    guarded.cli("delete", "httproute", "guarded")


def test_link_local_addresses_are_refused(guarded: Mesh) -> None:
    assert code(guarded, "front", "http://169.254.169.254/latest/meta-data/") in ("000", "403")


def test_a_closed_egress_network_closes_the_way_out(guarded: Mesh) -> None:
    with outside() as url:
        assert code(guarded, "front", url) == "200"
        guarded.apply(CLOSED)
        eventually("the way out is closed", lambda: code(guarded, "front", url) == "403")
        guarded.cli("delete", "egressnetwork", "closed")
        eventually("the way out is open", lambda: code(guarded, "front", url) == "200")


class Plain(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def outside() -> Iterator[str]:
    """An HTTP server on an address of this machine that is not loopback: for programs of the mesh, outside."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        # Sends nothing: it asks which address would be used.
        probe.connect(("198.51.100.1", 9))
        address = probe.getsockname()[0]
    except OSError:
        pytest.skip("this machine has no address but loopback")
    finally:
        probe.close()
    server = http.server.ThreadingHTTPServer((address, 0), Plain)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()

"""How traffic behaves when programs misbehave: real programs, real routes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.mesh.harness import Mesh

STEADY = str(Path(__file__).parent / "apps" / "steady.py")

RETRIED = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: patient
  annotations: {retry.linkerd.io/http: "500-503", retry.linkerd.io/limit: "12"}
spec:
  parentRefs: [{kind: Service, group: core, name: shaky, port: 8080}]
  rules:
  - backendRefs: [{name: shaky, port: 8080}]
"""


def heard(mesh: Mesh, service: str, count: int) -> dict[str, int]:
    client = mesh.ask("client", sys.executable, STEADY, "ask", service, "8080", str(count))
    assert client.returncode == 0, client.stderr.decode()
    counted: dict[str, int] = json.loads(client.stdout)
    return counted


def test_a_caller_does_not_notice_that_one_of_two_replicas_fails_where_its_route_retries(mesh: Mesh) -> None:
    sick = mesh.serve("shaky", sys.executable, STEADY, "serve", "8080", "503")
    well = mesh.serve("shaky", sys.executable, STEADY, "serve", "8080", "200", count=2)
    before = heard(mesh, "shaky", 40)
    assert before["503"] + before["200"] == 40, before
    assert before["503"] > 0, "both replicas are asked"
    mesh.apply(RETRIED)
    asked = sick.text().count("request"), well.text().count("request")
    assert heard(mesh, "shaky", 40) == {"200": 40}
    failed, served = sick.text().count("request") - asked[0], well.text().count("request") - asked[1]
    assert served == 40, "what was answered is not said again"
    assert failed > 0, "retries are what helped"

"""Whose fault is it? Six failures, each named by one command with the right author."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import Mesh, eventually, need

ECHO = str(Path(__file__).parent / "apps" / "echo.mjs")

REFUSING = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: closed, namespace: default}
spec:
  podSelector: {matchLabels: {app: closed}}
  port: 8080
  proxyProtocol: HTTP/1
"""

IMPATIENT = """
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: slow, namespace: default}
spec:
  parentRefs: [{kind: Service, group: core, name: slow, port: 8080}]
  rules:
  - timeouts: {request: 300ms}
    backendRefs: [{name: slow, port: 8080}]
"""


@pytest.fixture(scope="module")
def broken() -> Iterator[Mesh]:
    """Services that fail, each in its own way."""
    node = need("node")
    with harness.mesh() as mesh:
        for service in ("sick", "resetting", "slow", "closed"):
            mesh.run(service, node.path, ECHO, "8080", options=("--label", f"app={service}"))
        # It says that it listens on 8080, and does not.
        mesh.run(
            "down", sys.executable, "-c", "import time; time.sleep(3600)", options=("--port", "8080", "--ready", "none")
        )
        for service in ("sick", "resetting", "slow", "closed"):
            eventually(f"{service} is published", functools.partial(mesh.ready, service))
        mesh.apply(REFUSING)
        mesh.apply(IMPATIENT)
        yield mesh


CASES = {
    "the application answers 503": ("sick", "/status?code=503", "application"),
    "the application resets": ("resetting", "/reset", "application"),
    "the application is down": ("down", "/", "application"),
    "the application is slow": ("slow", "/hang", "application"),
    "policy refuses": ("closed", "/", "mesh inbound"),
}


@pytest.mark.parametrize("case", CASES)
def test_why_names_the_author(broken: Mesh, case: str) -> None:
    service, path, author = CASES[case]
    curl = need("curl")

    broken.ask(
        f"c-{service}", curl.path, "-sS", "-m", "10", f"http://{service}:8080{path}", environment=curl.environment
    )

    def named() -> bool:
        result = broken.cli("why", service, "-o", "json", check=False)
        return any(each["author"] == author for each in json.loads(result.stdout or "{}").get("failures", []))

    eventually(f"why {service} names {author}", named, 10)


def test_why_names_a_dead_control_plane() -> None:
    curl = need("curl")
    with harness.mesh() as mesh:
        client = mesh.serve("shell", sys.executable, "-m", "http.server", "8080")
        assert client.process.poll() is None
        os.kill(mesh.json("version")["server"]["pid"], signal.SIGKILL)

        result = mesh.cli("why", "shell", check=False)

        assert result.returncode != 0
        assert "control plane" in result.stdout + result.stderr
        assert curl

"""What `gossamer authz` asks of a running mesh: why one request is let in or not, and what would be enough. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from gossamer.api import subjects
from gossamer.api.diagnose import NoAnswer
from gossamer.model.edge import Edge
from gossamer.model.names import identity
from gossamer.model.snapshot import View
from gossamer.model.workload import Workload
from gossamer.policy.decide import Client, Request
from gossamer.policy.explain import explain
from gossamer.policy.suggest import Seen, suggest

NOWHERE = ip_address("192.0.2.1")


def explained(view: View, question: str, namespace: str) -> Iterator[str]:
    """One JSON text per workload behind what is called. Raises NoAnswer for what makes no sense."""
    asked = _asked(question)
    client = _client(view, asked["from"], namespace)
    request = None
    if asked.get("path") is not None:
        headers = tuple((str(name), str(value)) for name, value in asked.get("headers", []))
        request = Request(asked.get("method", "GET"), asked["path"], asked["to"].rpartition("/")[2], headers)
    for workload in _subject(view, asked["to"], namespace):
        port = asked.get("port") or _only_port(workload)
        found = explain(view, workload, port, client, request)
        yield json.dumps(
            {
                "admitted": found.verdict.admitted,
                "outcome": found.verdict.outcome.value,
                "because": found.because,
                "place": found.place,
                "client": client.identity,
                "workload": str(workload.key),
                "port": port,
                "considered": [
                    {"policy": one.policy, "place": one.place, "said": one.said} for one in found.considered
                ],
            }
        )


def _asked(question: str) -> dict[str, Any]:
    try:
        asked = json.loads(question)
    except ValueError as error:
        raise NoAnswer(f"not a question: {error}") from error
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name), str) for name in ("from", "to")):
        raise NoAnswer("a question needs from and to")
    return asked


def suggested(view: View, edges: Iterable[Edge], namespace: str) -> Iterator[str]:
    """One JSON text per document."""
    seen = (
        Seen(edge.client_id, where, name, port.target)
        for edge in edges
        if edge.successes and edge.tls and edge.client_id
        for where, _, name in (edge.server.partition("/"),)
        if not namespace or where == namespace
        for port in _called(view, where, name)
    )
    return (json.dumps(one) for one in suggest(seen))


def _called(view: View, namespace: str, name: str) -> Iterable[Any]:
    try:
        found = subjects.find(view, f"{namespace}/{name}", namespace)
    except subjects.Unknown:
        return ()
    return {port.target: port for workload in found.workloads for port in workload.ports}.values()


def _client(view: View, text: str, namespace: str) -> Client:
    """A workload, the first behind a service, an account that has no workload, or an identity."""
    if "." in text or "://" in text:
        return Client(text, NOWHERE)
    try:
        workloads = subjects.find(view, text, namespace).workloads
    except subjects.Unknown:
        workloads = ()
    if workloads:
        return Client(workloads[0].identity, workloads[0].address, bool(workloads[0].identity))
    within, slash, name = text.rpartition("/")
    mesh = view.mesh
    account = identity(name, within if slash else namespace, mesh.control_namespace, mesh.trust_domain)
    return Client(account, NOWHERE)


def _subject(view: View, text: str, namespace: str) -> tuple[Workload, ...]:
    try:
        found = subjects.find(view, text, namespace).workloads
    except subjects.Unknown as error:
        raise NoAnswer(str(error)) from error
    if not found:
        raise NoAnswer(f"{text} has no workload now")
    return found


def _only_port(workload: Workload) -> int:
    ports = sorted({port.target for port in workload.ports})
    if len(ports) != 1:
        named = f" ({', '.join(map(str, ports))})" if ports else ""
        raise NoAnswer(f"{workload.key} has {len(ports)} ports{named}: say which by --port")
    return ports[0]

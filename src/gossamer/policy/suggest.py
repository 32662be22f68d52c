"""Least privilege from what was seen: for each service that is called, one Server, one list of its callers, one policy.

Only traffic that worked and whose client was known by certificate is taken up: what was refused, or came in the clear,
is no reason to allow anything. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """Calls that succeeded: a client's identity, the namespace, service account's service name and port it called."""

    identity: str
    namespace: str
    service: str
    port: int


def suggest(seen: Iterable[Seen]) -> Iterator[dict[str, Any]]:
    """Documents as people would write them, by namespace, service and port."""
    callers: dict[tuple[str, str, int], set[str]] = {}
    for one in seen:
        if one.identity:
            callers.setdefault((one.namespace, one.service, one.port), set()).add(one.identity)
    for (namespace, service, port), identities in sorted(callers.items()):
        name = f"{service}-{port}"
        metadata = {"name": name, "namespace": namespace}
        yield {
            "apiVersion": "policy.linkerd.io/v1beta3",
            "kind": "Server",
            "metadata": metadata,
            "spec": {"podSelector": {"matchLabels": {"app": service}}, "port": port, "accessPolicy": "deny"},
        }
        yield {
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "MeshTLSAuthentication",
            "metadata": {**metadata, "name": f"{name}-callers"},
            "spec": {"identities": sorted(identities)},
        }
        yield {
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": metadata,
            "spec": {
                "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": name},
                "requiredAuthenticationRefs": [
                    {"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": f"{name}-callers"}
                ],
            },
        }

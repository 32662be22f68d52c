"""Resources as documents, for `get`: what was applied as it was applied, what the mesh made as it would be written.

Pure, but for the two lookups it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gossamer.api.plane import Document, Plane, Sidecar
from gossamer.model.kinds import ALL, Object, called
from gossamer.model.names import Key, Kind
from gossamer.model.service import SERVICE, Service
from gossamer.model.workload import Workload
from gossamer.policy import conditions


@dataclass(frozen=True, slots=True)
class Listed:
    kind: str
    namespace: str
    name: str
    origin: str
    document: Document


class UnknownKind(Exception):
    """No kind goes by that name; the message lists those that do."""


def kinds(word: str) -> tuple[Kind[Any], ...]:
    """The kinds meant by "server", "svc", "servers.policy.linkerd.io", "all"."""
    if word.lower() == "all":
        return ALL
    found = called(word)
    if not found:
        known = ", ".join(dict.fromkeys(kind.plural for kind in ALL))
        raise UnknownKind(f"there is no kind {word!r}; known: {known}")
    return found


def listed(plane: Plane, word: str, namespace: str, name: str) -> Iterator[Listed]:
    """Objects of a kind, by namespace and name. An empty namespace or name means all. Raises UnknownKind."""
    sidecars = plane.sidecars()
    for kind in kinds(word):
        for (_, where), named in sorted(plane.state.snapshot.all(kind).items()):
            if namespace and kind.namespaced and where != namespace:
                continue
            for key, value in sorted(named.items()):
                if not name or key == name:
                    yield Listed(
                        kind.name, where, key, str(value.origin), document(plane, value, sidecars.get(value.key))
                    )


def document(plane: Plane, value: Object, sidecar: Sidecar | None = None) -> Document:
    """The object as a document: the one people wrote, with what the mesh added; or one made of its value."""
    if isinstance(value, Workload):
        return workload_document(value, sidecar)
    written = plane.declared.document(value.kind, value.key) if value.origin.source == "store" else None
    written = written or plane.original(value)
    if isinstance(value, Service):
        made = service_document(value)
        if written is None:
            return made
        return {**written, "spec": {**made_address(value), **(written.get("spec") or {})}}
    found = written or bare_document(value.kind, value.key)
    # What others have written there is not ours to show: the conditions are computed, as a sidecar is answered.
    status = conditions.status(plane.state.snapshot, value)
    return found if status is None else {**found, "status": status}


def made_address(value: Service) -> Document:
    if value.headless:
        return {"clusterIP": "None"}
    return {"clusterIP": str(value.cluster_ips[0])} if value.cluster_ips else {}


def bare_document(kind: Kind[Any], key: Key) -> Document:
    version = kind.versions[0] if kind.versions else "v1"
    metadata = {"name": key.name, "namespace": key.namespace} if kind.namespaced else {"name": key.name}
    return {"apiVersion": f"{kind.group}/{version}" if kind.group else version, "kind": kind.name, "metadata": metadata}


def service_document(value: Service) -> Document:
    made = bare_document(SERVICE, value.key)
    if value.labels:
        made["metadata"]["labels"] = dict(value.labels)
    made["spec"] = {
        **made_address(value),
        "ports": [
            {"name": port.name, "port": port.port, "targetPort": port.target}
            | ({"appProtocol": port.app_protocol} if port.app_protocol else {})
            for port in value.ports
        ],
    }
    return made


def workload_document(value: Workload, sidecar: Sidecar | None) -> Document:
    made = bare_document(value.kind, value.key)
    made["apiVersion"] = "gossamer.dev/v1"
    made["metadata"]["labels"] = dict(value.labels)
    made["spec"] = {
        "service": value.service or "",
        "serviceAccount": value.service_account,
        "identity": value.identity,
        "address": str(value.address),
        "ports": [
            {"name": port.name, "port": port.port, "target": port.target, "opaque": port.opaque} for port in value.ports
        ],
    }
    made["status"] = {"ready": value.ready} | (
        {"pid": sidecar.pid, "started": int(sidecar.started)} if sidecar is not None else {}
    )
    return made


def as_json(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

"""Who asks, and whether it may ask in that workload's name.

What a request says of its sender is advisory (security §2.2): the verified identity of the connection decides.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gossamer.kit.grpc.status import Code, Status
from gossamer.model.names import Key, is_uri, local
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Source
from gossamer.model.workload import EXTERNAL_WORKLOAD, WORKLOAD, ExternalWorkload, Workload

MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its sender. `name` is "" where it names only a namespace."""

    namespace: str
    name: str = ""
    external: bool = False
    node: str = ""

    @property
    def key(self) -> Key:
        return local(self.namespace, self.name)


def workload(text: str) -> Claim:
    """`{"ns","pod"}`, `{"ns","external_workload"}` or `ns:pod` (reference §2.1). Raises Status INVALID_ARGUMENT."""
    claim = _json(text) if text.startswith("{") else _pair(text)
    if claim is None or not claim.namespace or not claim.name:
        raise Status(Code.INVALID_ARGUMENT, f"Invalid workload: {text[:256]}")
    return claim


def context(text: str) -> Claim | None:
    """`{"ns","nodeName","pod"}` or the old `ns:<ns>`; None when it is empty. Raises Status INVALID_ARGUMENT."""
    if not text:
        return None
    kind, _, namespace = text.partition(":")
    claim = _json(text) if text.startswith("{") else Claim(namespace) if kind == "ns" else None
    if claim is None or not claim.namespace:
        raise Status(Code.INVALID_ARGUMENT, f"Invalid context token: {text[:256]}")
    return claim


def check(claim: Claim, peer: str | None, snapshot: Snapshot) -> Workload | ExternalWorkload | None:
    """The workload that `peer` speaks for, None when it is not known here. Raises Status PERMISSION_DENIED.

    A workload that is not known can be claimed only from its own namespace.
    """
    if peer is None:
        raise Status(Code.PERMISSION_DENIED, "a client certificate of the mesh is needed")
    found = _find(claim, snapshot)
    allowed = found.identity == peer if found is not None else namespace_of(peer) == claim.namespace
    if not allowed:
        raise Status(Code.PERMISSION_DENIED, f"{peer} may not ask for {claim.namespace}/{claim.name or '*'}")
    return found


def _find(claim: Claim, snapshot: Snapshot) -> Workload | ExternalWorkload | None:
    if claim.external:
        return snapshot.get(EXTERNAL_WORKLOAD, claim.key)
    return snapshot.get(WORKLOAD, claim.key) if claim.name else None


def source(claim: Claim | None, peer: str | None, snapshot: Snapshot) -> Source:
    """What answers to this caller may depend on. Without a claim, its certificate says the namespace."""
    if claim is None:
        claim = Claim(namespace_of(peer) if peer else "")
    found = check(claim, peer, snapshot)
    if isinstance(found, Workload):
        return Source(claim.namespace, node=found.node, zone=found.zone, machine=found.machine)
    return Source(claim.namespace, node=claim.node, zone=found.zone if found else "")


def namespace_of(identity: str) -> str:
    """The namespace in a DNS-like identity, "" where there is none to see."""
    labels = identity.split(".")
    if is_uri(identity) or len(labels) < 5 or labels[2:4] != ["serviceaccount", "identity"]:
        return ""
    return labels[1]


def _json(text: str) -> Claim | None:
    if len(text) > MAX_TEXT:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = {"ns", "pod", "external_workload", "nodeName"}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return None
    if not found.keys() <= known or {"pod", "external_workload"} <= found.keys():
        return None
    external = "external_workload" in found
    name = found["external_workload"] if external else found.get("pod", "")
    return Claim(str(found.get("ns", "")), str(name), external, str(found.get("nodeName", "")))


def _pair(text: str) -> Claim | None:
    namespace, _, pod = text.partition(":")
    return Claim(namespace, pod)

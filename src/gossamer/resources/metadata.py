"""What every document begins with: which kind it is, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.model.kinds import WRITABLE
from gossamer.model.names import LOCAL_CLUSTER, Key, Kind, Labels
from gossamer.resources import values
from gossamer.resources.problem import InvalidResource, Where
from gossamer.resources.reader import Reader

MAX_ANNOTATIONS = 256 * 1024


@dataclass(frozen=True, slots=True)
class Metadata:
    key: Key
    labels: Labels
    annotations: Labels
    created: int


def kind_of(document: Mapping[str, Any], where: Where) -> Kind[Any]:
    """The kind a document says it is. Raises InvalidResource naming the kinds there are."""
    api_version, name = document.get("apiVersion"), document.get("kind")
    if not isinstance(api_version, str) or not isinstance(name, str):
        missing = "kind" if isinstance(api_version, str) else "apiVersion"
        raise InvalidResource(where, missing, "is required", "begin the document with apiVersion and kind")
    group, slash, version = api_version.rpartition("/")
    found = next((kind for kind in WRITABLE if (kind.group, kind.name) == (group, name)), None)
    if found is None or bool(slash) != bool(group):
        known = ", ".join(f"{kind.name} ({_newest(kind)})" for kind in WRITABLE)
        raise InvalidResource(where, "kind", f"{name} of {api_version} is not a kind of this mesh", f"known: {known}")
    if version not in found.versions:
        raise InvalidResource(
            where, "apiVersion", f"{api_version} is not a version of {name}", f"write {_newest(found)}"
        )
    return found


def key_of(document: Mapping[str, Any], where: Where, namespace: str = "default") -> tuple[Kind[Any], Key]:
    """Kind and key alone, as deleting needs them; the rest of the document is not looked at."""
    kind = kind_of(document, where)
    reader = Reader(document.get("metadata"), "metadata", where)
    return kind, _key(reader, kind, namespace)


def read(document: Reader, kind: Kind[Any], namespace: str) -> Metadata:
    with document.required("metadata") as metadata:
        key = _key(metadata, kind, namespace)
        # Written by API servers and other tools; of no consequence here.
        metadata.ignore("uid", "resourceVersion", "generation", "managedFields", "ownerReferences", "finalizers")
        metadata.ignore("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")
        labels, annotations = metadata.strings("labels"), metadata.strings("annotations")
        if sum(len(name) + len(value) for name, value in annotations.items()) > MAX_ANNOTATIONS:
            metadata.refuse("annotations", f"more than {MAX_ANNOTATIONS >> 10} KiB")
        created = metadata.parsed("creationTimestamp", values.timestamp, "a time such as 2026-01-31T12:00:00Z")
        return Metadata(key, labels, annotations, created or 0)


def _key(metadata: Reader, kind: Kind[Any], namespace: str) -> Key:
    metadata.required_text("name")
    name = metadata.parsed("name", values.dns_name, "a name of lower-case letters, digits, - and .") or ""
    if not kind.namespaced:
        return Key(LOCAL_CLUSTER, "", name)
    within = metadata.parsed("namespace", values.dns_label, "a name of lower-case letters, digits and -")
    return Key(LOCAL_CLUSTER, within or namespace, name)


def _newest(kind: Kind[Any]) -> str:
    return f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0]

"""References from one document to another."""

from __future__ import annotations

from typing import Any

from gossamer.model.authorization import TargetRef
from gossamer.model.names import Kind
from gossamer.resources import values
from gossamer.resources.reader import Reader


def target_ref(reader: Reader, kinds: tuple[Kind[Any], ...]) -> TargetRef:
    """A reference to one of `kinds`, spelled as they are. The core group is "" or "core"."""
    with reader:
        group = core(reader.text("group") or "")
        written = reader.required_text("kind")
        kind = next((one for one in kinds if (one.group, one.name.lower()) == (group, written.lower())), None)
        if kind is None:
            known = ", ".join(f"{one.group or 'core'}/{one.name}" for one in kinds)
            reader.refuse("kind", f"{group or 'core'}/{written} cannot be referred to here", f"one of {known}")
        namespace = reader.parsed("namespace", values.dns_label, "a namespace")
        if namespace is not None and not kind.namespaced:
            reader.refuse("namespace", f"a {kind.name} lies in no namespace", "remove it")
        return TargetRef(kind.group, kind.name, namespace, reader.required_text("name"))


def core(group: str) -> str:
    """The core group under its one name, ""."""
    return "" if group == "core" else group

"""What a person means by `web`, `default/web-7f3k2`, `svc/web` or `workload/web-7f3k2`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.discovery.endpoints import members
from gossamer.model.names import Key, local
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import View
from gossamer.model.workload import WORKLOAD, Workload

_SERVICE_WORDS = ("service", "services", "svc")
_WORKLOAD_WORDS = ("workload", "workloads", "wl", "pod", "po", "deploy")


@dataclass(frozen=True, slots=True)
class Subject:
    """A service with the workloads behind it, or one workload (then `service` is None unless it has one)."""

    service: Service | None
    workloads: tuple[Workload, ...]
    # What was meant: the name of an edge's end.
    name: str


class Unknown(Exception):
    """Nothing goes by that name; the message names what is near."""


def find(view: View, text: str, namespace: str) -> Subject:
    """The service or workload of that name; a service wins unless the word before the slash says otherwise."""
    word, slash, name = text.partition("/")
    kind = ""
    if slash and word in (*_SERVICE_WORDS, *_WORKLOAD_WORDS):
        kind = "service" if word in _SERVICE_WORDS else "workload"
        key = local(namespace or "default", name)
    elif slash:
        key = local(word, name)
    else:
        key = local(namespace or "default", text)
    service = view.get(SERVICE, key) if kind != "workload" else None
    if service is not None:
        return Subject(service, serving(view, key), f"{key.namespace}/{key.name}")
    workload = view.get(WORKLOAD, key) if kind != "service" else None
    if workload is not None:
        owned = local(key.namespace, workload.service) if workload.service else None
        return Subject(view.get(SERVICE, owned) if owned else None, (workload,), f"{key.namespace}/{key.name}")
    # Programs without a service go by their label.
    labelled = tuple(one for one in view.within(WORKLOAD, key.namespace).values() if one.labels.get("app") == key.name)
    if labelled and kind != "service":
        return Subject(None, labelled, f"{key.namespace}/{key.name}")
    raise Unknown(_message(view, key))


def serving(view: View, service: Key) -> tuple[Workload, ...]:
    """The workloads behind a service, ready or not, by name."""
    found = view.get(SERVICE, service)
    return tuple(sorted(members(view, found), key=lambda one: one.key)) if found is not None else ()


def _message(view: View, key: Key) -> str:
    names = sorted({*view.within(SERVICE, key.namespace), *view.within(WORKLOAD, key.namespace)})
    known = f"known: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "there are none"
    return f"no service or workload {key.name} in namespace {key.namespace} ({known})"

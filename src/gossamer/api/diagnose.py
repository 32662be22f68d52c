"""What the control plane would answer to a sidecar, for `gossamer diagnostics`. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from gossamer.api import subjects
from gossamer.compile import compile
from gossamer.model.names import local, service_name
from gossamer.model.proxy_config import Config, EndpointSet, Invalid, NotFound
from gossamer.model.snapshot import View
from gossamer.model.subscription import AddressTarget, Endpoints, Inbound, NameTarget, Outbound, Profile, Source, Target

Show = Callable[[Config], str]


class NoAnswer(Exception):
    """The question makes no sense or has no answer; the message says what to ask."""


def diagnose(view: View, show: Show, what: str, arguments: Sequence[str], namespace: str) -> list[str]:
    """One JSON text per answer. `what` is "endpoints" (of authorities), "policy" (of a workload or service and a
    port) or "profile" (of an address or authority)."""
    match what:
        case "endpoints":
            return [_endpoints(view, authority, namespace) for authority in arguments]
        case "policy" if len(arguments) == 2:
            return _policy(view, show, arguments[0], _port(arguments[1]), namespace)
        case "profile":
            questions = [Profile(Source(namespace), target(one, view, namespace)) for one in arguments]
            return [show(_found(compile(view, question))) for question in questions]
        case _:
            raise NoAnswer(f"diagnostics {what} with {len(arguments)} arguments: not known here")


def target(text: str, view: View, namespace: str) -> Target:
    """`198.19.0.2:80`, `web:80`, `web.default.svc.cluster.local:80`."""
    host, _, port = text.rpartition(":")
    if not host:
        raise NoAnswer(f"{text!r}: expected HOST:PORT")
    number = _port(port)
    try:
        return AddressTarget(ip_address(host.strip("[]")), number)
    except ValueError:
        return NameTarget(_qualified(host.lower().rstrip("."), view, namespace), number)


def _qualified(host: str, view: View, namespace: str) -> str:
    labels = host.split(".")
    domain = view.mesh.cluster_domain
    if host.endswith(f".svc.{domain}"):
        return host
    if len(labels) == 1:
        return service_name(local(namespace, host), domain)
    if len(labels) == 2 or (len(labels) == 3 and labels[2] == "svc"):
        return service_name(local(labels[1], labels[0]), domain)
    return host


def _endpoints(view: View, authority: str, namespace: str) -> str:
    asked = target(authority, view, namespace)
    if not isinstance(asked, NameTarget):
        raise NoAnswer(f"{authority!r}: expected the name of a service and a port")
    answer = _found(compile(view, Endpoints(Source(namespace), asked)))
    assert isinstance(answer, EndpointSet)
    return json.dumps(
        [
            {
                "namespace": answer.labels.get("namespace", ""),
                "ip": str(one.address),
                "port": one.port,
                "pod": one.labels.get("pod", ""),
                "service": asked.name,
                "weight": one.weight,
                "identity": one.tls.identity if one.tls is not None else "",
                "inbound_port": one.inbound_port,
            }
            for one in answer.endpoints
        ]
    )


def _policy(view: View, show: Show, name: str, port: int, namespace: str) -> list[str]:
    """A service's outbound policy when a service is named, else a workload's inbound one."""
    try:
        subject = subjects.find(view, name, namespace)
    except subjects.Unknown as error:
        raise NoAnswer(str(error)) from error
    kind = name.partition("/")[0]
    if subject.service is not None and kind in ("svc", "service", "services"):
        asked = NameTarget(service_name(subject.service.key, view.mesh.cluster_domain), port)
        addresses = subject.service.cluster_ips
        aim: Target = AddressTarget(addresses[0], port) if addresses else asked
        return [show(_found(compile(view, Outbound(Source(namespace), aim))))]
    return [show(_found(compile(view, Inbound(workload.key, port)))) for workload in subject.workloads]


def _found(answer: Config) -> Config:
    if isinstance(answer, NotFound | Invalid):
        raise NoAnswer(answer.reason)
    return answer


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise NoAnswer(f"{text!r}: expected a port from 1 to 65535")
    return int(text)

"""What would change if these documents were applied: configurations, and observed edges that would be refused. Pure.

The prediction is the control plane's own function on the snapshot that would be; nothing is sent to anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gossamer.api.describe import meta_word
from gossamer.api.judge import Client, admits
from gossamer.api.subjects import serving
from gossamer.compile import compile
from gossamer.model.authorization import SERVER
from gossamer.model.edge import Edge
from gossamer.model.names import IPAddress, Key, local, service_name
from gossamer.model.proxy_config import Config, InboundConfig, NotFound
from gossamer.model.service import SERVICE, Service
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import (
    AddressTarget,
    Endpoints,
    Inbound,
    Names,
    NameTarget,
    Outbound,
    Source,
    Subscription,
)
from gossamer.model.workload import WORKLOAD, Workload

Show = Callable[[Config], str]


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after` are what `show` made of the configurations, "" for none."""

    what: str
    subject: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Refused:
    client_id: str
    server: str
    port: int
    reason: str


def changes(before: Snapshot, after: Snapshot, show: Show) -> Iterator[Change]:
    """Every configuration some sidecar could ask for whose answer differs, by kind and subject."""
    questions = dict.fromkeys([*_questions(before), *_questions(after)])
    for what, subject, question in sorted(questions, key=lambda one: one[:2]):
        old, new = compile(before, question), compile(after, question)
        if old != new:
            yield Change(what, subject, _shown(old, show), _shown(new, show))


def refused(before: Snapshot, after: Snapshot, edges: Iterable[Edge]) -> Iterator[Refused]:
    """Edges that were seen to work and would be refused. Clients are judged by identity and by where they are."""
    for edge in edges:
        if not edge.successes:
            continue
        client = Client(edge.client_id, edge.tls, _addresses(after, edge.client_id))
        for workload in _servers(after, edge.server):
            for port in _ports(after, workload, edge):
                old = compile(before, Inbound(workload.key, port))
                new = compile(after, Inbound(workload.key, port))
                if not isinstance(new, InboundConfig) or not isinstance(old, InboundConfig):
                    continue
                lost = admits(old, client)
                if lost is not None and admits(new, client) is None:
                    yield Refused(
                        edge.client_id or edge.client,
                        str(workload.key),
                        port,
                        f"{meta_word(new.meta)} admits it no longer (it was {meta_word(lost)} that did)",
                    )


Question = tuple[str, str, Subscription]


def _questions(snapshot: Snapshot) -> Iterator[Question]:
    namespaces = {""}
    for (_, namespace), workloads in snapshot.all(WORKLOAD).items():
        namespaces.add(namespace)
        for workload in workloads.values():
            for number in _all_ports(snapshot, workload):
                yield "inbound", f"{workload.key}:{number}", Inbound(workload.key, number)
    for (_, namespace), services in snapshot.all(SERVICE).items():
        for service in services.values():
            yield from _about_service(snapshot, service, Source(namespace))
    for namespace in sorted(namespaces - {""}):
        yield "names", namespace, Names(Source(namespace))


def _about_service(snapshot: Snapshot, service: Service, source: Source) -> Iterator[Question]:
    name = service_name(service.key, snapshot.mesh.cluster_domain)
    for port in service.ports:
        subject = f"{service.key}:{port.port}"
        for address in service.cluster_ips[:1]:
            yield "outbound", subject, Outbound(source, AddressTarget(address, port.port))
        yield "endpoints", subject, Endpoints(source, NameTarget(name, port.port))


def _all_ports(snapshot: Snapshot, workload: Workload) -> set[int]:
    servers = snapshot.within(SERVER, workload.key.namespace, workload.key.cluster).values()
    return {port.target for port in workload.ports} | {one.port for one in servers if isinstance(one.port, int)}


def _shown(config: Config, show: Show) -> str:
    return "" if isinstance(config, NotFound) else show(config)


def _addresses(snapshot: Snapshot, identity: str) -> tuple[IPAddress, ...]:
    return tuple(
        address
        for workloads in snapshot.all(WORKLOAD).values()
        for workload in workloads.values()
        if identity and workload.identity == identity
        for address in workload.addresses
    )


def _servers(snapshot: Snapshot, name: str) -> tuple[Workload, ...]:
    namespace, found, service = name.partition("/")
    if not found:
        return ()
    key: Key = local(namespace, service)
    behind = serving(snapshot, key)
    alone = snapshot.get(WORKLOAD, key)
    return behind or ((alone,) if alone is not None else ())


def _ports(snapshot: Snapshot, workload: Workload, edge: Edge) -> list[int]:
    """The port that was called; the edge's, where the workload has it, else all it has."""
    targets = sorted({port.target for port in workload.ports})
    called = [port.target for port in workload.ports if edge.port in (port.port, port.target)]
    return sorted(set(called)) or targets

"""The file of `gossamer authz test`: workloads, questions, and the verdicts that are expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from gossamer.model.authorization import DefaultPolicy
from gossamer.model.mesh import Mesh
from gossamer.model.names import IPAddress, Key, identity, local
from gossamer.model.ports import PortSet, parse_ports
from gossamer.model.workload import Workload, WorkloadPort
from gossamer.resources import values
from gossamer.resources.problem import Where
from gossamer.resources.reader import Reader

EXPECTED = ("allow", "deny", "audit")
# Where a client is when a test does not say.
NOWHERE = ip_address("192.0.2.1")


@dataclass(frozen=True, slots=True)
class Expectation:
    """`identity` "" has no certificate; `path` None is a connection whose bytes are not HTTP."""

    name: str
    line: int
    identity: str
    address: IPAddress
    to: Key
    port: int
    method: str
    path: str | None
    host: str
    headers: tuple[tuple[str, str], ...]
    expect: str
    # Kind/name of what must have decided; "" does not matter.
    by: str


@dataclass(frozen=True, slots=True)
class Table:
    # Files and folders of resources, as written.
    resources: tuple[str, ...]
    mesh: Mesh
    workloads: tuple[Workload, ...]
    tests: tuple[Expectation, ...]


def table(document: Mapping[str, Any], where: Where) -> Table:
    """Raises InvalidResource naming the field."""
    with Reader(dict(document), "", where) as reader:
        resources = reader.texts("resources")
        mesh = _mesh(reader.object("mesh"))
        workloads = tuple(_workload(one, mesh) for one in reader.objects("workloads"))
        if not workloads:
            reader.refuse("workloads", "needs at least one workload")
        tests = tuple(_test(one, mesh, {one.key for one in workloads}) for one in reader.objects("tests"))
        if not tests:
            reader.refuse("tests", "needs at least one test")
        return Table(resources, mesh, workloads, tests)


def _mesh(reader: Reader | None) -> Mesh:
    plain = Mesh()
    if reader is None:
        return plain
    with reader:
        policy = reader.choice("defaultPolicy", [one.value for one in DefaultPolicy])
        networks = []
        for index, text in enumerate(reader.texts("clusterNetworks")):
            try:
                networks.append(values.network(text))
            except ValueError:
                reader.refuse(f"clusterNetworks[{index}]", f"{text!r} is not a network such as 10.0.0.0/8")
        return Mesh(
            trust_domain=reader.text("trustDomain") or plain.trust_domain,
            control_namespace=reader.text("controlNamespace") or plain.control_namespace,
            default_policy=DefaultPolicy(policy) if policy else plain.default_policy,
            cluster_networks=tuple(networks) or plain.cluster_networks,
        )


def _workload(reader: Reader, mesh: Mesh) -> Workload:
    with reader:
        key = _key(reader, "name")
        account = reader.text("serviceAccount") or key.name
        labels = reader.strings("labels") or {"app": key.name}
        ports = []
        for one in reader.objects("ports"):
            with one:
                number = one.required_port("port")
                ports.append(WorkloadPort(one.text("name") or "", number, number))
        policy = reader.choice("defaultPolicy", [one.value for one in DefaultPolicy])
        return Workload(
            key,
            account,
            identity(account, key.namespace, mesh.control_namespace, mesh.trust_domain),
            (NOWHERE,),
            tuple(ports),
            labels,
            _opaque_ports(reader),
            DefaultPolicy(policy) if policy else None,
        )


def _opaque_ports(reader: Reader) -> PortSet | None:
    text = reader.text("opaquePorts")
    ports = parse_ports(text) if text is not None else None
    if text is not None and ports is None:
        reader.refuse("opaquePorts", f"{text!r} is not a list of ports", 'write "3306,8080-8090"')
    return ports


def _test(reader: Reader, mesh: Mesh, known: set[Key]) -> Expectation:
    with reader:
        to = _key(reader, "to")
        if to not in known:
            reader.refuse("to", f"{to} is none of the workloads", f"known: {', '.join(map(str, sorted(known)))}")
        headers = tuple((name.lower(), value) for name, value in sorted(reader.strings("headers").items()))
        connection = reader.boolean("connection", False)
        path = reader.text("path")
        if connection and path is not None:
            reader.refuse("path", "a connection has none", "remove one of them")
        expect = reader.required_text("expect")
        reader.choice("expect", EXPECTED)
        return Expectation(
            reader.text("name") or "",
            reader.where.at(reader.path),
            _client(reader, mesh),
            reader.parsed("address", values.address, "an IP address") or NOWHERE,
            to,
            reader.required_port("port"),
            reader.text("method") or "GET",
            None if connection else path or "/",
            reader.text("host") or "",
            headers,
            expect,
            reader.text("by") or "",
        )


def _client(reader: Reader, mesh: Mesh) -> str:
    """`from: namespace/account`, or `identity`, or neither: a client without a certificate."""
    name = reader.text("identity")
    if reader.has("from"):
        if name is not None:
            reader.refuse("identity", "goes without from")
        account = _key(reader, "from")
        return identity(account.name, account.namespace, mesh.control_namespace, mesh.trust_domain)
    reader.text("from")
    return name or ""


def _key(reader: Reader, field: str) -> Key:
    """`namespace/name`; the namespace default may be left out."""
    text = reader.required_text(field)
    namespace, slash, name = text.rpartition("/")
    try:
        return local(values.dns_label(namespace) if slash else "default", values.dns_name(name))
    except ValueError:
        reader.refuse(field, f"{text!r} is not namespace/name")

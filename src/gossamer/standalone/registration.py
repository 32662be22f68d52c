"""A registered program as a value: what `run` asked for, what is stored of it, and what the mesh sees of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from typing import Any

from gossamer.model.mesh import OPAQUE_PORTS, Mesh
from gossamer.model.names import IPAddress, Key, Origin, identity, local
from gossamer.model.ports import port_set
from gossamer.model.service import Service, ServicePort
from gossamer.model.workload import INBOUND_PORT, ExternalWorkload, Sidecar, Workload, WorkloadPort
from gossamer.ports import Holder

ORIGIN = Origin("run")
MOST_PORTS = 256
MOST_LABELS = 64
# So much of a service's name begins a workload's: with "-" and five characters behind it, that is a label too.
LONGEST_FRONT = 57

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class Refused(Exception):
    """What was asked for cannot be; one line for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine is: what its workloads inherit. Empty: unknown."""

    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a joined machine has free for a workload of its: an address of its loopback, and where others reach it."""

    machine: str
    address: IPv4Address
    advertised: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What `gossamer run` was told. `labels` hold `app` unless given; `ports` may be empty: those it listens on."""

    namespace: str
    service: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)
    replica: str | None = None
    ports: tuple[WorkloadPort, ...] = ()
    opaque_ports: tuple[int, ...] = ()
    # Targets that `--publish` offers to programs outside the mesh.
    public_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Registration:
    """`session` is the hex SHA-256 of the secret that resumes it. Times are seconds since the epoch."""

    asked: Asked
    name: str
    address: str
    session: str
    pid: int
    started: float
    # Ports the program listens on, as its launcher says.
    listening: tuple[int, ...] = ()
    withdrawn: bool = False
    # When it ends; None while its launcher is connected.
    lease_end: float | None = None
    # A disconnected launcher's endpoint is taken back, unless it is this process that was away.
    published: bool = True
    # The joined machine that runs it; "" is the control plane's own.
    machine: str = ""
    # Where other machines reach its sidecar, "10.9.0.2:24000"; "" for nowhere.
    advertised: str = ""
    # Of several replicas of the control plane the one that has its launcher, or had; "" where there is one only.
    replica: str = ""

    @property
    def key(self) -> Key:
        return local(self.asked.namespace, self.name)

    @property
    def service(self) -> Key:
        return local(self.asked.namespace, self.asked.service)

    @property
    def ports(self) -> tuple[WorkloadPort, ...]:
        """Those that were asked for, or those it listens on."""
        if self.asked.ports:
            return self.asked.ports
        opaque = set(self.asked.opaque_ports)
        return tuple(WorkloadPort(f"port-{port}", port, port, port in opaque) for port in self.listening)

    @property
    def ready(self) -> bool:
        listens = any(port.target in self.listening for port in self.ports)
        return listens and self.published and not self.withdrawn

    @property
    def holder(self) -> Holder:
        """For whom its tokens are."""
        return Holder(str(self.key), self.session)

    def identity(self, mesh: Mesh) -> str:
        return identity(self.asked.service_account, self.asked.namespace, mesh.control_namespace, mesh.trust_domain)

    @property
    def advertises(self) -> tuple[IPAddress, int] | None:
        host, _, port = self.advertised.rpartition(":")
        return (ip_address(host), int(port)) if host else None

    def workload(self, mesh: Mesh, place: Place) -> Workload:
        return Workload(
            key=self.key,
            service_account=self.asked.service_account,
            identity=self.identity(mesh),
            addresses=(IPv4Address(self.address),),
            ports=self.ports,
            labels=dict(self.asked.labels),
            service=self.asked.service,
            node=place.node,
            zone=place.zone,
            ready=self.ready,
            inbound_port=INBOUND_PORT,
            public_ports=frozenset(self.asked.public_ports),
            started=int(self.started),
            sidecar=Sidecar.GOSSAMER,
            machine=self.machine or (f"@{self.replica}" if self.replica else ""),
            advertised=self.advertises,
            origin=ORIGIN,
        )

    def external(self, mesh: Mesh, place: Place) -> ExternalWorkload:
        """The object that people and tools of Linkerd know a machine's workload by."""
        identity = self.identity(mesh)
        address, inbound = self.advertises or (IPv4Address(self.address), INBOUND_PORT)
        sidecar = WorkloadPort("linkerd-proxy", inbound, inbound)
        return ExternalWorkload(
            key=self.key,
            identity=identity,
            server_name=identity,
            addresses=(address,),
            ports=(*self.ports, sidecar),
            labels=dict(self.asked.labels),
            zone=place.zone,
            ready=self.ready,
            owned=True,
            origin=ORIGIN,
        )


def asked(document: object) -> Asked:
    """What a launcher's JSON asks for. Raises `Refused` naming the field."""
    if not isinstance(document, dict):
        raise Refused("the registration is not a JSON object")
    service = _name(document, "service")
    labels = document.get("labels") or {}
    if not isinstance(labels, dict) or len(labels) > MOST_LABELS:
        raise Refused(f"labels: expected at most {MOST_LABELS} of them")
    for key, value in labels.items():
        if not (isinstance(value, str) and _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            raise Refused(f"--label {key}={value}: not a label (letters, digits, - _ . between letters or digits)")
    opaque = tuple(_port(one, "--opaque-port") for one in _list(document, "opaque_ports"))
    return Asked(
        namespace=_name(document, "namespace"),
        service=service,
        service_account=_name(document, "service_account"),
        labels={"app": service, **labels},
        replica=_name(document, "replica") if document.get("replica") else None,
        ports=_ports(document, opaque),
        opaque_ports=opaque,
        public_ports=tuple(_public_port(one) for one in _list(document, "publish")),
    )


def _public_port(text: object) -> int:
    """The target of `ADDR:PORT:TARGET`."""
    target = text.rpartition(":")[2] if isinstance(text, str) else ""
    if not target.isdecimal():
        raise Refused(f"--publish {text}: expected [ADDR:]PORT")
    return _port(int(target), "--publish")


def _ports(document: dict[str, Any], opaque: tuple[int, ...]) -> tuple[WorkloadPort, ...]:
    ports = []
    for one in _list(document, "ports"):
        if not isinstance(one, dict):
            raise Refused("--port: expected an object with name, port and target")
        target = _port(one.get("target"), "--port")
        number = _port(one.get("port"), "--port")
        name = one.get("name") or f"port-{number}"
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise Refused(f"--port {name}=…: a port's name is lower-case letters, digits and dashes")
        ports.append(WorkloadPort(name, number, target, bool(one.get("opaque")) or target in opaque))
    for what in ("name", "port"):
        values = [getattr(port, what) for port in ports]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise Refused(f"--port: the {what} {twice} is given twice")
    return tuple(ports)


def owned_service(key: Key, replicas: Iterable[Registration], address: IPv4Address) -> Service:
    """The Service that programs under one name make together: the ports of all, the first to name one wins."""
    ports: dict[int, WorkloadPort] = {}
    for replica in replicas:
        for port in replica.ports:
            ports.setdefault(port.port, port)
    opaque = [number for number, port in ports.items() if port.opaque]
    return Service(
        key=key,
        ports=tuple(ServicePort(port.name, number, port.target) for number, port in sorted(ports.items())),
        selector=None,
        cluster_ips=(address,),
        owned=True,
        opaque_ports=port_set([*OPAQUE_PORTS.ranges, *((port, port) for port in opaque)]) if opaque else None,
        origin=ORIGIN,
    )


def encode(registration: Registration) -> bytes:
    return json.dumps(asdict(registration), separators=(",", ":")).encode()


def decode(value: bytes) -> Registration:
    """What `encode` made. Fields this version does not know are left out."""
    held = json.loads(value)
    words = held["asked"]
    ports = tuple(WorkloadPort(**port) for port in words["ports"])
    what = replace(
        Asked(words["namespace"], words["service"], words["service_account"]),
        labels=words["labels"],
        replica=words["replica"],
        ports=ports,
        opaque_ports=tuple(words["opaque_ports"]),
        public_ports=tuple(words.get("public_ports", ())),
    )
    known = {name: held[name] for name in Registration.__dataclass_fields__ if name in held and name != "asked"}
    known["listening"] = tuple(known.get("listening", ()))
    return Registration(asked=what, **known)


def _name(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    flag = "--" + field.replace("_", "-")
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise Refused(f"{flag} {value}: use lower-case letters, digits and dashes, at most 63, no dash at either end")
    return value


def _list(document: dict[str, Any], field: str) -> list[Any]:
    value = document.get(field) or []
    if not isinstance(value, list) or len(value) > MOST_PORTS:
        raise Refused(f"{field}: expected at most {MOST_PORTS} of them")
    return value


def _port(value: object, flag: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise Refused(f"{flag} {value}: a port is a number from 1 to 65535")
    return value

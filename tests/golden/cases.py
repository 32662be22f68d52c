"""How a case is read and answered. Its format is described in golden/README.md."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from gossamer.api import show
from gossamer.compile import compile
from gossamer.model.authorization import AuditWindow, DefaultPolicy
from gossamer.model.kinds import Object, called
from gossamer.model.mesh import Mesh
from gossamer.model.names import IPAddress, identity, local
from gossamer.model.ports import parse_ports
from gossamer.model.proxy_config import Config, EndpointSet, InboundConfig, Invalid, NotFound, OutboundConfig
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import (
    AddressTarget,
    Endpoints,
    Inbound,
    Names,
    NameTarget,
    Outbound,
    Profile,
    Source,
    Subscription,
    Target,
)
from gossamer.model.workload import Sidecar, Workload, WorkloadPort
from gossamer.policy import conditions
from gossamer.resources.decode import decode
from gossamer.resources.documents import load

FOLDER = Path(__file__).resolve().parents[2] / "golden"
IN, OUT, OWN, STATUS = ".in.yaml", ".out.json", ".own.json", ".status.json"


def names() -> list[str]:
    return sorted(path.name.removesuffix(IN) for path in FOLDER.glob(f"*{IN}"))


def outputs(name: str) -> dict[str, str]:
    """Suffix → text of every file that belongs beside a case."""
    source = f"{name}{IN}"
    head, *rest = load((FOLDER / source).read_bytes(), source)
    mesh = _mesh(head.value.get("mesh", {}))
    objects: list[Object] = [_workload(one, mesh) for one in head.value.get("workloads", [])]
    objects += [AuditWindow(local(*one.split("/")), until=0) for one in head.value.get("audited", [])]
    objects += [decode(one.value, one.where) for one in rest]
    snapshot = Snapshot(mesh).changed(objects)
    asked = head.value["subscription"]
    if "status" in asked:
        return {STATUS: _text(_status(snapshot, asked["status"]))}
    config = compile(snapshot, _subscription(asked))
    said = {OUT: _text(_said(config, "metadata" in asked))}
    if isinstance(config, InboundConfig | OutboundConfig):
        said[OWN] = _text(_own(config))
    return said


def _text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _said(config: Config, metadata: bool) -> Any:
    if isinstance(config, NotFound | Invalid):
        return {"status": type(config).__name__, "reason": config.reason}
    if metadata:
        assert isinstance(config, EndpointSet)
        return [json.loads(show.metadata(config))]
    return [json.loads(one) for one in _texts(show.show(config))]


def _own(config: InboundConfig | OutboundConfig) -> Any:
    """Without `policy` where that is what Linkerd's sidecar is sent."""
    message = json.loads(show.own(config))
    if message["policy"] == json.loads(show.show(config)):
        del message["policy"]
    return message


def _status(view: Snapshot, words: str) -> Any:
    kind, _, name = words.partition(" ")
    found = (view.get(one, local(*name.split("/"))) for one in called(kind))
    return [conditions.status(view, one) for one in found if one is not None]


def _texts(text: str) -> list[str]:
    """The messages of an answer: several are JSON objects behind each other."""
    return [part if part.endswith("\n}") or part == "{}" else part + "\n}" for part in text.split("\n}\n") if part]


def _mesh(words: dict[str, Any]) -> Mesh:
    plain = Mesh()
    return Mesh(
        trust_domain=words.get("trustDomain", plain.trust_domain),
        cluster_domain=words.get("clusterDomain", plain.cluster_domain),
        default_policy=DefaultPolicy(words.get("defaultPolicy", plain.default_policy.value)),
        cluster_networks=tuple(ip_network(one) for one in words.get("clusterNetworks", [])) or plain.cluster_networks,
        probe_networks=tuple(ip_network(one) for one in words["probeNetworks"])
        if "probeNetworks" in words
        else plain.probe_networks,
        egress_namespace=words.get("egressNamespace", plain.egress_namespace),
        request_headers=words.get("requestHeaders", False),
    )


def _workload(words: dict[str, Any], mesh: Mesh) -> Workload:
    namespace, name = words["name"].split("/")
    account = words.get("serviceAccount", words.get("service", "default"))
    meshed = identity(account, namespace, mesh.control_namespace, mesh.trust_domain)
    opaque = words.get("opaquePorts")
    policy = words.get("defaultPolicy")
    identified = words.get("identityPorts")
    return Workload(
        key=local(namespace, name),
        service_account=account,
        identity=words.get("identity", meshed),
        addresses=tuple(ip_address(one) for one in words["addresses"]),
        ports=tuple(_port(one) for one in words.get("ports", [])),
        labels=words.get("labels", {}),
        opaque_ports=None if opaque is None else parse_ports(opaque),
        default_policy=None if policy is None else DefaultPolicy(policy),
        identity_ports=None if identified is None else parse_ports(identified),
        probes=tuple((int(port), str(path)) for port, path in words.get("probes", [])),
        service=words.get("service"),
        node=words.get("node", ""),
        zone=words.get("zone", ""),
        ready=words.get("ready", True),
        inbound_port=words.get("inboundPort", 4143),
        hostname=words.get("hostname", ""),
        sidecar=Sidecar(words.get("sidecar", "unknown")),
        machine=words.get("machine", ""),
        advertised=_advertised(words["advertised"]) if "advertised" in words else None,
    )


def _advertised(text: str) -> tuple[IPAddress, int]:
    host, _, port = text.rpartition(":")
    return ip_address(host), int(port)


def _port(words: dict[str, Any]) -> WorkloadPort:
    target = words.get("target", words["port"])
    return WorkloadPort(words.get("name", ""), words["port"], target, words.get("opaque", False))


def _subscription(words: dict[str, Any]) -> Subscription:
    place = {name: words.get(name, "") for name in ("node", "zone", "machine")}
    source = Source(words.get("from", "default"), **place)
    match words:
        case {"inbound": str(workload), "port": int(port)}:
            return Inbound(local(*workload.split("/")), port, words.get("external", False))
        case {"outbound": str(target)}:
            return Outbound(source, _target(target))
        case {"endpoints": str(target)} | {"metadata": str(target)}:
            name = _target(target)
            assert isinstance(name, NameTarget)
            return Endpoints(source, name)
        case {"profile": str(target)}:
            return Profile(source, _target(target))
        case {"names": str(namespace)}:
            return Names(Source(namespace))
        case _:
            raise ValueError(f"not a subscription: {words}")


def _target(text: str) -> Target:
    host, _, port = text.rpartition(":")
    try:
        return AddressTarget(ip_address(host.strip("[]")), int(port))
    except ValueError:
        return NameTarget(host, int(port))

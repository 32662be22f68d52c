"""Builders: a test says what matters to it, the rest is ordinary.

snapshot = Snapshot().changed([workload("web-0", labels={"app": "web"}), *resources(POLICY_YAML)])
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import identity, local
from gossamer.model.selector import Selector
from gossamer.model.service import Service, ServicePort
from gossamer.model.workload import Workload, WorkloadPort
from gossamer.resources.decode import decode
from gossamer.resources.documents import load

MESH = Mesh()


def workload(
    name: str,
    *,
    namespace: str = "default",
    address: str = "127.64.0.1",
    service: str | None = None,
    labels: Mapping[str, str] | None = None,
    ports: tuple[WorkloadPort, ...] = (),
    ready: bool = True,
    mesh: Mesh = MESH,
) -> Workload:
    """A meshed workload whose account is its service's name, or "default"."""
    account = service or "default"
    return Workload(
        key=local(namespace, name),
        service_account=account,
        identity=identity(account, namespace, mesh.control_namespace, mesh.trust_domain),
        addresses=(ip_address(address),),
        ports=ports,
        labels=labels if labels is not None else {"app": account},
        service=service,
        ready=ready,
    )


def service(
    name: str,
    *,
    namespace: str = "default",
    address: str = "198.19.0.1",
    port: int = 80,
    target: int | str = 8080,
    app_protocol: str = "",
    selector: Mapping[str, str] | None = None,
) -> Service:
    """A service of one port that selects `app: NAME` unless told otherwise."""
    wanted = {"app": name} if selector is None else selector
    return Service(
        local(namespace, name),
        (ServicePort("", port, target, app_protocol),),
        Selector(tuple(sorted(wanted.items()))),
        (ip_address(address),),
    )


def resources(text: str, source: str = "test.yaml") -> list[Object]:
    """The objects of YAML documents, as `gossamer apply` would take them."""
    return [decode(document.value, document.where) for document in load(text.encode(), source)]

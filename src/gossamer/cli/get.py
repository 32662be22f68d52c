"""`gossamer get`: list resources and workloads."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import NOTHING, Column, age, emit, format_option, short_identity
from gossamer.cli.root import Command, Settings


@dataclass(frozen=True, slots=True)
class Row:
    """A resource as it is listed: the document, and where it was declared."""

    document: dict[str, Any]
    origin: str

    def meta(self, key: str) -> str:
        return str(self.document.get("metadata", {}).get(key, ""))

    @property
    def spec(self) -> dict[str, Any]:
        spec = self.document.get("spec")
        return spec if isinstance(spec, dict) else {}


@click.command("get", cls=Command, short_help="List resources and workloads.")
@click.argument("kind")
@click.argument("name", required=False)
@namespace_option("Where to look (default: default).")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look everywhere.")
@format_option
@click.pass_obj
def command(
    settings: Settings, kind: str, name: str | None, namespace: str | None, all_namespaces: bool, output: str
) -> None:
    """List resources of a kind, or one of them; `workloads` are the programs in the mesh.

    \b
      gossamer get workloads
      gossamer get servers -A -o wide
      gossamer get svc/web -o yaml
    """
    if "/" in kind and name is None:
        kind, _, name = kind.partition("/")
    where = "" if all_namespaces else namespace or "default"
    answer = settings.session().admin().get(kind, where, name or "")
    if answer.problems:
        raise CliError(answer.problems[0].message, Exit.NOT_FOUND)
    rows = [Row(json.loads(resource.json), resource.origin) for resource in answer.resources]
    if name and not rows:
        raise CliError(f"{kind}/{name} not found in namespace {where}", Exit.NOT_FOUND)
    listed = [row.document for row in rows]
    document = listed[0] if name and len(listed) == 1 else {"apiVersion": "v1", "kind": "List", "items": listed}
    kinds = {str(row.document.get("kind", "")) for row in rows}
    found = kinds.pop() if len(kinds) == 1 else ""
    empty = f"no {'resources' if kind == 'all' else kind} found" + ("" if all_namespaces else f" in namespace {where}")
    emit(output, document, columns(found, all_namespaces), rows, empty)


def columns(kind: str, all_namespaces: bool) -> list[Column[Row]]:
    """The columns of a kind; "" for several kinds together."""
    namespace: Column[Row] = Column("NAMESPACE", lambda row: row.meta("namespace"))
    return [
        *([namespace] if all_namespaces else []),
        Column("NAME", lambda row: row.meta("name") if kind else _kind_and_name(row)),
        *COLUMNS.get(kind, ()),
        Column("ORIGIN", lambda row: row.origin),
        Column("AGE", _age, wide=True),
    ]


def _kind_and_name(row: Row) -> str:
    return f"{str(row.document.get('kind', '')).lower()}/{row.meta('name')}"


def _age(row: Row) -> str:
    """Since a workload was started, or another object was first applied."""
    started = row.document.get("status", {}).get("started")
    if isinstance(started, int | float) and started:
        return age(time.time() - started)
    try:
        return age(time.time() - datetime.fromisoformat(row.meta("creationTimestamp")).timestamp())
    except ValueError:
        return NOTHING


def _service_ports(row: Row) -> str:
    ports = row.spec.get("ports") or []
    texts = [
        str(port.get("port"))
        if str(port.get("targetPort", port.get("port"))) == str(port.get("port"))
        else f"{port.get('port')}:{port.get('targetPort')}"
        for port in ports
    ]
    return ",".join(texts) or NOTHING


def _workload_ports(row: Row) -> str:
    ports = row.spec.get("ports") or []
    return ",".join(f"{port.get('target')}{'(opaque)' if port.get('opaque') else ''}" for port in ports) or NOTHING


def _ref(ref: dict[str, Any]) -> str:
    return f"{ref.get('kind', '?')}/{ref.get('name', '?')}"


def _refs(field: str) -> Any:
    def text(row: Row) -> str:
        found = row.spec.get(field)
        refs = found if isinstance(found, list) else [found] if found else []
        return ",".join(_ref(ref) for ref in refs) or NOTHING

    return text


def _selector(row: Row) -> str:
    selector = row.spec.get("podSelector") or row.spec.get("externalWorkloadSelector") or {}
    labels = selector.get("matchLabels") or {}
    words = [f"{key}={value}" for key, value in labels.items()]
    words += [f"{one.get('key')} {one.get('operator')}" for one in selector.get("matchExpressions") or []]
    return ",".join(words) or "all"


COLUMNS: dict[str, tuple[Column[Row], ...]] = {
    "Workload": (
        Column("SERVICE", lambda row: str(row.spec.get("service") or NOTHING)),
        Column("READY", lambda row: "yes" if row.document.get("status", {}).get("ready") else "no"),
        Column("ADDRESS", lambda row: str(row.spec.get("address") or NOTHING)),
        Column("PORTS", _workload_ports),
        Column("IDENTITY", lambda row: short_identity(str(row.spec.get("identity") or ""))),
    ),
    "Service": (
        Column("CLUSTER-IP", lambda row: str(row.spec.get("clusterIP") or NOTHING)),
        Column("PORTS", _service_ports),
    ),
    "Server": (
        Column("SELECTS", _selector),
        Column("PORT", lambda row: str(row.spec.get("port", NOTHING))),
        Column("PROTOCOL", lambda row: str(row.spec.get("proxyProtocol") or "unknown")),
        Column("ACCESS", lambda row: str(row.spec.get("accessPolicy") or "deny")),
    ),
    "AuthorizationPolicy": (
        Column("TARGET", _refs("targetRef")),
        Column("REQUIRES", _refs("requiredAuthenticationRefs")),
    ),
    "MeshTLSAuthentication": (
        Column("IDENTITIES", lambda row: ",".join(row.spec.get("identities") or []) or _refs("identityRefs")(row)),
    ),
    "NetworkAuthentication": (
        Column(
            "NETWORKS", lambda row: ",".join(str(one.get("cidr")) for one in row.spec.get("networks") or []) or NOTHING
        ),
    ),
    "HTTPRoute": (
        Column("PARENTS", _refs("parentRefs")),
        Column("HOSTNAMES", lambda row: ",".join(row.spec.get("hostnames") or []) or NOTHING),
    ),
}

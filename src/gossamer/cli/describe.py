"""`gossamer describe`: everything about one workload or service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.edges import edge_json, judged
from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import NOTHING, age, format_option, milliseconds, percent, rate, structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import DescribeResponse, Workload


@click.command("describe", cls=Command, short_help="Everything about one workload.")
@click.argument("workload")
@namespace_option("Where it is (default: default).")
@format_option
@click.pass_obj
def command(settings: Settings, workload: str, namespace: str | None, output: str) -> None:
    """Identity, certificate, endpoints, and the policy that applies, of a workload or a service.

    \b
      gossamer describe web
      gossamer describe shop/web-7f3k2
    """
    found = settings.session().admin().describe(workload, namespace or "")
    if output in ("json", "yaml"):
        structured(output, document(found))
        return
    for line in lines(found, time.time()):
        click.echo(line)


def document(found: DescribeResponse) -> dict[str, Any]:
    return {
        "service": found.service,
        "addresses": list(found.addresses),
        "origin": found.origin,
        "endpoints": list(found.endpoints),
        "workloads": [workload_json(one) for one in found.workloads],
        "ports": [
            {
                "workload": port.workload,
                "port": port.port,
                "protocol": port.protocol,
                "server": port.server,
                "rules": list(port.rules),
                "authorizations": list(port.authorizations),
                "routes": list(port.routes),
            }
            for port in found.ports
        ],
        "edges": [edge_json(edge) for edge in found.edges],
    }


def workload_json(one: Workload) -> dict[str, Any]:
    return {
        "namespace": one.namespace,
        "name": one.name,
        "service": one.service,
        "service_account": one.service_account,
        "identity": one.identity,
        "address": one.address,
        "ports": [
            {"name": port.name, "port": port.port, "target": port.target, "opaque": port.opaque} for port in one.ports
        ],
        "labels": dict(one.labels),
        "ready": one.ready,
        "connected": one.connected,
        "pid": one.pid,
        "started": one.started,
        "certificate": {
            "not_before": one.certificate_not_before,
            "not_after": one.certificate_not_after,
            "bundle_generation": one.bundle_generation,
            "refresh_failures": one.refresh_failures,
        },
        "audit_until": one.audit_until,
        "notes": list(one.notes),
    }


def lines(found: DescribeResponse, now: float) -> Iterator[str]:
    """The page for people."""
    if found.service:
        yield f"Service    {found.service}"
        yield f"Address    {', '.join(found.addresses) or 'none'}"
        yield f"Declared   {'by `gossamer run`' if found.origin == 'run' else found.origin}"
        yield f"Endpoints  {', '.join(found.endpoints) or 'none: no workload is ready'}"
        for route in found.routes:
            yield f"Route      {route}"
    for workload in found.workloads:
        yield ""
        yield from _workload(workload, now)
        for port in found.ports:
            if port.workload == f"{workload.namespace}/{workload.name}":
                yield f"  Port {port.port}  {port.protocol}, decided by {port.server}"
                for rule in port.rules:
                    yield f"    rule    {rule}"
                for authorization in port.authorizations:
                    yield f"    admits  {authorization}"
                for route in port.routes:
                    yield f"    route   {route}"
    if found.edges:
        yield ""
        yield "Traffic of the last ten minutes"
        for edge in found.edges:
            secured = "mutual TLS" if edge.tls else "NOT encrypted"
            speed = f"{rate(edge.rps or edge.tcp_rps)}, success {percent(judged(edge.success_rate))}"
            slow = f", p99 {milliseconds(judged(edge.p99_ms))}" if edge.p99_ms >= 0 else ""
            denied = f", {edge.denied} denied" if edge.denied else ""
            yield f"  {edge.client} → {edge.server}  {edge.protocol}, {secured}, {speed}{slow}{denied}"


def _workload(workload: Workload, now: float) -> Iterator[str]:
    deaf = "not ready: it does not listen" if workload.ports else "a client: it listens on nothing"
    ready = "ready" if workload.ready else deaf
    yield f"Workload {workload.namespace}/{workload.name}  ({ready})"
    yield f"  Identity     {workload.identity}"
    yield f"  Certificate  {certificate_words(workload, now)}"
    yield f"  Address      {workload.address}"
    running = f"process {workload.pid}, {age(now - workload.started)}" if workload.pid and workload.started else NOTHING
    yield f"  Running      {running}"
    if not workload.connected:
        yield "  Sidecar      not connected to the control plane"
    if workload.audit_until > now:
        yield f"  Audit        policy is not enforced for another {age(workload.audit_until - now)}"
    for note in workload.notes:
        yield f"  Note         {note}"


def certificate_words(workload: Workload, now: float) -> str:
    if not workload.certificate_not_after:
        return "its sidecar has not reported one yet"
    left = workload.certificate_not_after - now
    if left <= 0:
        return f"EXPIRED {age(-left)} ago"
    return f"valid for {age(left)}" + (
        f" ({workload.refresh_failures} failed renewals)" if workload.refresh_failures else ""
    )

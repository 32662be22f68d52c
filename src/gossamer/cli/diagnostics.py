"""`gossamer diagnostics`: what the control plane answers to sidecars, and their raw metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import Column, emit, format_option, structured
from gossamer.cli.root import Command, Settings

of_namespace = namespace_option("Whose view.", "default")


@click.group("diagnostics", short_help="What the control plane answers to sidecars.")
def command() -> None:
    """What the control plane answers to sidecars, and their raw metrics."""


@command.command("endpoints", cls=Command)
@click.argument("authorities", nargs=-1, required=True, metavar="AUTHORITY...")
@of_namespace
@format_option
@click.pass_obj
def endpoints(settings: Settings, authorities: tuple[str, ...], namespace: str, output: str) -> None:
    """Where traffic for services goes: `web:80` or `web.default.svc.cluster.local:80`."""
    rows = [row for text in _answers(settings, "endpoints", authorities, namespace) for row in json.loads(text)]
    columns: list[Column[dict[str, Any]]] = [
        Column("NAMESPACE", lambda row: row["namespace"]),
        Column("IP", lambda row: row["ip"]),
        Column("PORT", lambda row: str(row["port"])),
        Column("POD", lambda row: row["pod"]),
        Column("SERVICE", lambda row: row["service"]),
        Column("IDENTITY", lambda row: row["identity"], wide=True),
    ]
    emit(output, rows, columns, rows, "no endpoints found")


@command.command("policy", cls=Command)
@click.argument("resource")
@click.argument("port", type=click.IntRange(1, 65535))
@of_namespace
@click.option(
    "-o", "--output", type=click.Choice(("json", "yaml")), default="json", show_default=True, help="How to print."
)
@click.pass_obj
def policy(settings: Settings, resource: str, port: int, namespace: str, output: str) -> None:
    """The policy of a workload's port (`web`, `web-7f3k2`), or of traffic to a service (`svc/web`)."""
    _documents(_answers(settings, "policy", (resource, str(port)), namespace), output)


@command.command("profile", cls=Command)
@click.argument("address")
@of_namespace
@click.option(
    "-o", "--output", type=click.Choice(("json", "yaml")), default="json", show_default=True, help="How to print."
)
@click.pass_obj
def profile(settings: Settings, address: str, namespace: str, output: str) -> None:
    """What an address (`198.19.0.2:80`) or a name (`web:80`) is."""
    _documents(_answers(settings, "profile", (address,), namespace), output)


@command.command("proxy-metrics", cls=Command)
@click.argument("workload")
@of_namespace
@click.pass_obj
def proxy_metrics(settings: Settings, workload: str, namespace: str) -> None:
    """The raw metrics of a workload's sidecar, in Prometheus' format."""
    for text in _answers(settings, "proxy-metrics", (workload,), namespace):
        click.echo(text.rstrip("\n"))


@command.command("controller-metrics", cls=Command)
@click.pass_obj
def controller_metrics(settings: Settings) -> None:
    """The control plane's own metrics, in Prometheus' format: certificates, rotations, refusals."""
    for text in _answers(settings, "controller-metrics", (), "default"):
        click.echo(text.rstrip("\n"))


def _answers(settings: Settings, what: str, arguments: Sequence[str], namespace: str) -> list[str]:
    return list(settings.session().admin().diagnose(what, arguments, namespace).answers)


def _documents(answers: Sequence[str], output: str) -> None:
    found = [json.loads(text) for text in answers]
    structured(output, found[0] if len(found) == 1 else found)

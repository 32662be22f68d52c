"""`gossamer identity`: trust anchors, issuers, and the certificates of sidecars."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.output import NOTHING, Column, age, emit, format_option
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.pb.v1.admin_pb2 import StatusResponse


@dataclass(frozen=True, slots=True)
class Row:
    """Times are wall time in seconds, 0 when not reported."""

    kind: str
    name: str
    subject: str
    not_before: int
    not_after: int
    sha256: str = ""


@click.command("identity", cls=Command, short_help="Certificates: trust anchors, issuers, leaves.")
@click.argument("workload", required=False)
@click.option("-n", "--namespace", help="Only workloads of this namespace.")
@format_option
@click.pass_obj
def command(settings: Settings, workload: str | None, namespace: str | None, output: str) -> None:
    """Trust anchors, issuers, and the certificate every sidecar holds now, with the time each has left."""
    status = settings.session().admin().status()
    now = time.time()
    found = rows(status, workload, namespace)
    if workload and not found:
        raise CliError(f"no workload {workload}; `gossamer get workloads -A` lists them", Exit.NOT_FOUND)
    document = {
        "trust_domain": status.trust_domain,
        "certificates": [row_json(row, now) for row in found],
    }
    emit(output, document, columns(now), found)


def rows(status: StatusResponse, workload: str | None, namespace: str | None) -> list[Row]:
    found: list[Row] = []
    if not workload and not namespace:
        found += [
            Row(kind, "", one.subject, one.not_before, one.not_after, one.sha256)
            for kind, listed in (("anchor", status.anchors), ("issuer", status.issuers))
            for one in listed
        ]
    for one in status.workloads:
        names = (one.name, one.service, f"{one.namespace}/{one.name}", f"{one.namespace}/{one.service}")
        if (not namespace or one.namespace == namespace) and (not workload or workload in names):
            name = f"{one.namespace}/{one.name}"
            found.append(Row("leaf", name, one.identity, one.certificate_not_before, one.certificate_not_after))
    return found


def row_json(row: Row, now: float) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        "subject": row.subject,
        "not_before": row.not_before,
        "not_after": row.not_after,
        "expires_in_seconds": int(row.not_after - now) if row.not_after else None,
        "sha256": row.sha256,
    }


def columns(now: float) -> list[Column[Row]]:
    def left(row: Row) -> str:
        if not row.not_after:
            return "not reported"
        return age(row.not_after - now) if row.not_after > now else "EXPIRED"

    return [
        Column("KIND", lambda row: row.kind),
        Column("NAME", lambda row: row.name or NOTHING),
        Column("SUBJECT", lambda row: row.subject),
        Column("EXPIRES_IN", left),
        Column("SHA256", lambda row: row.sha256 or NOTHING, wide=True),
    ]

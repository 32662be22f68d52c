"""`gossamer identity`: trust anchors, issuers and leaves; what will happen to them; all that people do to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.output import NOTHING, Column, age, emit, format_option, paint, structured
from gossamer.cli.root import Command, Settings, common_options

if TYPE_CHECKING:
    from gossamer.cli.lifecycle import Lifecycle
    from gossamer.pb.v1 import lifecycle_pb2 as pb

LIST = "list"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Identity(click.Group):
    """A group whose first word may also be a workload: then it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        asked_help = any(word in ("--help", "-h") for word in args)
        if not ctx.resilient_parsing and not asked_help and not (words and words[0] in self.commands):
            args = [LIST, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self.commands if name != LIST]


@click.group("identity", cls=Identity, short_help="Certificates: trust anchors, issuers, leaves.")
def command() -> None:
    """Trust anchors, issuers and the certificate of every sidecar: how long each lives, and what happens next.

    `gossamer identity [WORKLOAD] [-n NAMESPACE] [-o table|wide|json|yaml]` lists them.
    """


command.params.extend(common_options())


@dataclass(frozen=True, slots=True)
class Row:
    """Times are seconds since the epoch, 0 when not reported."""

    kind: str
    name: str
    subject: str
    state: str
    not_before: int
    not_after: int
    sha256: str = ""
    serial: str = ""
    anchor: str = ""
    generation: int = 0
    heard: int = 0


@command.command(LIST, cls=Command, hidden=True)
@click.argument("workload", required=False)
@click.option("-n", "--namespace", help="Only workloads of this namespace.")
@format_option
@click.pass_obj
def listed(settings: Settings, workload: str | None, namespace: str | None, output: str) -> None:
    """Trust anchors, issuers, the certificate every sidecar holds now, and what happens next."""
    shown = lifecycle(settings).show()
    now = time.time()
    found = rows(shown, workload, namespace)
    if workload and not found:
        raise CliError(f"no workload {workload}; `gossamer get workloads -A` lists them", Exit.NOT_FOUND)
    emit(output, document(shown, found, now), columns(now, shown.generation), found)
    if output in ("table", "wide") and not workload and not namespace:
        for line in footnotes(shown, now):
            click.echo(line)


@command.group("rotate", cls=click.Group, short_help="Replace the issuer or the trust anchor.")
def rotate() -> None:
    """Replace the issuer or the trust anchor, while everything runs."""


@rotate.command("issuer", cls=Command, short_help="Another issuer under the same trust anchor.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table", help="How to print.")
@click.pass_obj
def rotate_issuer(settings: Settings, output: str) -> None:
    """Another issuer under the same trust anchor. Certificates of the one before stay valid."""
    made = lifecycle(settings).rotate_issuer().issuer
    if output != "table":
        structured(output, _authority(made, time.time()))
        return
    click.echo(f"issuer {made.subject}, serial {made.serial}, signs from now on; it ends in {_left(made.not_after)}")


@rotate.command("anchor", cls=Command, short_help="Another trust anchor, in three steps.")
@click.option("--abort", is_flag=True, help="Turn back; possible until the old anchor is retired.")
@click.option("--step", is_flag=True, help="One step only: prepare, activate, retire, each with a call of its own.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Stay until it has ended, showing progress.")
@click.option("--timeout", metavar="TIME", default="1h", show_default=True, help="How long to stay, with --wait.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table", help="How to print.")
@click.pass_obj
def rotate_anchor(settings: Settings, abort: bool, step: bool, wait: bool, timeout: str, output: str) -> None:
    """Another trust anchor: told to every sidecar, then used, then the old one is retired. Nothing restarts.

    Each step waits until every live sidecar has taken the one before. It goes on if this command ends; call it again
    to watch.
    """
    from gossamer.cli import rotation
    from gossamer.cli.up import seconds

    if abort and step:
        raise click.UsageError("--abort and --step contradict each other")
    control = lifecycle(settings)
    control.rotate_anchor(step=step, abort=abort)
    shown = control.show()
    if wait:
        shown = rotation.follow(control, seconds(timeout), output)
    if output != "table":
        structured(output, document(shown, rows(shown, None, None), time.time()))
    elif not wait:
        click.echo(rotation.sentence(shown))


@command.command("csr", cls=Command, short_help="A signing request for another issuer.")
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@click.pass_obj
def csr(settings: Settings, out: Path | None) -> None:
    """A signing request for another issuer, for whoever has the trust anchor's key. Its own key stays here."""
    pem = lifecycle(settings).request()
    if out is None:
        click.echo(pem.decode(), nl=False)
        return
    try:
        out.write_bytes(pem)
    except OSError as error:
        raise CliError(f"{out}: {error.strerror or error}") from error
    click.echo(f"{out}: have it signed, then `gossamer identity install FILE`")


@command.command("install", cls=Command, short_help="Use an issuer that was signed elsewhere.")
@click.argument("certificate", type=FILE, metavar="FILE")
@click.option("--key", type=FILE, metavar="FILE", help="Its key (PEM); without it, that of `gossamer identity csr`.")
@click.option("--trust-anchors", type=FILE, metavar="FILE", help="Trust these from now on (PEM), after a rotation.")
@click.pass_obj
def install(settings: Settings, certificate: Path, key: Path | None, trust_anchors: Path | None) -> None:
    """Use an issuer that was signed elsewhere: its certificate, then intermediates (PEM).

    It is checked before anything changes. With --trust-anchors, or under another anchor, a rotation begins.
    """
    done = lifecycle(settings).install(_read(certificate), _read(key), _read(trust_anchors)).issuer
    click.echo(f"issuer {done.subject}, serial {done.serial}: {done.role}; it ends in {_left(done.not_after)}")


@command.command("revoke", cls=Command, short_help="End the use of a workload's certificates.")
@click.argument("subject", metavar="WORKLOAD|IDENTITY")
@click.option("-n", "--namespace", default="default", show_default=True, help="The workload's namespace.")
@click.option("--undo", is_flag=True, help="Take the revocation back.")
@click.pass_obj
def revoke(settings: Settings, subject: str, namespace: str, undo: bool) -> None:
    """End the use of a workload's certificates everywhere, or of all certificates of an identity.

    Nobody accepts them any more, open connections are closed, no other certificate is given to the same registration,
    and nobody is sent to it. Start the program again to have it back with other keys.
    """
    done = lifecycle(settings).revoke(subject, namespace, undo)
    if undo:
        click.echo(f"{done.subject} is no longer revoked")
        return
    what = f"{done.serials} certificates" if done.serials else "every certificate up to now"
    click.echo(f"{done.subject} is revoked: {what} of {done.identity}")


@command.command("log", cls=Command, short_help="Which certificates were signed.")
@click.option("--lines", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The newest so many.")
@click.option("--verify", is_flag=True, help="Check that no line was changed or taken out.")
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", help="How to print.")
@click.pass_obj
def log(settings: Settings, lines: int, verify: bool, output: str) -> None:
    """Which certificates were signed, for whom, and how that was proven."""
    import json

    found = lifecycle(settings).log(lines, verify)
    entries: list[dict[str, Any]] = [json.loads(text) for text in found.lines]
    emit(output, entries, LOG_COLUMNS, entries, "no certificate was signed yet")
    if verify and found.broken:
        raise CliError(f"line {found.broken} of {found.verified} does not follow from the one before it")
    if verify:
        click.echo(f"{found.verified} lines, each follows from the one before it", err=True)


LOG_COLUMNS: list[Column[dict[str, Any]]] = [
    Column("TIME", lambda one: one["time"]),
    Column("WORKLOAD", lambda one: one["workload"] or NOTHING),
    Column("IDENTITY", lambda one: one["identity"]),
    Column("SERIAL", lambda one: one["serial"]),
    Column("PROOF", lambda one: one["proof"]),
    Column("ENDS", lambda one: one["not_after"]),
]


def lifecycle(settings: Settings) -> Lifecycle:
    return settings.session().lifecycle()


def rows(shown: pb.ShowResponse, workload: str | None, namespace: str | None) -> list[Row]:
    found: list[Row] = []
    if not workload and not namespace:
        for kind, authorities in (("anchor", shown.anchors), ("issuer", shown.issuers)):
            for one in authorities:
                row = Row(kind, "", one.subject, one.role, one.not_before, one.not_after, one.sha256, one.serial)
                found.append(row)
    for leaf in shown.leaves:
        within, _, short = leaf.name.partition("/")
        if (namespace and within != namespace) or (workload and not _meant(workload, leaf.name, short)):
            continue
        found.append(
            Row(
                "leaf",
                leaf.name,
                leaf.identity,
                leaf.state,
                leaf.not_before,
                leaf.not_after,
                "",
                leaf.serial,
                leaf.anchor_sha256,
                leaf.generation,
                leaf.heard,
            )
        )
    return found


def _meant(workload: str, name: str, short: str) -> bool:
    """Its name, with or without the namespace, or its service's."""
    return workload in (name, short) or short.rpartition("-")[0] == workload or name.rpartition("-")[0] == workload


def document(shown: pb.ShowResponse, found: list[Row], now: float) -> dict[str, Any]:
    return {
        "trust_domain": shown.trust_domain,
        "generation": shown.generation,
        "phase": shown.phase,
        "since": shown.since,
        "by_hand": shown.by_hand,
        "automatic": shown.automatic,
        "certificates": [row_json(row, now) for row in found],
        "waiting": [{"name": one.name, "why": one.why, "heard": one.heard} for one in shown.waiting],
        "next": [{"when": one.when, "what": one.what, "automatic": one.automatic} for one in shown.events],
        "warnings": [{"level": one.level, "text": one.text, "hint": one.hint} for one in shown.warnings],
        "revoked": [
            {
                "subject": one.subject,
                "identity": one.identity,
                "when": one.when,
                "forget": one.forget,
                "serials": one.serials,
                "issued_before": one.issued_before,
            }
            for one in shown.revoked
        ],
        "refusals": list(shown.refusals),
    }


def row_json(row: Row, now: float) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        "subject": row.subject,
        "state": row.state,
        "not_before": row.not_before,
        "not_after": row.not_after,
        "expires_in_seconds": int(row.not_after - now) if row.not_after else None,
        "sha256": row.sha256,
        "serial": row.serial,
        "anchor_sha256": row.anchor,
        "generation": row.generation,
        "heard": row.heard,
    }


def columns(now: float, generation: int) -> list[Column[Row]]:
    def left(row: Row) -> str:
        if not row.not_after:
            return "not reported"
        return age(row.not_after - now) if row.not_after > now else "EXPIRED"

    def trust(row: Row) -> str:
        if row.kind != "leaf" or not row.heard:
            return NOTHING
        return "current" if row.generation >= generation else f"{generation - row.generation} behind"

    return [
        Column("KIND", lambda row: row.kind),
        Column("NAME", lambda row: row.name or NOTHING),
        Column("SUBJECT", lambda row: row.subject),
        Column("STATE", lambda row: row.state),
        Column("EXPIRES_IN", left),
        Column("TRUST", trust),
        Column("SERIAL", lambda row: row.serial or NOTHING, wide=True),
        Column("ANCHOR", lambda row: (row.sha256 if row.kind == "anchor" else row.anchor)[:16] or NOTHING, wide=True),
        Column("HEARD", lambda row: f"{age(now - row.heard)} ago" if row.heard else NOTHING, wide=True),
        Column("SHA256", lambda row: row.sha256 or NOTHING, wide=True),
    ]


def footnotes(shown: pb.ShowResponse, now: float) -> Iterator[str]:
    """What happens next, what is revoked, and what should be looked after."""
    from gossamer.cli import rotation

    if shown.phase != "steady":
        yield ""
        yield rotation.sentence(shown)
        yield from rotation.waiting(shown, now)
    if shown.events:
        yield ""
        yield "NEXT"
    for event in shown.events:
        when = f"in {age(event.when - now)}" if event.when > now + 1 else "now"
        yield f"  {when}: {event.what}{'' if event.automatic else ' (not by itself)'}"
    for one in shown.revoked:
        yield f"revoked: {one.subject}, {age(now - one.when)} ago; forgotten in {age(max(0.0, one.forget - now))}"
    for warning in shown.warnings:
        mark = paint("×", "red") if warning.level == "error" else paint("‼", "yellow")
        yield f"{mark} {warning.text}"
        yield f"    hint: {warning.hint}"


def _authority(one: pb.Authority, now: float) -> dict[str, Any]:
    row = Row("issuer", "", one.subject, one.role, one.not_before, one.not_after, one.sha256, one.serial)
    return row_json(row, now)


def _left(when: int) -> str:
    return age(when - time.time())


def _read(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        with file.open("rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise CliError(f"{file}: {error.strerror or error}") from error

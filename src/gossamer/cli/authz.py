"""`gossamer authz`: may it, why, what would be enough, and do the policies in these files mean what I think."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.namespace import namespace_option
from gossamer.cli.output import format_option, structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.model.kinds import Object
    from gossamer.policy.explain import Explanation
    from gossamer.resources.verdicts import Expectation, Table

# Of a table, and of each file it names.
READ_LIMIT = 5 * 1024 * 1024


@click.group("authz", short_help="Who may call what, and why.")
def command() -> None:
    """Who may call what, and why."""


@command.command("explain", cls=Command)
@click.option("--from", "client", required=True, metavar="WORKLOAD|ACCOUNT", help="Who calls: `web`, `shop/front`.")
@click.option("--to", "server", required=True, metavar="WORKLOAD|SERVICE", help="Who is called.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port of its program (default: its only one).")
@click.option("--method", default="GET", show_default=True)
@click.option("--path", default="/", show_default=True)
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@click.option("--connection", is_flag=True, help="Not a request: bytes that are not HTTP.")
@namespace_option("Where names without one are.", "default")
@format_option
@click.pass_obj
def explain(
    settings: Settings,
    client: str,
    server: str,
    port: int | None,
    method: str,
    path: str,
    headers: tuple[str, ...],
    connection: bool,
    namespace: str,
    output: str,
) -> None:
    """The verdict on one request, what decides it and where that is written, and every policy that was considered."""
    question = {
        "from": client,
        "to": server,
        "port": port or 0,
        "method": method,
        "path": None if connection else path,
        "headers": [_header(one) for one in headers],
    }
    found = settings.session().admin().diagnose("explain", [json.dumps(question)], namespace)
    answers = [json.loads(text) for text in found.answers]
    if output in ("json", "yaml"):
        structured(output, answers)
    else:
        for answer in answers:
            for line in _lines(answer):
                click.echo(line)
    if any(not answer["admitted"] for answer in answers):
        raise SystemExit(Exit.FAILED)


@command.command("suggest", cls=Command)
@namespace_option("Only for services of this namespace.")
@click.pass_obj
def suggest(settings: Settings, namespace: str | None) -> None:
    """Policies that admit the callers seen in the last ten minutes and nobody else, as YAML. Read them before you apply
    them: who was silent is left out."""
    found = settings.session().admin().diagnose("suggest", [], namespace or "")
    documents = [json.loads(text) for text in found.answers]
    if not documents:
        raise CliError("no authenticated traffic was seen: there is nothing to suggest", Exit.NOT_FOUND)
    structured("yaml", {"apiVersion": "v1", "kind": "List", "items": documents})


@command.command("test", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Only what fails.")
def test(file: Path, quiet: bool) -> None:
    """Hold a table of expected verdicts against the resources it names. Needs no mesh.

    \b
      resources: [policy/]
      workloads: [{name: bank/ledger, ports: [{port: 8080}]}]
      tests:
      - {from: bank/shop, to: bank/ledger, port: 8080, method: POST, path: /pay, expect: allow}
      - {from: bank/web, to: bank/ledger, port: 8080, expect: deny}
    """
    from gossamer.resources.problem import InvalidResource

    try:
        wanted = _table(file)
        results = list(_results(wanted, _resources(file, wanted)))
    except InvalidResource as error:
        raise CliError(str(error)) from error
    failed = 0
    for expectation, found, reason in results:
        failed += bool(reason)
        if reason:
            click.echo(f"FAIL {file}:{expectation.line}: {_title(expectation)}: {reason}")
            for line in _considered(found):
                click.echo(f"     {line}")
        elif not quiet:
            click.echo(f"ok   {_title(expectation)}: {found.because}")
    click.echo(f"{len(results)} tests, {failed} failed")
    if failed:
        raise SystemExit(Exit.FAILED)


def _table(file: Path) -> Table:
    from gossamer.resources.documents import load
    from gossamer.resources.verdicts import table

    documents = load(_read(file), str(file))
    if len(documents) != 1:
        raise CliError(f"{file}: {len(documents)} documents; a table is one")
    return table(documents[0].value, documents[0].where)


def _resources(file: Path, wanted: Table) -> list[Object]:
    """Paths are relative to the table."""
    from gossamer.cli.documents import SUFFIXES
    from gossamer.resources.decode import decode
    from gossamer.resources.documents import load

    found: list[Object] = []
    for written in wanted.resources:
        place = file.parent / written
        if not place.exists():
            raise CliError(f"{file}: resources: {written} is not there")
        inside = sorted(one for one in place.rglob("*") if one.suffix in SUFFIXES) if place.is_dir() else [place]
        for path in inside:
            # A folder of policies may hold the tables about them.
            documents = [one for one in load(_read(path), str(path)) if "apiVersion" in one.value]
            found += [decode(one.value, one.where) for one in documents]
    return found


def _read(path: Path) -> bytes:
    if path.stat().st_size > READ_LIMIT:
        raise CliError(f"{path}: more than {READ_LIMIT >> 20} MiB")
    return path.read_bytes()


def _results(wanted: Table, resources: Sequence[Object]) -> Iterator[tuple[Expectation, Explanation, str]]:
    """Each test, what was found, and what is wrong with it ("" nothing)."""
    from gossamer.model.snapshot import Snapshot
    from gossamer.policy.decide import Client, Outcome, Request
    from gossamer.policy.explain import explain as explained
    from gossamer.policy.explain import words

    view = Snapshot(wanted.mesh).changed([*wanted.workloads, *resources])
    workloads = {one.key: one for one in wanted.workloads}
    for one in wanted.tests:
        client = Client(one.identity, one.address, tls=bool(one.identity))
        request = Request(one.method, one.path, one.host, one.headers) if one.path is not None else None
        found = explained(view, workloads[one.to], one.port, client, request)
        said = {Outcome.ALLOWED: "allow", Outcome.AUDITED: "audit"}.get(found.verdict.outcome, "deny")
        reason = "" if said == one.expect else f"expected {one.expect}, found {said}: {found.because}"
        by = words(found.verdict.by)
        if not reason and one.by and by.partition(" ")[0] != one.by and by != one.by:
            reason = f"expected {one.by} to decide, found {by}"
        yield one, found, reason


def _title(one: Expectation) -> str:
    client = one.identity.partition(".serviceaccount.")[0] or "somebody"
    what = f"{one.method} {one.path}" if one.path is not None else "a connection"
    return one.name or f"{client} → {one.to}:{one.port} {what}"


def _considered(found: Explanation) -> Iterator[str]:
    for one in found.considered:
        yield f"{one.policy}: {one.said}" + (f"  [{one.place}]" if one.place else "")


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"{'allowed' if answer['admitted'] else 'refused'}: {answer['because']}"
    yield f"  from      {answer['client'] or 'somebody without identity'}"
    yield f"  to        {answer['workload']} port {answer['port']}"
    if answer["place"]:
        yield f"  written   {answer['place']}"
    for one in answer["considered"]:
        yield f"  {one['policy']}: {one['said']}" + (f"  [{one['place']}]" if one["place"] else "")


def _header(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header {text!r}: write NAME:VALUE")
    return [name.strip().lower(), value.strip()]

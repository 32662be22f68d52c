"""`gossamer delete`: delete resources."""

from __future__ import annotations

import json

import click

from gossamer.cli import documents
from gossamer.cli.errors import CliError, Exit
from gossamer.cli.namespace import namespace_option
from gossamer.cli.root import Command, Settings


@click.command("delete", cls=Command, short_help="Delete resources.")
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@documents.file_option
@namespace_option("Where they are.", "default")
@click.option("--ignore-not-found", is_flag=True, help="Succeed where there is nothing to delete.")
@click.pass_obj
def command(
    settings: Settings,
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str,
    ignore_not_found: bool,
) -> None:
    """Delete resources, by name or by the files that declared them.

    \b
      gossamer delete server web
      gossamer delete authorizationpolicy/web-from-front
      gossamer delete -f policy/
    """
    from gossamer.pb.v1.admin_pb2 import Document

    admin = settings.session().admin()
    if files:
        if kind:
            raise click.UsageError("give either -f or a kind and names")
        documents.say_results(admin.delete(documents.read(files), ignore_not_found))
        return
    if kind and "/" in kind and not names:
        kind, _, name = kind.partition("/")
        names = (name,)
    if not kind or not names:
        raise click.UsageError("say what: KIND NAME..., KIND/NAME or -f FILE")
    wanted = []
    for name in names:
        answer = admin.get(kind, namespace, name)
        if answer.problems:
            raise CliError(answer.problems[0].message, Exit.NOT_FOUND)
        if not answer.resources and not ignore_not_found:
            raise CliError(f"{kind}/{name} not found in namespace {namespace}", Exit.NOT_FOUND)
        wanted += [json.loads(resource.json) for resource in answer.resources]
    if wanted:
        documents.say_results(
            admin.delete([Document(source="command line", json=json.dumps(one).encode()) for one in wanted])
        )

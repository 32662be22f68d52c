"""`gossamer apply`: create or change resources."""

from __future__ import annotations

import click

from gossamer.cli import documents
from gossamer.cli.root import Command, Settings


@click.command("apply", cls=Command, short_help="Create or change resources from files.")
@documents.file_option
@click.option("--dry-run", is_flag=True, help="Check, and say what would be done.")
@click.pass_obj
def command(settings: Settings, files: tuple[str, ...], dry_run: bool) -> None:
    """Create or change resources from files: all of them, or none when one is invalid.

    Kinds and fields are those of Kubernetes: Service, Server, AuthorizationPolicy, MeshTLSAuthentication,
    NetworkAuthentication, HTTPRoute, ServiceAccount, EndpointSlice, ExternalWorkload. It takes effect in all
    sidecars within a second.
    """
    found = documents.read(files)
    documents.say_results(settings.session().admin().apply(found, dry_run), dry_run)

"""`gossamer completion`: the script that makes a shell complete our commands and options."""

from __future__ import annotations

import click

from gossamer.cli.root import Command, root


@click.command("completion", cls=Command, short_help="Completion script for a shell.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
      bash:  source <(gossamer completion bash)
      zsh:   source <(gossamer completion zsh)
      fish:  gossamer completion fish | source
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "gossamer", "_GOSSAMER_COMPLETE").source())

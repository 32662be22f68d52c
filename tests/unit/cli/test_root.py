"""The command line itself: help, start-up, one definition of each command."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest

from gossamer.cli.root import MAIN, MORE

# Each costs more than the rest of a start together; none is needed to say what there is.
HEAVY = ("rich", "google.protobuf", "cryptography", "yaml", "asyncio", "uvloop", "grpc", "ssl", "email", "http.client")


def imported(*arguments: str) -> list[str]:
    code = (
        "import sys, json\n"
        "from gossamer.cli.root import run\n"
        "try: run(json.loads(sys.argv[1]))\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["up", "--help"], ["completion", "bash"]])
def test_starting_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = imported(*arguments)

    assert not [name for name in HEAVY if name in loaded]
    assert not [name for name in loaded if name.startswith(("gossamer.model", "gossamer.pb", "gossamer.kit"))]


def test_run_imports_nothing_heavy_before_it_becomes_the_launcher() -> None:
    loaded = imported("run", "--mesh", "no-such-mesh-here", "--port", "nonsense", "--", "true")

    assert not [name for name in HEAVY if name in loaded]


def test_help_shows_at_most_a_dozen_main_commands() -> None:
    assert len(MAIN) <= 12
    wanted = (
        "up down run demo apply get delete check edges stat describe why "
        "logs diff authz audit backup restore identity token join leave machines diagnostics version completion"
    )
    assert [entry.name for entry in (*MAIN, *MORE)] == wanted.split()


@pytest.mark.parametrize("entry", [*MAIN, *MORE], ids=lambda entry: entry.name)
def test_a_command_says_of_itself_what_the_list_says(entry: tuple[str, str]) -> None:
    command = import_module(f"gossamer.cli.{entry[0]}").command

    assert (command.name, command.short_help) == entry

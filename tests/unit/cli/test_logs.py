"""Whose log, and how much of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gossamer.cli.errors import Exit
from gossamer.cli.logs import last_lines
from tests.unit.api.fakes import World
from tests.unit.cli.conftest import Run


def logged(made: World, file: Path, name: str = "") -> None:
    workload = made.run("web", 8080, name=name)
    made.sidecars[workload.key] = replace(made.sidecars[workload.key], log_file=str(file))


def test_the_log_of_a_workload_is_its_sidecars(run: Run, made: World, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\n")
    logged(made, tmp_path / "log")

    assert run("logs", "web").output == "one\ntwo\n"
    assert run("logs", "web", "--tail", "1").output == "two\n"


def test_replicas_are_told_apart(run: Run, made: World, tmp_path: Path) -> None:
    for name in ("web-1", "web-2"):
        (tmp_path / name).write_text(f"of {name}\n")
        logged(made, tmp_path / name, name)

    assert run("logs", "web").output == "[web-1] of web-1\n[web-2] of web-2\n"


def test_without_a_control_plane_the_files_are_found(dead: Run, tmp_path: Path) -> None:
    logs = tmp_path / "r" / "gossamer" / "default" / "logs"
    logs.mkdir(parents=True)
    (logs / "default.web-1.log").write_text("still here\n")

    assert dead("logs", "web").output == "still here\n"
    assert dead("logs", "other").exit_code == Exit.UNREACHABLE


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none", 10) == []


def test_a_log_that_was_begun_anew_is_read_with_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("one\ntwo\n")
    (tmp_path / "log").write_text("three\n")

    assert last_lines(tmp_path / "log", 2) == ["two", "three"]

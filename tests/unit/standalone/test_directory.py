from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gossamer.model.authorization import SERVER
from gossamer.model.names import Key, Kind, Origin
from gossamer.model.service import SERVICE
from gossamer.resources.decode import decode
from gossamer.standalone.directory import Directory
from tests.unit.standalone.parts import Reports, Seen, World

SERVER_TEXT = """\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {name}, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: web}}}}
  port: {port}
"""
SERVICE_TEXT = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: web}}
{extra}  ports: [{{port: 80, targetPort: 8080}}]
"""


def server(name: str, port: int = 80) -> str:
    return SERVER_TEXT.format(name=name, port=port)


class Watched:
    """A directory and what its source says of it, look by look."""

    def __init__(self, *roots: Path, held: dict[tuple[str, str], Origin] | None = None) -> None:
        self.held = held or {}
        self.reports = Reports()
        self.mesh = Seen()
        self.world = World()
        self.now = 0.0
        clock = lambda: self.now  # noqa: E731
        self.source = Directory(roots, decode, self.holder, self.world.virtual, self.reports, clock)
        self.source.look()
        self.source._say(self.mesh.take)

    def holder(self, kind: Kind[Any], key: Key) -> Origin | None:
        return self.held.get((kind.name, key.name))

    def look(self) -> None:
        if self.source.look():
            self.source._say(self.mesh.take)

    @property
    def servers(self) -> dict[str, int]:
        return {one.key.name: one.port for one in self.mesh.of(SERVER)}

    @property
    def problems(self) -> list[str]:
        return [line for lines in self.reports.problems.values() for line in lines]


def write(path: Path, text: str) -> None:
    """As editors do: under another name first."""
    new = path.with_name(".new")
    new.write_text(text)
    new.rename(path)


def test_documents_of_every_file_below_are_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "a.yaml", server("one") + "---\n" + server("two"))
    write(tmp_path / "sub" / "b.yml", server("three"))
    write(tmp_path / "notes.txt", "not read")
    write(tmp_path / ".hidden.yaml", server("hidden"))
    watched = Watched(tmp_path)
    assert set(watched.servers) == {"one", "two", "three"}
    origins = {one.key.name: str(one.origin) for one in watched.mesh.of(SERVER)}
    assert origins["two"] == f"{tmp_path}/a.yaml:8"


def test_edits_additions_and_deletions_are_seen_and_nothing_else_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    write(tmp_path / "b.yaml", server("two"))
    watched = Watched(tmp_path)
    said = len(watched.mesh.changes)
    watched.look()
    assert len(watched.mesh.changes) == said
    write(tmp_path / "a.yaml", server("one", 81) + "---\n" + server("new"))
    (tmp_path / "b.yaml").unlink()
    watched.look()
    watched.look()
    assert watched.servers == {"one": 81, "new": 80}
    assert len(watched.mesh.changes) == said + 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "not valid YAML"),
        ("\tapiVersion: v1", "not valid YAML"),
        (server("one", 81).replace("port: 81", "port: 99999"), "port"),
        (server("one", 81) + "---\nkind: Nothing\napiVersion: x/v1\nmetadata: {name: a}\n", "Nothing"),
        ("- just\n- a list\n", "object"),
    ],
)
def test_a_broken_file_keeps_its_last_good_contents_and_is_reported(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path / "a.yaml", server("one"))
    write(tmp_path / "b.yaml", server("two"))
    watched = Watched(tmp_path)
    write(tmp_path / "a.yaml", text)
    write(tmp_path / "b.yaml", server("two", 82))
    watched.look()
    assert watched.servers == {"one": 80, "two": 82}
    assert any(words in line and f"{tmp_path}/a.yaml" in line for line in watched.problems)
    write(tmp_path / "a.yaml", server("one", 83))
    watched.look()
    assert watched.servers == {"one": 83, "two": 82}
    assert watched.problems == []


def test_an_empty_file_is_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    watched = Watched(tmp_path)
    write(tmp_path / "a.yaml", "")
    watched.look()
    assert watched.servers == {}
    assert watched.problems == []


def test_an_object_in_two_files_is_refused_naming_both(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    watched = Watched(tmp_path)
    write(tmp_path / "b.yaml", server("two") + "---\n" + server("one", 81))
    watched.look()
    assert watched.servers == {"one": 80}, "the second file is refused as a whole"
    assert len(watched.problems) == 1
    assert f"{tmp_path}/b.yaml:8" in watched.problems[0]
    assert f"{tmp_path}/a.yaml:1" in watched.problems[0]
    (tmp_path / "a.yaml").unlink()
    watched.look()
    watched.look()
    assert watched.servers == {"one": 81, "two": 80}
    assert watched.problems == []


def test_an_object_may_move_from_one_file_to_another(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    write(tmp_path / "b.yaml", server("two"))
    watched = Watched(tmp_path)
    write(tmp_path / "a.yaml", server("two"))
    write(tmp_path / "b.yaml", server("one"))
    watched.look()
    assert watched.servers == {"one": 80, "two": 80}
    assert watched.problems == []


def test_a_refused_file_keeps_what_it_had_against_others(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    write(tmp_path / "b.yaml", server("two"))
    watched = Watched(tmp_path)
    write(tmp_path / "a.yaml", server("two", 81))  # refused: b has it
    write(tmp_path / "c.yaml", server("one", 82))  # refused: a keeps it
    watched.look()
    assert watched.servers == {"one": 80, "two": 80}
    assert len(watched.problems) == 2


def test_an_object_twice_in_one_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one") + "---\n" + server("one", 81))
    watched = Watched(tmp_path)
    assert watched.servers == {}
    assert "a.yaml:1" in watched.problems[0]


def test_an_object_that_was_applied_is_refused_and_one_that_run_made_is_not(tmp_path: Path) -> None:
    held = {("Server", "one"): Origin("store"), ("Server", "two"): Origin("run")}
    write(tmp_path / "a.yaml", server("one"))
    write(tmp_path / "b.yaml", server("two"))
    watched = Watched(tmp_path, held=held)
    assert watched.servers == {"two": 80}
    assert "store" in watched.problems[0]
    held.clear()
    watched.look()
    assert set(watched.servers) == {"one", "two"}


def test_a_directory_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    root = tmp_path / "conf"
    root.mkdir()
    write(root / "a.yaml", server("one"))
    watched = Watched(root)
    root.rename(tmp_path / "elsewhere")
    watched.look()
    assert watched.servers == {"one": 80}
    assert "what was read from it stays" in watched.problems[0]
    (tmp_path / "elsewhere").rename(root)
    watched.look()
    assert watched.problems == []


def test_a_directory_may_come_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "later")
    assert watched.problems
    (tmp_path / "later").mkdir()
    write(tmp_path / "later" / "a.yaml", server("one"))
    watched.look()
    assert watched.servers == {"one": 80}


def test_services_get_addresses_and_keep_them(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", SERVICE_TEXT.format(name="web", extra=""))
    watched = Watched(tmp_path)
    address = watched.mesh.of(SERVICE)[0].cluster_ips[0]
    assert str(address).startswith("198.19.")
    write(tmp_path / "a.yaml", SERVICE_TEXT.format(name="web", extra="  type: ClusterIP\n"))
    watched.look()
    assert watched.mesh.of(SERVICE)[0].cluster_ips == (address,)
    write(tmp_path / "b.yaml", SERVICE_TEXT.format(name="other", extra=f"  clusterIP: {address}\n"))
    watched.look()
    assert [one.key.name for one in watched.mesh.of(SERVICE)] == ["web"]
    assert "belongs to service/default/web" in watched.problems[0]


def test_a_file_that_is_removed_and_written_again_was_never_gone(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    watched = Watched(tmp_path)
    said = len(watched.mesh.changes)
    (tmp_path / "a.yaml").unlink()
    watched.look()
    write(tmp_path / "a.yaml", server("one", 81))
    watched.look()
    assert watched.servers == {"one": 81}
    assert len(watched.mesh.changes) == said + 1


def test_a_renamed_file_takes_its_objects_along(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", server("one"))
    watched = Watched(tmp_path)
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    for _ in range(3):
        watched.look()
        assert watched.servers == {"one": 80}
        assert watched.problems == []
    assert str(watched.mesh.of(SERVER)[0].origin) == f"{tmp_path}/b.yaml:1"


def test_a_file_is_not_read_while_somebody_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write(path, server("one"))
    watched = Watched(tmp_path)
    path.write_text("")  # an editor that saves in place is here
    watched.now = path.stat().st_mtime + 0.01
    watched.look()
    assert watched.servers == {"one": 80}
    path.write_text(server("one", 81))
    watched.now = path.stat().st_mtime + 0.01
    watched.look()
    assert watched.servers == {"one": 80}
    watched.now += 0.05
    watched.look()
    assert watched.servers == {"one": 81}


def test_a_file_that_is_written_all_the_time_is_read_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write(path, server("one"))
    watched = Watched(tmp_path)
    for n in range(12):
        write(path, server("one", 100 + n))
        watched.now = path.stat().st_mtime + 0.001
        watched.look()
    assert watched.servers["one"] == 110


def test_an_edit_takes_effect_within_a_second(tmp_path: Path) -> None:
    async def scene(folder: Path) -> float:
        watched = Watched(folder)
        watched.source._clock = time.time
        task = asyncio.create_task(watched.source.run(watched.mesh.take))
        await asyncio.sleep(0.1)
        assert watched.mesh.synced
        write(folder / "a.yaml", server("one"))
        began = time.monotonic()
        while not watched.servers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        return time.monotonic() - began

    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    # The quickest of three: a busy machine only ever adds.
    assert min(asyncio.run(scene(folder)) for folder in folders) < 1.0

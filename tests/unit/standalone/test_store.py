from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gossamer.ports import Conflict, Unavailable, Write
from gossamer.standalone.store import SqliteStore


def test_the_file_is_the_owners_only(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "s").close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_a_newer_schema_is_refused_in_one_line(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "s").close()
    with sqlite3.connect(tmp_path / "s") as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(Unavailable, match="newer Gossamer") as error:
        SqliteStore(tmp_path / "s")
    assert "\n" not in str(error.value)


def test_what_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"not a database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteStore(tmp_path / "s")
    with pytest.raises(Unavailable):
        SqliteStore(tmp_path / "no" / "s")


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        SqliteStore(tmp_path / "s")


def test_two_writers_at_once_lose_no_swap(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "s").close()

    def count() -> None:
        store = SqliteStore(tmp_path / "s")
        done = 0
        while done < 100:
            entry = store.read("n")
            value, version = (int(entry.value), entry.version) if entry else (0, 0)
            try:
                store.commit([Write("n", b"%d" % (value + 1), expected=version)])
                done += 1
            except Conflict:
                continue
        store.close()

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = SqliteStore(tmp_path / "s")
    entry = store.read("n")
    store.close()
    assert entry is not None
    assert entry.value == b"200"


def test_commits_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gossamer.standalone.store import SqliteStore; "
        "from gossamer.ports import Write\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    store.commit([Write('a', b'%d' % n), Write('b', b'%d' % n)])\n"
        "    print(n, flush=True)\n"
    )
    source = str(Path(__file__).parents[3] / "src")
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    said = 0
    for line in program.stdout:
        said = int(line)
        if said == 50:
            program.kill()
            break
    program.stdout.close()
    program.wait()
    store = SqliteStore(tmp_path / "s")
    a, b = store.read("a"), store.read("b")
    store.close()
    assert a is not None
    assert b is not None
    assert a.value == b.value
    assert int(a.value) >= said

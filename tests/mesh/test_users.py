"""Two users of one machine, five meshes each, all up at once: nobody knows of the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.mesh import ordinary
from tests.mesh.harness import eventually

# Ids that no account uses: whatever has one of them was started here.
USERS = (61240, 61241)
EACH = 5


class User:
    """One user's meshes (`tests/mesh/apps/meshes.py`)."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        self.number = number
        prefix, environment = stack.enter_context(ordinary.user(number))
        command = [*prefix, sys.executable, "-m", "tests.mesh.apps.meshes", str(EACH)]
        self.process = stack.enter_context(
            subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the meshes of {self.number} ended"
        return json.loads(line)

    def ask(self) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def processes(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and entry.stat().st_uid == self.number:
                    yield int(entry.name)
            except OSError:
                continue

    def kill_everything(self) -> None:
        """As `loginctl kill-user` would: nothing gets to tidy up."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.kill_everything()
            for folder in Path("/tmp").glob("gm*"):
                if folder.stat().st_uid == self.number:
                    shutil.rmtree(folder)


@pytest.mark.timeout(240)
def test_two_users_with_five_meshes_each_do_not_know_of_each_other() -> None:
    if os.geteuid() != 0:
        pytest.skip("starting programs as two other users needs root")
    with ExitStack() as stack:
        users = [User(number, stack) for number in USERS]
        for user in users:
            stack.callback(user.end)
        places = [address for user in users for mesh in user.answer()["addresses"] for address in mesh]
        time.sleep(2)
        both = [user.ask() for user in users]

        users[0].kill_everything()
        eventually("nothing of the first user is left", lambda: not list(users[0].processes()))
        users[1].ask()
        time.sleep(2)
        after = users[1].ask()

    # A server and a caller in each of ten meshes, each with an address of its own.
    assert len(places) == len(set(places)) == 2 * 2 * EACH
    assert [told["bad"] for told in (*both, after)] == [[], [], []]
    assert all(calls > 0 for told in (*both, after) for calls in told["calls"])

"""The demo's processes: a mesh of its own, its workloads, and nothing left of them at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.agent import controlplane
from gossamer.cli import documents
from gossamer.cli.errors import CliError
from gossamer.cli.play import ACTORS, NAMESPACE, Actor
from gossamer.cli.session import Session

if TYPE_CHECKING:
    from gossamer.cli.admin import Admin

FOLDER = Path(__file__).resolve().parent.parent / "demo"
READY_SECONDS = 30.0
END_SECONDS = 10.0


class Workload:
    """A program under `gossamer run`."""

    def __init__(self, session: Session, actor: Actor, logs: Path) -> None:
        self.actor = actor
        self.name = actor.replica or actor.service
        self.output = logs / f"{self.name}.out"
        self.errors = logs / f"{self.name}.err"
        replica = ["--replica", actor.replica] if actor.replica else []
        run = ["run", "--mesh", session.mesh, "-n", NAMESPACE, "-s", actor.service, *replica, "--"]
        program = [sys.executable, str(FOLDER / "programs" / actor.program), *actor.arguments]
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gossamer", *run, *program],
                stdin=subprocess.PIPE if actor.waits else subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                # Ctrl-C is ours to hear: we end them in order.
                process_group=0,
            )

    def begin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(b"go\n")
            self.process.stdin.close()

    def check(self) -> None:
        """Raises CliError when it has ended, with what it said."""
        if self.process.poll() is not None:
            raise CliError(f"the demo's {self.name} ended ({self.process.returncode}): {_last_line(self.errors)}")


class Stage:
    """`with Stage(…) as stage`: a control plane and all workloads; afterwards none of it."""

    def __init__(self, session: Session, throwaway: bool) -> None:
        self.session = session
        self.throwaway = throwaway
        self.workloads: list[Workload] = []
        self._control_plane: controlplane.Process | None = None
        self._policy = False
        self._logs = session.paths.runtime / "demo"

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, say: Callable[[str], None]) -> None:
        """Starts everything; returns when traffic flows. Raises CliError."""
        paths = self.session.paths
        say("starting the control plane")
        try:
            if controlplane.ensure(paths):
                self._control_plane = controlplane.serving_process(paths)
        except controlplane.NotStarted as error:
            raise CliError(str(error)) from error
        self._logs.mkdir(mode=0o700, exist_ok=True)
        say("starting the workloads")
        for actor in ACTORS:
            self.workloads.append(Workload(self.session, actor, self._logs))
        admin = self.session.admin()
        self._apply(admin)
        self._wait_until_ready(admin)
        for workload in self.workloads:
            workload.begin()

    def check(self) -> None:
        for workload in self.workloads:
            workload.check()

    def first_success(self) -> float | None:
        """When the first answer came (monotonic seconds), as the load generator saw it."""
        counted = self.counted()
        return counted["first"] or None if counted else None

    def counted(self) -> dict[str, float]:
        """What the load generator counted last: sent, failed, first."""
        load = next((one for one in self.workloads if one.actor.program == "load.py"), None)
        line = _last_line(load.output) if load is not None else ""
        try:
            return dict(json.loads(line)) if line.startswith("{") else {}
        except ValueError:
            return {}

    def end(self) -> None:
        """Ends the callers, then what they call, then the control plane; removes the mesh's files if it was ours."""
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._terminate([one for one in self.workloads if not one.actor.serves])
        self._terminate([one for one in self.workloads if one.actor.serves])
        if self._policy and not self.throwaway:
            self._delete_policy()
        if self._control_plane is not None:
            self._control_plane.end()
        shutil.rmtree(self._logs, ignore_errors=True)
        if self.throwaway:
            for folder in (self.session.paths.runtime, self.session.paths.state):
                shutil.rmtree(folder, ignore_errors=True)

    def _apply(self, admin: Admin) -> None:
        answer = admin.apply(documents.read([str(FOLDER / "policy.yaml")]))
        if answer.problems:
            raise CliError(documents.problem_line(answer.problems[0]))
        self._policy = True

    def _delete_policy(self) -> None:
        try:
            self.session.admin().delete(documents.read([str(FOLDER / "policy.yaml")]))
        except CliError:
            # The control plane has gone; so has what was to be deleted, or its owner will see to it.
            return

    def _wait_until_ready(self, admin: Admin) -> None:
        wanted = sum(actor.serves for actor in ACTORS)
        deadline = time.monotonic() + READY_SECONDS
        serving = {one.service for one in ACTORS if one.serves}
        while True:
            status = admin.status()
            mine = [one for one in status.workloads if one.namespace == NAMESPACE]
            if sum(one.ready for one in mine if one.service in serving) >= wanted and len(mine) >= len(ACTORS):
                return
            self.check()
            if time.monotonic() > deadline:
                missing = serving - {one.service for one in mine if one.ready}
                names = ", ".join(sorted(missing)) or "a replica"
                raise CliError(f"the demo's {names} did not begin to listen within {READY_SECONDS:.0f} s")
            time.sleep(0.03)

    def _terminate(self, workloads: Sequence[Workload]) -> None:
        for workload in workloads:
            if workload.process.stdin is not None:
                workload.process.stdin.close()
            if workload.process.poll() is None:
                workload.process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for workload in workloads:
            try:
                workload.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                workload.process.kill()
                workload.process.wait()


def _last_line(file: Path) -> str:
    try:
        with file.open("rb") as text:
            text.seek(max(0, os.fstat(text.fileno()).st_size - 4096))
            lines = [line for line in text.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"

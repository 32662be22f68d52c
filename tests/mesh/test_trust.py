"""Trust moves under real traffic: anchors and issuers change, certificates are revoked, everything stands still for longer
than a certificate lives. Nothing restarts, and nothing fails that should not.

`GOSSAMER_SOAK=1` makes the runs long: a hundred cycles, and 120 s past the end of every certificate.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from gossamer.pb.v1 import lifecycle_pb2 as pb
from tests.mesh import harness
from tests.mesh.harness import Mesh, Workload, eventually
from tests.mesh.test_faults import ECHO, controller, outcome, steady
from tests.mesh.test_kills import children, name

LONG = bool(os.environ.get("GOSSAMER_SOAK"))

# Asks again and again, over a connection of its own each time, and writes when it had which answer.
ASKING = """
import http.client, time
while True:
    try:
        connection = http.client.HTTPConnection("echo", 8080, timeout=2)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        said = f"{answer.status} {answer.getheader('l5d-proxy-error') or ''}"
    except OSError as error:
        said = f"error {error!r}"
    print(f"{time.monotonic():.3f} {said}", flush=True)
    time.sleep(0.05)
"""


class Lifecycle:
    """gossamer.v1.Lifecycle of a mesh, as `gossamer identity` calls it."""

    def __init__(self, mesh: Mesh) -> None:
        self._channel = grpc.insecure_channel(f"unix:{mesh.folder}/r/gossamer/{mesh.name}/admin.sock")

    def _call(self, method: str, request: Any, response: Any) -> Any:
        call = self._channel.unary_unary(
            f"/gossamer.v1.Lifecycle/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, timeout=60)

    def show(self) -> pb.ShowResponse:
        shown = self._call("Show", pb.ShowRequest(), pb.ShowResponse)
        assert isinstance(shown, pb.ShowResponse)
        return shown

    def rotate_anchor(self) -> None:
        """Begins a rotation and waits until the old anchor is gone."""
        before = {anchor.sha256 for anchor in self.show().anchors}
        self._call("RotateAnchor", pb.RotateAnchorRequest(), pb.RotateResponse)

        def ended() -> bool:
            shown = self.show()
            return shown.phase == "steady" and not before & {anchor.sha256 for anchor in shown.anchors}

        eventually("the old anchor is retired", ended, 60)

    def rotate_issuer(self) -> None:
        self._call("RotateIssuer", pb.RotateIssuerRequest(), pb.RotateResponse)

    def revoke(self, service: str) -> None:
        """The only workload of a service."""
        name = next(leaf.name for leaf in self.show().leaves if leaf.name.startswith(f"default/{service}-"))
        subject = name.removeprefix("default/")
        self._call("Revoke", pb.RevokeRequest(subject=subject, namespace="default"), pb.RevokeResponse)


@contextmanager
def living(lifetime: str) -> Iterator[Mesh]:
    """A mesh whose certificates live so long, with a server `echo`."""
    with harness.mesh(arguments=("--leaf-lifetime", lifetime)) as mesh:
        mesh.serve("echo", harness.need("node").path, ECHO, "8080")
        yield mesh


def processes(mesh: Mesh) -> dict[int, str]:
    """Everything of Gossamer's by process id, without the programs."""
    plane = controller(mesh)
    found = {plane: name(plane), **{pid: name(pid) for pid in children(plane)}}
    for workload in mesh.workloads:
        found[workload.process.pid] = name(workload.process.pid)
        found.update({pid: name(pid) for pid in children(workload.process.pid) if name(pid).startswith("gossamer")})
    return found


def answers(workload: Workload) -> list[tuple[float, str]]:
    lines = (line.split(" ", 1) for line in workload.text().splitlines() if " " in line)
    return [(float(when), said.strip()) for when, said in lines]


def test_anchors_and_issuers_rotate_under_load_without_a_failure_or_a_restart() -> None:
    cycles, seconds = (100, 480) if LONG else (2, 14)
    with living("60s") as mesh:
        lifecycle = Lifecycle(mesh)
        load = steady(mesh, "echo", 200, seconds)
        time.sleep(1)
        before = processes(mesh)
        for _ in range(cycles):
            lifecycle.rotate_issuer()
            lifecycle.rotate_anchor()

        assert outcome(load) == {"counts": {"200": 200 * seconds}, "bad": []}
        assert processes(mesh) == before
        assert lifecycle.show().generation >= 1 + 3 * cycles


def test_a_revoked_workload_is_cut_off_at_once_and_others_go_on() -> None:
    with living("60s") as mesh:
        asking = mesh.run("asking", sys.executable, "-c", ASKING)
        other = mesh.run("other", sys.executable, "-c", ASKING)
        eventually("both are answered", lambda: all(said == "200" for _, said in (answers(asking) or [(0, "")])[-1:]))
        eventually("both are answered", lambda: any(said == "200" for _, said in answers(other)))
        began = time.monotonic()
        Lifecycle(mesh).revoke("asking")
        time.sleep(5)

        late = [said for when, said in answers(asking) if when > began + 4]
        assert late, asking.text()[-1000:]
        assert not [said for said in late if said == "200"], "its certificates count no more"
        assert {said for when, said in answers(other) if when > began} == {"200"}


def test_everything_stopped_for_longer_than_certificates_live_works_again_at_once() -> None:
    stopped = 126.0 if LONG else 8.0
    with living("5s") as mesh:
        asking = mesh.run("asking", sys.executable, "-c", ASKING)
        eventually("it is answered", lambda: any(said == "200" for _, said in answers(asking)))
        before = processes(mesh)
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        at = time.monotonic()
        try:
            # Half a second of allowance on a life of five.
            time.sleep(stopped)
        finally:
            again = time.monotonic()
            for pid in before:
                os.kill(pid, signal.SIGCONT)
        first = eventually(
            "it works again", lambda: [when for when, said in answers(asking) if when > again and said == "200"]
        )
        late = mesh.ask(
            "late", sys.executable, "-c", "import urllib.request as r; print(r.urlopen('http://echo:8080/').status)"
        )

        assert not [said for when, said in answers(asking) if at + 1 < when < again and said == "200"]
        assert (late.returncode, late.stdout.strip()) == (0, b"200"), late.stderr
        assert processes(mesh).items() >= before.items()
        # 2 s are promised (issue 4); a machine that runs other tests beside this one may take its time.
        assert first[0] - again < 6, f"{first[0] - again:.2f} s"
        print(f"first success {first[0] - again:.2f} s after")


def test_the_log_of_a_sidecar_says_what_became_of_its_trust() -> None:
    with living("60s") as mesh:
        Lifecycle(mesh).rotate_anchor()
        logs = [Path(path) for path in mesh.folder.glob("r/gossamer/*/logs/*echo*.log")]

        said = "\n".join(log.read_text() for log in logs)
        assert [f"trust is of generation {number} now" in said for number in (2, 3, 4)] == [True] * 3, said
        assert " WARN " not in said and " ERROR " not in said, said

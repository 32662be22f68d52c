"""Several control planes on one etcd: all serve, one leads, and whoever dies, nothing is lost."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Iterator
from json import dumps, loads
from typing import Any

import pytest

from tests.etcd import Cluster
from tests.mesh import harness, several
from tests.mesh.harness import Mesh, eventually
from tests.mesh.test_faults import ECHO, outcome, steady

SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: echo}
spec: {podSelector: {matchLabels: {app: echo}}, port: 8080, accessPolicy: all-authenticated}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with several.cluster(3) as found:
        yield found


def place(cluster: Cluster, prefix: str) -> str:
    return f"etcd://{cluster.addresses}/{prefix}"


def serve(mesh: Mesh) -> harness.Workload:
    return mesh.serve("echo", harness.need("node").path, ECHO, "8080")


def get(mesh: Mesh, *options: str) -> subprocess.CompletedProcess[bytes]:
    curl = harness.need("curl")
    return mesh.ask(
        "curl", curl.path, "-s", "-m", "20", "http://echo:8080/x", options=options, environment=curl.environment
    )


def workloads(mesh: Mesh) -> list[tuple[str, str, bool]]:
    """Name, address, whether it is ready."""
    items = mesh.json("get", "workloads", "-A")["items"]
    return sorted((one["metadata"]["name"], one["spec"]["address"], one["status"]["ready"]) for one in items)


def servers(mesh: Mesh) -> list[str]:
    return [one["metadata"]["name"] for one in mesh.json("get", "servers")["items"]]


def stored(cluster: Cluster, prefix: str) -> dict[str, tuple[bytes, int]]:
    """Key → value and revision, asked of etcd itself."""
    first = f"{prefix}/".encode()
    asked = {"key": b64encode(first).decode(), "range_end": b64encode(f"{prefix}0".encode()).decode()}
    for member in cluster.members:
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{member.port}/v3/kv/range", dumps(asked).encode(), method="POST"
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = loads(answer.read())
        except OSError:
            continue
        return {
            b64decode(one["key"]).decode().removeprefix(f"{prefix}/"): (
                b64decode(one.get("value", "")),
                int(one["mod_revision"]),
            )
            for one in found.get("kvs", [])
        }
    raise AssertionError("no member of etcd answers")


def leader(cluster: Cluster, prefix: str) -> str:
    """The id of the replica that leads; "" while none does."""
    value, _ = stored(cluster, prefix).get("s/leader", (b"", 0))
    return value.decode().partition(" ")[0]


def quiet(cluster: Cluster, prefix: str, key: str) -> tuple[bytes, int]:
    """What a key holds once it has stayed the same for three seconds: a start has its aftermath."""
    seen, since = stored(cluster, prefix)[key], time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.2)
        now = stored(cluster, prefix)[key]
        seen, since = (seen, since) if now == seen else (now, time.monotonic())
    return seen


def identity_of(mesh: Mesh) -> str:
    return (mesh.folder / "s" / "gossamer" / mesh.name / "replica").read_text().strip()


def test_every_replica_serves_what_is_said_to_any(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "serve"), 2) as (first, second):
        serve(first)
        second.apply(SERVER)
        assert get(second).returncode == 0
        assert get(first).returncode == 0
        eventually("both know both", lambda: workloads(first) == workloads(second))
        eventually("the first knows", lambda: servers(first) == ["echo"])
        second.cli("delete", "server", "echo")
        eventually("it is gone everywhere", lambda: servers(first) == [])


def test_replicas_that_begin_a_mesh_at_the_same_moment_are_one_mesh(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "moment"), 3, begin=False) as all_three:
        flags = ("--store", place(cluster, "moment"), "--store-secret", str(all_three[0].folder / "secret"))
        begun = [
            subprocess.Popen([harness.GOSSAMER, "up", *flags], env=one.environment, stderr=subprocess.PIPE, text=True)
            for one in all_three
        ]
        assert [(one.communicate(timeout=60)[1], one.returncode) for one in begun] == [("", 0)] * 3
        keys = {(one.folder / "s/gossamer/test/ca/issuer.key").read_bytes() for one in all_three}
        assert len(keys) == 1
        serve(all_three[0])
        assert [get(one).returncode for one in all_three] == [0, 0, 0]


def test_the_keys_in_the_store_are_sealed_and_the_anchors_is_not_there(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "sealed"), 2) as (first, second):
        folders = [one.folder / "s" / "gossamer" / "test" / "ca" for one in (first, second)]
        issuer = (folders[0] / "issuer.key").read_bytes()
        assert (folders[1] / "issuer.key").read_bytes() == issuer
        anchor = (folders[0] / "anchor" / "key.pem").read_bytes()
        assert not (folders[1] / "anchor").exists()
        values = [value for value, _ in stored(cluster, "sealed").values()]
        for secret in (issuer, anchor):
            body = b"".join(secret.splitlines()[1:-1])
            for form in (secret, body, b64decode(body), b64encode(secret), b64encode(body)):
                assert not any(form in value for value in values)


def test_a_replica_without_the_secret_does_not_start_and_says_what_it_needs(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "secret"), 2) as (first, second):
        second.cli("down")
        (second.folder / "other").write_text("A" * 44 + "\n")
        (second.folder / "other").chmod(0o600)
        for name, said in (("missing", "copy that file from a machine"), ("other", "not the secret")):
            again = second.cli(
                "up", "--store", place(cluster, "secret"), "--store-secret", str(second.folder / name), check=False
            )
            assert again.returncode == 1
            assert said in again.stderr
            assert again.stderr.count("\n") == 1
        assert first.cli("version").returncode == 0


def test_a_replica_is_killed_then_etcds_leader_and_nothing_is_lost(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "kill"), 2) as (first, second):
        serve(first)
        before = workloads(second)
        load = steady(second, "echo", 50, 12)
        time.sleep(2)
        several.kill(first)
        time.sleep(1)
        found = cluster.leader()
        assert found is not None
        found.kill()
        try:
            assert get(second).returncode == 0, "a new workload starts with what is left"
            assert set(before) <= set(workloads(second))
            first.up()
            eventually("it knows everything again", lambda: workloads(first) == workloads(second))
        finally:
            found.start()
            cluster.wait()
        assert outcome(load) == {"counts": {"200": 600}, "bad": []}


def test_everything_is_away_and_comes_back(cluster: Cluster) -> None:
    """All replicas and all of etcd, killed: traffic goes on; whoever starts waits with one line; then it starts."""
    with several.replicas(place(cluster, "away"), 2) as (first, second):
        serve(first)
        seconds = several.AWAY + 10
        load = steady(second, "echo", 50, seconds)
        eventually("the load runs", lambda: len(workloads(second)) == 2)
        before = workloads(second)
        time.sleep(1)
        for member in cluster.members:
            member.kill()
        for one in (first, second):
            several.kill(one)
        waiting = subprocess.Popen(
            second.command("late", ("echo", "started"), ()),
            env=second.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        given_up = second.ask("later", "true", options=("--wait", "0"))
        assert given_up.returncode == 125
        assert b"no control plane runs" in given_up.stderr
        time.sleep(several.AWAY)
        assert waiting.poll() is None
        for member in cluster.members:
            member.start()
        cluster.wait()
        first.up()
        second.up()
        said, told = waiting.communicate(timeout=60)
        assert (waiting.returncode, said) == (0, "started\n")
        assert told.count("\n") == 1
        assert "waiting: no control plane runs for mesh test" in told
        eventually("nothing was forgotten", lambda: set(before) <= set(workloads(first)) == set(workloads(second)))
        assert outcome(load) == {"counts": {"200": int(seconds * 50)}, "bad": []}


def test_while_etcd_is_away_what_runs_goes_on_and_what_starts_waits(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "frozen"), 1) as (mesh,):
        serve(mesh)
        for member in cluster.members:
            member.stop()
        try:
            eventually("it is noticed", lambda: "the store does not answer" in several.log(mesh))
            refused = mesh.cli("apply", "-f", "-", stdin=SERVER, check=False)
            assert refused.returncode == 1
            assert "does not take changes now" in refused.stderr
            checked = mesh.cli("check", check=False)
            assert (checked.returncode, "× changes are stored" in checked.stdout) == (1, True)
            began = time.monotonic()
            assert mesh.ready("echo") == 1
            assert time.monotonic() - began < 5
            waiting = subprocess.Popen(
                mesh.command("curl", ("true",), ()), env=mesh.environment, stderr=subprocess.PIPE, text=True
            )
            time.sleep(1.5)
            assert waiting.poll() is None
        finally:
            for member in cluster.members:
                member.go_on()
        _, told = waiting.communicate(timeout=60)
        assert waiting.returncode == 0
        assert told.startswith("gossamer: waiting: ") and told.count("\n") == 1
        mesh.apply(SERVER)
        assert servers(mesh) == ["echo"]


def test_a_leader_that_is_stopped_past_its_lease_and_goes_on_writes_nothing(cluster: Cluster) -> None:
    with several.replicas(place(cluster, "thaw"), 2) as both:
        eventually("one leads", lambda: leader(cluster, "thaw"))
        old = next(one for one in both if identity_of(one) == leader(cluster, "thaw"))
        new = next(one for one in both if one is not old)
        mark = f"s/mark/{identity_of(old)}"
        written = quiet(cluster, "thaw", mark)
        began = time.monotonic()
        several.freeze(old)
        eventually("another leads", lambda: leader(cluster, "thaw") == identity_of(new), 15.0)
        assert time.monotonic() - began <= 15.0
        several.resume(old)
        eventually("it has noticed", lambda: "this replica leads no longer" in several.log(old))
        time.sleep(3)
        assert stored(cluster, "thaw")[mark] == written, "every commit of a replica moves its mark"
        assert leader(cluster, "thaw") == identity_of(new)
        assert old.cli("version").returncode == 0, "it serves on"


def test_an_anchor_rotated_at_one_replica_is_everybodys_once_and_nobody_notices(cluster: Cluster) -> None:
    """Begun at one that does not lead; the sidecars' words are heard by both, and the files of both end alike."""
    with several.replicas(place(cluster, "rotate"), 2) as both:
        serve(both[0])
        eventually("one leads", lambda: leader(cluster, "rotate"))
        other = next(one for one in both if identity_of(one) != leader(cluster, "rotate"))
        folders = [one.folder / "s" / "gossamer" / "test" / "ca" for one in both]
        before = (folders[0] / "anchors.pem").read_bytes()
        load = steady(both[1], "echo", 20, 16)
        time.sleep(2)
        other.cli("identity", "rotate", "anchor", seconds=60)
        ended = "the rotation of trust anchors has ended"
        eventually("both know that it has ended", lambda: all(ended in several.log(one) for one in both), 40)
        time.sleep(2)
        assert [several.log(one).count(ended) for one in both] == [1, 1]
        after = [{name: (folder / name).read_bytes() for name in ("anchors.pem", "issuer.pem")} for folder in folders]
        assert after[0] == after[1]
        assert after[0]["anchors.pem"] != before
        assert get(both[0]).returncode == get(both[1]).returncode == 0
        assert outcome(load) == {"counts": {"200": 320}, "bad": []}

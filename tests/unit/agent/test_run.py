"""What `run` makes of its options and of the control plane's answer."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent import controlplane
from gossamer.agent.launch import hidden, launcher_config, memory_file
from gossamer.agent.lease import Lease, NoControlPlane, Port, Refused, Registration
from gossamer.agent.ports import InvalidOption, label, port, publish, ready, service_from
from gossamer.agent.start import original_environment
from gossamer.settings import Paths

ANSWER: dict[str, Any] = {
    "workload": "web-1",
    "namespace": "default",
    "identity": "web.default.serviceaccount.identity.gossamer.cluster.local",
    "address": "127.64.0.1",
    "inbound_port": 4143,
    "token": "secret",
    "session": "other-secret",
    "trust_anchors_file": "/r/m/anchors.pem",
    "control_address": "127.64.9.9:8443",
    "control_name": "gossamer-control",
    "policy_workload": '{"ns":"default","pod":"web-1"}',
    "context_token": '{"ns":"default","pod":"web-1"}',
    "cluster_networks": ["127.64.0.0/10", "198.19.0.0/16"],
    "log_file": "/r/m/logs/web-1.log",
    "runtime_dir": "/r/gossamer/m",
    "state_dir": "/s/gossamer/m",
    "admin_socket": "/r/gossamer/m/default.web-1.sock",
    "default_policy": "all-authenticated",
}
REGISTRATION = Registration(
    "default",
    "web",
    "web",
    ports=(Port("http", 80, 8080),),
    publish=("127.0.0.1:80:8080",),
    host_ports=(5432,),
    ready="http://localhost:8080/ok",
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8080", Port("port-8080", 8080, 8080)),
        ("http=8080", Port("http", 8080, 8080)),
        ("80:8080", Port("port-80", 80, 8080)),
        ("http=80:8080", Port("http", 80, 8080)),
    ],
)
def test_ports_are_name_port_and_target(text: str, wanted: Port) -> None:
    assert port(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "http=", "=80", "Http=80", "80:", "80:x", "-1", "８０"])
def test_a_wrong_port_is_refused_with_what_was_typed(text: str) -> None:
    with pytest.raises(InvalidOption):
        port(text)


def test_an_opaque_port_is_named_by_either_number() -> None:
    assert port("5432:6000", (6000,)).opaque
    assert port("5432", (5432,)).opaque
    assert not port("80", (5432,)).opaque


def test_publishing_names_the_port_the_program_listens_on() -> None:
    assert publish("80", (Port("http", 80, 8080),)) == "127.0.0.1:80:8080"
    assert publish("0.0.0.0:9000", ()) == "0.0.0.0:9000:9000"
    assert publish("[::1]:9000", ()) == "[::1]:9000:9000"


@pytest.mark.parametrize("text", ["80:80:80", "::1:80", "localhost:80", "[127.0.0.1]:80", "[::1:80", ":x", "1.2.3:80"])
def test_what_cannot_be_published_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"--publish .*: expected \[ADDR:\]PORT"):
        publish(text, ())


def test_labels_are_kubernetes_labels() -> None:
    assert label("example.com/tier=web") == ("example.com/tier", "web")
    for wrong in ("tier", "=web", "tier=a b"):
        with pytest.raises(InvalidOption):
            label(wrong)


def test_readiness_is_a_local_url_or_none_with_a_port() -> None:
    assert ready("http://localhost:8080/ok", ()) == "http://localhost:8080/ok"
    assert ready("none", (Port("http", 80, 80),)) == "none"
    for wrong in ("none", "http://example.com/", "https://localhost/", "x"):
        with pytest.raises(InvalidOption):
            ready(wrong, ())


def test_a_programs_name_makes_a_service() -> None:
    assert [service_from(one) for one in ("/usr/bin/python3.11", "./My_App.py", "...")] == [
        "python3-11",
        "my-app",
        "program",
    ]


def test_the_launcher_is_told_everything_in_lines() -> None:
    lines = launcher_config(ANSWER, REGISTRATION, Path("/r/gossamer/m/agent.sock"), 1000, 1001).splitlines()

    assert lines[:6] == [
        "workload=web-1",
        "namespace=default",
        "address=127.64.0.1",
        "inbound_port=4143",
        "token=secret",
        "session=other-secret",
    ]
    for line in (
        "hide=/s/gossamer",
        "hide=/r/gossamer",
        "captured=198.19.0.0/16",
        "host_port=5432",
        "publish=127.0.0.1:80:8080",
        "port=8080",
        "ready_url=http://localhost:8080/ok",
        "uid=1000",
        "gid=1001",
        "env=GOSSAMER_PROXY_CONTROL_ADDR=tls:127.64.9.9:8443",
        "env=LINKERD2_PROXY_INBOUND_PORTS=8080",
        'env=LINKERD2_PROXY_POLICY_WORKLOAD={"ns":"default","pod":"web-1"}',
    ):
        assert line in lines


def test_no_secret_is_among_the_sidecars_settings() -> None:
    settings = [
        line for line in launcher_config(ANSWER, REGISTRATION, Path("/a"), 0, 0).splitlines() if line.startswith("env=")
    ]

    assert not [line for line in settings if "secret" in line]


def test_an_answer_that_lacks_something_is_refused() -> None:
    with pytest.raises(Refused, match="lacks 'token'"):
        launcher_config({key: value for key, value in ANSWER.items() if key != "token"}, REGISTRATION, Path("/a"), 0, 0)


def test_a_line_break_cannot_smuggle_a_setting() -> None:
    with pytest.raises(Refused, match="line break"):
        launcher_config({**ANSWER, "address": "127.64.0.1\nhide="}, REGISTRATION, Path("/a"), 0, 0)


def test_siblings_of_the_mesh_are_hidden_too() -> None:
    assert hidden(ANSWER) == ["/s/gossamer", "/r/gossamer"]


def test_a_memory_file_is_at_its_start_and_survives_exec() -> None:
    descriptor = memory_file("workload=web\n")
    try:
        assert os.get_inheritable(descriptor)
        assert os.read(descriptor, 100) == b"workload=web\n"
    finally:
        os.close(descriptor)


def served(path: Path, *replies: str) -> list[str]:
    """An agent's socket that gives these replies; what it was asked."""
    asked: list[str] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as lines:
            for reply in replies:
                asked.append(lines.readline().rstrip("\n"))
                lines.write(reply + "\n")
                lines.flush()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return asked


def test_registering_asks_in_one_line_and_keeps_the_lease(tmp_path: Path) -> None:
    asked = served(tmp_path / "a", "ok " + json.dumps(ANSWER))
    lease = Lease(tmp_path / "a")

    assert lease.register(REGISTRATION)["workload"] == "web-1"
    assert os.get_inheritable(lease.handover())
    verb, _, document = asked[0].partition(" ")
    assert (verb, json.loads(document)["service"]) == ("register", "web")
    lease.close()


def test_ready_at_once_is_said_before_the_program_starts(tmp_path: Path) -> None:
    asked = served(tmp_path / "a", "ok " + json.dumps(ANSWER), "ok")
    at_once = Registration("default", "web", "web", ports=(Port("http", 80, 8080),), ready="none")
    lease = Lease(tmp_path / "a")
    lease.register(at_once)
    lease.close()

    assert asked[1] == "listening 8080"


def test_a_refusal_is_the_control_planes_line(tmp_path: Path) -> None:
    served(tmp_path / "a", "error --replica a: it runs already")
    lease = Lease(tmp_path / "a")
    with pytest.raises(Refused, match="it runs already"):
        lease.register(REGISTRATION)
    lease.close()


def test_nobody_listening_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NoControlPlane):
        Lease(tmp_path / "nothing")


def test_the_environment_is_the_one_the_process_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDED_LATER", "1")

    assert b"ADDED_LATER" not in original_environment()
    assert original_environment()[b"PATH"]


def test_a_runtime_folder_of_others_is_refused(tmp_path: Path) -> None:
    paths = Paths("m", tmp_path / "s", tmp_path / "open" / "m")
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(controlplane.NotStarted, match="0700"):
        controlplane.prepare(paths)


def test_the_last_words_of_a_control_plane_are_those_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nnewer\n2026-01-01T00:00:00Z INFO a line of the log\n\n")

    assert controlplane.last_words(log, 4) == "newer"
    assert controlplane.last_words(log, 1 << 20) == "newer", "it was begun anew"
    assert controlplane.last_words(log, 10).startswith("it said nothing")
    assert controlplane.last_words(tmp_path / "none", 0).startswith("it said nothing")


def test_a_lock_is_seen_without_being_touched(tmp_path: Path) -> None:
    import fcntl

    lock = tmp_path / "lock"
    assert not controlplane._locked(lock)
    with lock.open("w") as held:
        assert not controlplane._locked(lock)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert controlplane._locked(lock)
    assert not controlplane._locked(lock)

"""What people do wrong: each time one line says what to do, and nothing is left behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.mesh import harness
from tests.mesh.harness import GOSSAMER, Mesh, eventually

MISTAKES = {
    "no command": (("run",), 2, "CMD"),
    "no such program": (("run", "--", "nonexistent"), 127, "cannot start nonexistent"),
    "no program": (("run", "--", "/etc/passwd"), 126, "cannot start /etc/passwd"),
    "an unknown option": (("run", "--frobnicate", "--", "true"), 2, "--frobnicate"),
    "an unknown command": (("frobnicate",), 2, "frobnicate"),
    "a bad service": (("run", "--service", "Bad Name", "--", "true"), 2, "--service"),
    "a long service": (("run", "--service", "a" * 5000, "--", "true"), 2, "1 to 63"),
    "a bad port": (("run", "--port", "abc", "--", "true"), 2, "--port abc: expected [NAME=]PORT"),
    "a large port": (("run", "--port", "99999", "--", "true"), 2, "--port 99999"),
    "a bad address": (("run", "--publish", "127.0.0.1", "--", "true"), 2, "--publish 127.0.0.1: expected [ADDR:]PORT"),
    "an address of others": (
        ("run", "--publish", "192.0.2.1:80", "--", "true"),
        125,
        "192.0.2.1:80 cannot be listened on",
    ),
    "an address that is none": (("run", "--publish", "80:80:80", "--", "true"), 2, "expected [ADDR:]PORT"),
    "a long window": (("stat", "-t", "5h"), 2, "60s"),
    "a bad host port": (("run", "--host-port", "0", "--", "true"), 2, "--host-port 0"),
    "a bad label": (("run", "--label", "foo", "--", "true"), 2, "KEY=VALUE"),
    "a bad mesh": (("up", "--mesh", "../x"), 2, "--mesh"),
    "no documents": (("apply",), 2, "-f FILE"),
    "no such file": (("apply", "-f", "/nonexistent"), 1, "/nonexistent"),
    "a web page": (("apply", "-f", "http://example.com/x.yaml"), 1, "only files"),
    "nothing to delete": (("delete", "service", "nothing"), 4, "nothing not found"),
    "an unknown kind": (("get", "foo"), 4, "there is no kind 'foo'"),
    "an unknown format": (("get", "services", "-o", "xml"), 2, "xml"),
    "an unknown workload": (("describe", "nothing"), 4, "nothing"),
    "no shell": (("completion",), 2, "bash, zsh, fish"),
    "a bad time": (("audit", "--workload", "x", "--for", "abc"), 2, "15m|30s"),
}

DOCUMENTS = {
    "kind: [": ":1: not valid YAML",
    "foo": "begin it with apiVersion and kind",
    "kind: Foo": "apiVersion: is required",
    "": "no documents",
    "a: &a [1]\nb: [*a, *a]": "alias",
    '!!python/object/apply:os.system ["id"]': "tag",
    "apiVersion: v1\nkind: Gadget\nmetadata: {name: x}": "known: ",
    "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: X_y}\nspec: {}": ":3: metadata.name",
    "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: x}\nspec: {port: 99999, podSelector: {}}": "spec.port: 99999",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_that_says_what_to_do(mesh: Mesh, mistake: str) -> None:
    arguments, code, words = MISTAKES[mistake]

    result = mesh.cli(*arguments, check=False)

    assert result.returncode == code, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert any(each in result.stderr for each in words.split("|")), result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr) < 500


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_bad_document_changes_nothing(mesh: Mesh, text: str) -> None:
    result = mesh.cli("apply", "-f", "-", stdin=text, check=False)

    assert result.returncode == 1
    assert DOCUMENTS[text] in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize("command", ["--help", "--version", "edges", "get services"])
def test_a_command_starts_in_less_than_150_ms(mesh: Mesh, command: str) -> None:
    """In time of the processor, so that it does not depend on who else is at work here; the least of eight."""
    used = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        mesh.cli(*command.split())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(used) < 0.15, used


@pytest.mark.parametrize("command", ["edges", "stat", "get services", "version", "identity", "get all"])
@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml"])
def test_every_form_of_every_answer_is_there_with_no_traffic(mesh: Mesh, command: str, form: str) -> None:
    result = mesh.cli(*command.split(), "-o", form)

    assert result.stdout + result.stderr
    if form in ("json", "yaml"):
        assert yaml.safe_load(result.stdout) is not None
        assert result.stderr == ""


def test_the_longest_names_work(mesh: Mesh) -> None:
    curl = harness.need("curl")
    service, namespace = "s" * 63, "n" * 63
    server = mesh.run(service, sys.executable, "-m", "http.server", "8080", options=("--namespace", namespace))
    ask = (curl.path, "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://{service}.{namespace}:8080/")

    eventually(
        "it answers",
        lambda: mesh.alive(server) and mesh.ask("client", *ask, environment=curl.environment).stdout == b"200",
    )

    server.stop()


def test_starting_and_stopping_twice_is_no_mistake() -> None:
    with harness.mesh("twice") as made:
        made.cli("down")
        made.cli("down")
        ups = [subprocess.Popen([GOSSAMER, "up"], env=made.environment, stdout=subprocess.DEVNULL) for _ in range(3)]
        assert [up.wait(20) for up in ups] == [0, 0, 0]
        assert "already runs" in made.cli("up").stdout


def test_a_folder_that_is_too_long_or_not_ours_is_named(tmp_path: Path) -> None:
    with harness.mesh("folders") as made:
        long = made.folder / ("x" * 120)
        long.mkdir(mode=0o700)
        for runtime, word in ((long, "too long for a socket's path"), (Path("/proc/nothing"), "/proc/nothing")):
            result = subprocess.run(
                [GOSSAMER, "up"],
                env={**made.environment, "XDG_RUNTIME_DIR": str(runtime)},
                capture_output=True,
                text=True,
            )
            assert result.returncode != 0
            assert word in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def mine(folder: Path) -> list[str]:
    """Processes that were started with this folder in their environment, or hold it in their command."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if str(folder).encode() in text and state != "Z":
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def quiet() -> Iterator[Mesh]:
    with harness.mesh("quiet") as made:
        yield made
    assert eventually("no process is left", lambda: not mine(made.folder), 5)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(quiet: Mesh, sent: signal.Signals) -> None:
    server = quiet.serve("web", sys.executable, "-m", "http.server", "8080")
    before = {path.name for path in (quiet.folder / "r" / "gossamer" / "quiet").iterdir()}

    server.process.send_signal(sent)
    server.process.wait(10)

    assert server.process.returncode in (-sent, 0, 1), server.process.returncode
    eventually("nothing of it is left", lambda: not [each for each in mine(quiet.folder) if "http.server" in each])
    eventually("its endpoint is gone", lambda: quiet.ready("web") == 0)
    after = {path.name for path in (quiet.folder / "r" / "gossamer" / "quiet").iterdir()}
    assert len(before - after) == 1, "its socket"
    assert after <= before


def test_an_interrupted_demo_leaves_nothing(quiet: Mesh) -> None:
    temporary = quiet.folder / "t"
    temporary.mkdir()
    quiet.cli("down")
    environment = {**quiet.environment, "TMPDIR": str(temporary)}
    demo = subprocess.Popen(
        [GOSSAMER, "demo", "--once"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(4)
    demo.send_signal(signal.SIGINT)

    assert demo.wait(20) != 0
    eventually("no process is left", lambda: not mine(quiet.folder), 5)
    assert list(temporary.iterdir()) == []


COMPLETE = """
source <(gossamer completion bash)
ask() { COMPREPLY=(); COMP_WORDS=(gossamer "$@"); COMP_CWORD=$#; _gossamer_completion gossamer; echo "${COMPREPLY[@]}"; }
ask desc; ask get -o ''; ask run --publ
"""


def test_bash_completes_commands_options_and_their_values(mesh: Mesh) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash: not on this machine")
    path = f"{Path(GOSSAMER).parent}:{os.environ['PATH']}"

    said = subprocess.run(
        ["bash", "-c", COMPLETE], env={**mesh.environment, "PATH": path}, capture_output=True, text=True
    )

    assert said.stdout.splitlines() == ["describe", "table wide json yaml", "--publish"], said.stderr

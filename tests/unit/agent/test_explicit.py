"""`run --explicit`: what the sidecar and the program are told where nothing may be captured."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from gossamer.agent.explicit import Forward, Sidecar, explicit_environment
from gossamer.agent.lease import Lease
from tests.unit.agent.test_run import ANSWER, REGISTRATION, served

WEB = Forward("web-shop", 18080, "198.19.0.7", 80)


def test_local_ports_take_the_place_of_captured_traffic() -> None:
    told = explicit_environment(ANSWER, REGISTRATION, [WEB])

    assert told["GOSSAMER_PROXY_FORWARD"] == "127.0.0.1:18080=198.19.0.7:80"
    assert told["LINKERD2_PROXY_INBOUND_LISTEN_ADDR"] == "127.64.0.1:4143"
    assert "GOSSAMER_PROXY_FORWARD" not in explicit_environment(ANSWER, REGISTRATION, [])


def test_the_program_learns_its_services_as_on_kubernetes() -> None:
    assert WEB.variables() == {"WEB_SHOP_SERVICE_HOST": "127.0.0.1", "WEB_SHOP_SERVICE_PORT": "18080"}


def test_a_sidecar_gets_the_first_token_and_then_fresh_ones(tmp_path: Path) -> None:
    served(tmp_path / "agent", "ok fresh")
    answer = {**ANSWER, "log_file": str(tmp_path / "log")}
    lease = Lease(tmp_path / "agent")
    sidecar = Sidecar(Path("/bin/true"), {}, answer, lease)
    ours, theirs = socket.socketpair()
    sidecar._line = ours
    listening = threading.Thread(target=sidecar._listen, args=(ours,))
    listening.start()
    with theirs, theirs.makefile("rb") as told:
        theirs.sendall(b"token\n")
        first = told.readline()
        theirs.sendall(b"token\n")
        second = told.readline()
        theirs.sendall(b"ready quiet\nquiet\ndrained\n")
        assert sidecar._ready.wait(5)
        assert sidecar._quiet.wait(5)
        assert sidecar._drained.wait(5)
    listening.join(5)
    ours.close()
    lease.close()

    assert (first, second) == (b"token secret\n", b"token fresh\n")


def test_a_lease_that_was_hung_up_on_is_taken_up_again(tmp_path: Path) -> None:
    served(tmp_path / "first", "ok")
    lease = Lease(tmp_path / "first")
    lease.ask("withdraw")
    for _ in range(500):
        if lease.lost():
            break
        threading.Event().wait(0.01)
    asked = served(tmp_path / "second", "ok")
    lease.resume(tmp_path / "second", "my-session")
    lease.close()

    assert asked == ["resume my-session"]

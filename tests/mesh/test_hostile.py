"""What an attacker sends, from inside the mesh and from outside: it is refused, and nothing of it reaches a program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mesh import harness
from tests.mesh.harness import Mesh, Workload

APPS = Path(__file__).parent / "apps"
HIDDEN = "GET /hidden HTTP/1.1\r\nhost: web\r\n\r\n"
FORGED = "l5d-client-id: forged\r\nL5D-Client-Id: forged\r\nl5d-proxy-error: forged\r\nl5d-orig-proto: HTTP/1.0\r\n"


def post(fields: str, body: str = HIDDEN, version: str = "HTTP/1.1") -> str:
    return f"POST /seen {version}\r\nhost: web:8080\r\n{fields}\r\n{body}"


def chunks(body: str) -> str:
    return post("transfer-encoding: chunked\r\n", body + "\r\n\r\n" + HIDDEN)


def get(rest: str) -> str:
    return f"GET /seen HTTP/1.1\r\n{rest}\r\n"


# Each is refused and its connection closed (security ).
REFUSED = {
    "length and chunks": post("content-length: 99\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "chunks and length": post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n" + HIDDEN),
    "two lengths": post("content-length: 0\r\ncontent-length: 36\r\n"),
    "a list of lengths": post("content-length: 0, 36\r\n"),
    "a signed length": post("content-length: +36\r\n"),
    "a negative length": post("content-length: -1\r\n"),
    "a hexadecimal length": post("content-length: 0x0\r\n"),
    "a space before the colon": post("content-length : 0\r\n"),
    "an empty length": post("content-length:\r\n"),
    "a length beyond 64 bits": post("content-length: 18446744073709551616\r\n"),
    "chunked twice": post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "an empty coding": post("transfer-encoding: ,chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "identity": post("transfer-encoding: identity\r\n"),
    "an unknown coding": post("transfer-encoding: xchunked\r\n", "0\r\n\r\n" + HIDDEN),
    "a coding after chunked": post("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n" + HIDDEN),
    "a coding with a vertical tab": post("transfer-encoding:\x0bchunked\r\n", "0\r\n\r\n" + HIDDEN),
    "chunks in 1.0": post("transfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN, "HTTP/1.0"),
    "a folded coding": post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "a folded field": post("x: a\r\n transfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "bare line feeds": "POST /seen HTTP/1.1\nhost: web:8080\ncontent-length: 0\n\n" + HIDDEN,
    "a bare line feed": post("x: y\ntransfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "a bare carriage return": post("x: y\rtransfer-encoding: chunked\r\n", "0\r\n\r\n" + HIDDEN),
    "a zero byte": post("x: y\0z\r\n", ""),
    "a field without a name": post(": y\r\n", ""),
    "a signed chunk": chunks("+0"),
    "a prefixed chunk": chunks("0x0"),
    "an underscore in a chunk": chunks("0_0"),
    "a chunk without a size": chunks(""),
    "a chunk ended by a line feed": post("transfer-encoding: chunked\r\n", "0\n\n" + HIDDEN),
    "a chunk longer than it says": chunks("1\r\nxx\r\n0"),
    "a chunk beyond 64 bits": chunks("10000000000000000"),
    "a line feed in an extension": chunks("0;a\nb"),
    "a carriage return in an extension": chunks("0;a\rb"),
    "a long extension": chunks("1;" + "a" * 100_000 + "\r\nx\r\n0"),
    "ten thousand trailers": chunks("0\r\n" + "a: b\r\n" * 10_000),
    "two hosts": get("host: web:8080\r\nhost: other:8080\r\n"),
    "the same host twice": get("host: web:8080\r\nhost: web:8080\r\n"),
    "no host": get(""),
    "another host in the target": "GET http://other:8080/seen HTTP/1.1\r\nhost: web:8080\r\n\r\n",
    "a user in the host": get("host: a@web:8080\r\n"),
    "a list of hosts": get("host: web, other\r\n"),
    "a scoped literal": get("host: [fe80::1%25lo]:8080\r\n"),
    "an unknown version": "GET /seen HTTP/1.2\r\nhost: web:8080\r\n\r\n",
    "no version": "GET /seen\r\n\r\n",
    "four words": "GET /seen HTTP/1.1 HTTP/1.1\r\nhost: web:8080\r\n\r\n",
    "a tab between words": f"GET\t/seen HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
    "two spaces between words": f"GET  /seen HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
    "a space in front": f" GET /seen HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
    "a form feed": f"GET\x0c/seen HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
    "too many fields": get("host: web:8080\r\n" + "".join(f"a{number}: b\r\n" for number in range(150))),
    "too long a head": get("host: web:8080\r\nx: " + "y" * 70_000 + "\r\n"),
    "a body of CONNECT": "CONNECT web:8080 HTTP/1.1\r\nhost: web:8080\r\ncontent-length: 36\r\n\r\n" + HIDDEN,
}

# Each is answered, without what was forged (security ).
FORGERIES = {
    "plain": f"GET /plain HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
    "nominated": f"GET /nominated HTTP/1.1\r\nhost: web:8080\r\nconnection: l5d-client-id, host\r\n{FORGED}\r\n",
    "trailers": "POST /trailers HTTP/1.1\r\nhost: web:8080\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    + FORGED
    + "\r\n",
    "upgrade": f"GET /upgrade HTTP/1.1\r\nhost: web:8080\r\nconnection: upgrade, l5d-client-id\r\nupgrade: x\r\n{FORGED}\r\n",
    "1.0": f"GET /old HTTP/1.0\r\n{FORGED}\r\n",
    "after an empty line": f"\r\nGET /late HTTP/1.1\r\nhost: web:8080\r\n{FORGED}\r\n",
}


@dataclass
class Target:
    """A server that prints all it is given, reachable as `web:8080` inside and at `published` outside."""

    mesh: Mesh
    server: Workload
    published: int

    def send(
        self, where: str, messages: dict[str, str], seconds: float = 3.0, client: str = "attacker"
    ) -> dict[str, tuple[str, str]]:
        text = json.dumps(list(messages.values())).encode()
        raw = [sys.executable, str(APPS / "raw.py")]
        if where == "inside":
            answer = self.mesh.ask(client, *raw, "web", "8080", str(seconds), stdin=text)
        else:
            answer = subprocess.run(
                [*raw, "127.0.0.1", str(self.published), str(seconds)], input=text, capture_output=True
            )
        assert answer.returncode == 0, answer.stderr.decode()
        return {name: (got[0], got[1]) for name, got in zip(messages, json.loads(answer.stdout), strict=True)}

    def seen(self) -> str:
        """All bytes that reached the server."""
        return "".join(json.loads(line) for line in self.server.text().splitlines())


@pytest.fixture(scope="module")
def target(mesh: Mesh) -> Iterator[Target]:
    port = harness.free_port()
    server = mesh.serve(
        "web", sys.executable, str(APPS / "witness.py"), str(port), "8080", options=("--publish", str(port))
    )
    yield Target(mesh, server, port)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_ambiguous_requests_are_refused_and_hide_nothing(target: Target, where: str) -> None:
    answers = target.send(where, REFUSED)

    wrong = {
        name: got
        for name, got in answers.items()
        if got[0][9:12] not in ("400", "431", "501", "505") or got[1] != "closed"
    }
    assert wrong == {}
    assert {name: got for name, got in answers.items() if got[0].count("HTTP/1.1 ") != 1} == {}
    assert "hidden" not in target.seen()


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_nothing_that_only_sidecars_say_can_be_forged(target: Target, where: str) -> None:
    answers = target.send(where, FORGERIES, 1.0)

    assert {name: got for name, got in answers.items() if not got[0].startswith("HTTP/1.1 200")} == {}
    assert "forged" not in target.seen()
    if where == "inside":
        assert target.seen().count(
            "l5d-client-id: attacker.default.serviceaccount.identity.gossamer.cluster.local"
        ) >= len(FORGERIES)


OPEN_DOOR = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  port: PORT
  proxyProtocol: HTTP/1
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: door, namespace: default}
spec:
  parentRefs: [{kind: Server, group: policy.linkerd.io, name: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /hidden}}, {path: {type: PathPrefix, value: /open}}]
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: vault, namespace: default}
spec:
  parentRefs: [{kind: Server, group: policy.linkerd.io, name: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /seen}}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: anybody-to-the-door, namespace: default}
spec:
  targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: door}
  requiredAuthenticationRefs: []
"""

# Ways to write /seen, or something a server may take for it (security ).
TRICKS = [
    "/open/../seen", "/open/..%2fseen", "/open%2f..%2fseen", "/open/%2e%2e/seen", "/open/.%2e/seen", "/open/..;/seen", "/open/..\\seen",
    "/open/..%5cseen", "//seen", "/./seen", "/%73een", "/seen%00", "/open/../../seen", "/open/x/../../seen", "/open#/../seen",
    "/open//../seen", "/open/.;/../seen", "/open%00/../seen", "/open/..%c0%afseen", "http://web:8080/seen", "http://web:8080//seen",
]  # fmt: skip


@pytest.fixture(scope="module")
def guarded() -> Iterator[Target]:
    """The same server where anybody may ask for /open and /hidden, and nobody for /seen."""
    port = harness.free_port()
    with harness.mesh() as made:
        options = ("--publish", str(port), "--label", "app=web")
        server = made.serve("web", sys.executable, str(APPS / "witness.py"), str(port), "8080", options=options)
        made.apply(
            OPEN_DOOR.replace("PORT", str(port))
            + "---"
            + OPEN_DOOR.replace("PORT", "8080")
            .replace("web,", "web-inside,")
            .replace("name: web}", "name: web-inside}")
            .replace("name: door", "name: door-inside")
            .replace("name: vault", "name: vault-inside")
            .replace("anybody", "anybody-inside")
        )
        time.sleep(1)
        yield Target(made, server, port)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_unread_body_of_a_refused_request_is_no_request(guarded: Target, where: str) -> None:
    behind = "GET /open/behind HTTP/1.1\r\nhost: web:8080\r\n\r\n"
    messages = {
        f"body of {size}": post(f"content-length: {size}\r\n", (HIDDEN * (size // len(HIDDEN) + 1))[:size]) + behind
        for size in (37, 370, 37_000, 370_000)
    }
    messages["chunks"] = post("transfer-encoding: chunked\r\n", f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n") + behind
    messages["less than promised"] = post("content-length: 1000\r\n", HIDDEN)
    messages["expectation"] = post("content-length: 37\r\nexpect: 100-continue\r\n", HIDDEN) + behind

    answers = guarded.send(where, messages, 2.0)

    assert {name: got for name, got in answers.items() if not got[0].startswith("HTTP/1.1 403")} == {}
    assert "hidden" not in guarded.seen()


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_no_spelling_of_a_path_gets_around_a_policy(guarded: Target, where: str) -> None:
    messages = {path: f"GET {path} HTTP/1.1\r\nhost: web:8080\r\n\r\n" for path in TRICKS}

    answers = guarded.send(where, messages, 1.0)

    assert {path: got[0][:14] for path, got in answers.items() if got[0][9:12] not in ("400", "403", "404")} == {}
    assert guarded.send(where, {"open": "GET /open/x HTTP/1.1\r\nhost: web:8080\r\n\r\n"}, 1.0)["open"][0].startswith(
        "HTTP/1.1 200"
    )

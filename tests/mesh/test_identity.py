"""Nobody gets a certificate that is not theirs, and nobody without one gets past a sidecar's direct port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gossamer.pb.linkerd import identity_pb2, inbound_pb2
from tests.mesh.harness import Mesh, Workload
from tests.mesh.outsider import Agent, Proof, certify, header, proof, request, self_signed, speak

APPS = Path(__file__).parent / "apps"
ALPN = "transport.l5d.io/v1"
GET = b"GET /seen HTTP/1.1\r\nhost: web:8080\r\n\r\n"


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Workload:
    return mesh.serve("web", sys.executable, str(APPS / "witness.py"), "8080", "9090", options=("--label", "app=web"))


@pytest.fixture
def agent(mesh: Mesh) -> Iterator[Agent]:
    made = Agent(mesh)
    yield made
    made.close()


def place(mesh: Mesh, name: str = "web") -> tuple[str, str]:
    """The address and identity of a service's only workload."""
    workload = mesh.json("describe", name)["workloads"][0]
    return str(workload["address"]), str(workload["identity"])


def refused(mesh: Mesh, where: dict[str, Any], identity: str, token: str, csr: bytes) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        certify(mesh, where, identity, token, csr)
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION), caught.value
    return str(caught.value.details())


def test_a_token_is_for_one_identity_and_one_use(mesh: Mesh, web: Workload, agent: Agent) -> None:
    mine = agent.register("mine")
    other = mine["identity"].replace("mine.", "web.", 1)
    key = ec.generate_private_key(ec.SECP256R1())
    token = mine["token"]

    refused(mesh, mine, other, token, request(key, [other]))
    refused(mesh, mine, mine["identity"], "", request(key, [mine["identity"]]))
    refused(mesh, mine, mine["identity"], "x" * 43, request(key, [mine["identity"]]))
    refused(mesh, mine, mine["control_name"], "", request(key, [mine["control_name"]]))
    refused(mesh, mine, mine["identity"], token, request(key, [other]))
    refused(mesh, mine, mine["identity"], token, request(key, [mine["identity"], other]))
    refused(mesh, mine, mine["identity"], token, request(key, []))
    refused(mesh, mine, mine["identity"], token, request(rsa.generate_private_key(65537, 2048), [mine["identity"]]))
    refused(mesh, mine, mine["identity"], token, request(ec.generate_private_key(ec.SECP521R1()), [mine["identity"]]))
    csr = bytearray(request(key, [mine["identity"]]))
    csr[-1] ^= 1
    refused(mesh, mine, mine["identity"], token, bytes(csr))
    refused(mesh, mine, mine["identity"], token, b"")

    given = certify(
        mesh,
        mine,
        mine["identity"],
        token,
        request(key, [mine["identity"]], authority=x509.BasicConstraints(True, None)),
    )
    leaf = x509.load_der_x509_certificate(given.leaf_certificate)
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [mine["identity"]]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert "used up" in refused(mesh, mine, mine["identity"], token, request(key, [mine["identity"]]))


@pytest.fixture
def member(mesh: Mesh, agent: Agent) -> Iterator[Proof]:
    """A true certificate of the mesh, for `mine`."""
    mine = agent.register("mine")
    key = ec.generate_private_key(ec.SECP256R1())
    given = certify(mesh, mine, mine["identity"], mine["token"], request(key, [mine["identity"]]))
    chain = [
        x509.load_der_x509_certificate(each) for each in (given.leaf_certificate, *given.intermediate_certificates)
    ]
    with proof(key, *chain) as shown:
        yield shown


def test_the_direct_port_takes_only_members(mesh: Mesh, web: Workload, member: Proof) -> None:
    address, identity = place(mesh)
    key = ec.generate_private_key(ec.SECP256R1())
    before = web.text()
    with proof(key, self_signed(key, identity)) as forged:
        attempts = {
            "plain": speak(address, 4143, GET, tls=False),
            "plain with a header": speak(address, 4143, header(8080, session=1) + GET, tls=False),
            "garbage": speak(address, 4143, os.urandom(300), tls=False),
            "no certificate": speak(address, 4143, header(8080, session=1) + GET, identity, [ALPN]),
            "self-signed": speak(address, 4143, header(8080, session=1) + GET, identity, [ALPN], forged),
            "self-signed, bytes": speak(address, 4143, header(8080) + GET, identity, [ALPN], forged),
            "no header": speak(address, 4143, GET, identity, [ALPN], member),
            "no name": speak(address, 4143, header(8080, session=1) + GET, None, [ALPN], member),
            "another's name": speak(
                address, 4143, header(8080, session=1) + GET, identity.replace("web", "mine"), [ALPN], member
            ),
            "another port's host": speak(address, 4143, header(8080, "evil:80", 1) + GET, identity, [ALPN], member),
            "port 0": speak(address, 4143, header(0, session=1) + GET, identity, [ALPN], member),
            "port 65537": speak(address, 4143, header(65537, session=1) + GET, identity, [ALPN], member),
            "a negative port": speak(address, 4143, header(-1, session=1) + GET, identity, [ALPN], member),
            "a long header": speak(
                address, 4143, header(8080)[:23] + b"\xff\xff\xff\xff" + b"x" * 1000, identity, [ALPN], member
            ),
            "the direct port": speak(address, 4143, header(4143) + header(8080) + GET, identity, [ALPN], member),
            "the admin port": speak(address, 4143, header(4191, session=1) + GET, identity, [ALPN], member),
        }

    assert {name: got[:60] for name, got in attempts.items() if b" 200 " in got} == {}
    assert web.text() == before
    assert b" 200 " in speak(address, 4143, header(8080, session=1) + GET, identity, [ALPN], member), (
        "the true way works"
    )
    assert b" 200 " not in speak(address, 4143, header(8080, session=1) + GET, identity, ["h2"], member), (
        "another protocol"
    )
    words = b"GET /seen HTTP/1.1\r\nhost: web:8080\r\nl5d-client-id: boss\r\nconnection: l5d-client-id\r\n\r\n"
    assert b" 200 " in speak(address, 4143, header(8080, session=1) + words, identity, [ALPN], member)
    assert "boss" not in web.text() and "l5d-client-id: mine.default." in web.text()


LOCKED = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: locked, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  port: 9090
  proxyProtocol: PROTOCOL
"""


@pytest.mark.parametrize("protocol", ["HTTP/1", "HTTP/2", "opaque", "unknown", "gRPC"])
def test_a_member_cannot_name_its_way_to_a_port_that_is_closed_to_it(
    mesh: Mesh, web: Workload, member: Proof, protocol: str
) -> None:
    address, identity = place(mesh)
    mesh.apply(LOCKED.replace("PROTOCOL", protocol))
    time.sleep(0.7)
    before = web.text()

    got = [
        speak(address, 4143, header(9090, session=session) + GET, identity, [ALPN], member, seconds=1)
        for session in (0, 1)
    ]
    got.append(speak(address, 4143, header(9090) + PREFACE + GET, identity, [ALPN], member, seconds=1))
    got.append(speak(address, 9090, GET, tls=False, seconds=1))

    assert [each for each in got if b" 200 " in each] == []
    assert web.text() == before
    mesh.cli("delete", "server", "locked")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("protocol", ["HTTP/1", "HTTP/2", "gRPC"])
def test_a_declared_protocol_lets_no_bytes_around_it(mesh: Mesh, web: Workload, member: Proof, protocol: str) -> None:
    """Who may call a port cannot say so as raw bytes, with fields that only sidecars set."""
    address, identity = place(mesh)
    mesh.apply(LOCKED.replace("PROTOCOL", protocol) + ADMITTED)
    time.sleep(0.7)
    forged = GET.replace(b"/seen", b"/bytes").replace(b"\r\n\r\n", b"\r\nl5d-client-id: chief\r\n\r\n")

    speak(address, 4143, header(9090) + forged, identity, [ALPN], member, seconds=1)
    speak(address, 4143, header(9090) + b"GET\t" + forged[4:], identity, [ALPN], member, seconds=1)

    assert "chief" not in web.text()
    mesh.cli("delete", "server", "locked")
    mesh.cli("delete", "authorizationpolicy", "admitted")


ADMITTED = """---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: admitted, namespace: default}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: locked}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: mine}]
"""


def test_the_control_plane_believes_certificates_and_not_words(mesh: Mesh, web: Workload, agent: Agent) -> None:
    mine = agent.register("mine")
    _, other = place(mesh)
    key = ec.generate_private_key(ec.SECP256R1())
    anchors = Path(mine["trust_anchors_file"]).read_bytes()
    name = mine["control_name"]
    options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
    words = [("l5d-client-id", other), ("l5d-client-id", other)]
    asked = identity_pb2.CertifyRequest(
        identity=other, certificate_signing_request=request(key, [other])
    ).SerializeToString()
    calls = {
        "renewal in another's name": ("/io.linkerd.proxy.identity.Identity/Certify", asked),
        "another's policy": (
            "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort",
            inbound_pb2.PortSpec(workload=mine["policy_workload"], port=8080).SerializeToString(),
        ),
        "names": ("/gossamer.v1.Names/Watch", b""),
        "administration": ("/gossamer.v1.Admin/Status", b""),
        "shutdown": ("/gossamer.v1.Admin/Shutdown", b""),
    }
    got = {}
    with grpc.secure_channel(mine["control_address"], grpc.ssl_channel_credentials(anchors), options) as channel:
        for what, (path, message) in calls.items():
            stream = channel.unary_stream(path, request_serializer=None, response_deserializer=None)(
                message, metadata=words, timeout=5
            )
            try:
                next(stream)
                got[what] = "answered"
            except grpc.RpcError as error:
                got[what] = error.code().name

    assert got == {
        "renewal in another's name": "FAILED_PRECONDITION",
        "another's policy": "PERMISSION_DENIED",
        "names": "INVALID_ARGUMENT",
        "administration": "UNIMPLEMENTED",
        "shutdown": "UNIMPLEMENTED",
    }


STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(60001); os.setuid(60001)
for path in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path); s.settimeout(2); s.sendall(b'register {}\\n' if 'agent' in path else b'GET / HTTP/1.1\\r\\n\\r\\n'); print(s.recv(100))
        except OSError as error: print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_another_user_gets_nowhere_even_past_the_folder(mesh: Mesh, web: Workload) -> None:
    folder = mesh.folder / "r" / "gossamer" / "test"
    sockets = [str(folder / f"{name}.sock") for name in ("agent", "admin", "control")] + [
        str(next(folder.glob("default.web-*.sock")))
    ]
    ask = [sys.executable, "-c", STRANGER, *sockets]
    closed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    assert closed == ["PermissionError"] * 4

    modes = [
        (path, path.stat().st_mode)
        for path in (mesh.folder, folder.parent.parent, folder.parent, folder, *map(Path, sockets))
    ]
    try:
        for path, _ in modes:
            path.chmod(0o777)
        answers = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        for path, mode in modes:
            path.chmod(mode & 0o7777)
    assert answers[0].startswith("b'error ") and "user" in answers[0]
    assert all(answer.endswith("Error") for answer in answers[1:3])

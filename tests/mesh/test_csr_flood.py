"""A workload that floods the identity service delays nobody else's first certificate past two seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.pb.linkerd import identity_pb2
from tests.mesh.harness import Mesh
from tests.mesh.outsider import CERTIFY, Agent, certify, request

SECONDS = 4.0
OUTSTANDING = 400
FIRST = 2.0


class Flood:
    """Keeps so many requests of one member under way, all of them signed and right."""

    def __init__(self, place: dict[str, Any], key: ec.EllipticCurvePrivateKey, chain: bytes) -> None:
        self.answers: Counter[str] = Counter()
        self.ended = threading.Event()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = str(place["control_name"])
        options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
        proven = grpc.ssl_channel_credentials(Path(place["trust_anchors_file"]).read_bytes(), private, chain)
        self.channel = grpc.secure_channel(str(place["control_address"]), proven, options)
        self.call = self.channel.unary_unary(
            CERTIFY, request_serializer=None, response_deserializer=identity_pb2.CertifyResponse.FromString
        )
        csr = request(key, [place["identity"]])
        self.message = identity_pb2.CertifyRequest(
            identity=place["identity"], certificate_signing_request=csr
        ).SerializeToString()

    def start(self) -> None:
        for _ in range(OUTSTANDING):
            self.once()

    def once(self) -> None:
        self.call.future(self.message, timeout=30).add_done_callback(self.answered)

    def answered(self, call: Any) -> None:
        self.answers[call.code().name] += 1
        if not self.ended.is_set():
            self.once()

    def stop(self) -> None:
        self.ended.set()
        self.channel.close()


def pem(given: identity_pb2.CertifyResponse) -> bytes:
    from cryptography import x509

    chain = (given.leaf_certificate, *given.intermediate_certificates)
    return b"".join(x509.load_der_x509_certificate(one).public_bytes(serialization.Encoding.PEM) for one in chain)


def test_a_flood_of_one_workload_delays_no_others_first_certificate(mesh: Mesh) -> None:
    member = Agent(mesh)
    place = member.register("flood")
    key = ec.generate_private_key(ec.SECP256R1())
    given = certify(mesh, place, place["identity"], place["token"], request(key, [place["identity"]]))
    flood = Flood(place, key, pem(given))
    flood.start()
    times = []
    agents = []
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            agents.append(Agent(mesh))
            other = agents[-1].register(f"honest-{len(agents)}")
            csr = request(ec.generate_private_key(ec.SECP256R1()), [other["identity"]])
            began = time.monotonic()
            certify(mesh, other, other["identity"], other["token"], csr)
            times.append(time.monotonic() - began)
            time.sleep(0.2)
    finally:
        flood.stop()
        for agent in (member, *agents):
            agent.close()
    print(
        f"first certificates: {len(times)}, the longest {max(times):.3f} s; the flood's answers: {dict(flood.answers)}"
    )
    assert flood.answers.total() > 500, flood.answers
    assert flood.answers["RESOURCE_EXHAUSTED"] > 0, "it is told that it is too much"
    assert max(times) < FIRST, times

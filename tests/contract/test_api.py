"""The sidecars' methods on a real socket, called by grpcio: codes, rows, and who may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
import pytest

from gossamer.api import server as sidecars_api
from gossamer.api.watches import Watches
from gossamer.identity.authority import Leaf
from gossamer.identity.certify import Busy
from gossamer.identity.request import InvalidRequest
from gossamer.kit.grpc.server import Server
from gossamer.model.change import Put, Replace
from gossamer.model.edge import Report, Reporter
from gossamer.model.mesh import Mesh
from gossamer.pb.linkerd import destination_pb2, identity_pb2, inbound_pb2, net_pb2, outbound_pb2
from gossamer.pb.v1 import names_pb2, reports_pb2
from gossamer.ports import Denied, Unavailable
from gossamer.state import State
from gossamer.testing.build import service, workload

WEB, API = workload("web-0", service="web"), workload("api-0", service="api", address="127.64.0.2")
WEB_TEXT = '{"ns":"default","pod":"web-0"}'
CODE = grpc.StatusCode
LEAF = Leaf("web", b"leaf", (b"issuer",), 7, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "k")


class Api:
    def __init__(self, channel: Any, state: State, watches: Watches) -> None:
        self.channel = channel
        self.state = state
        self.watches = watches
        self.reports: list[tuple[Reporter, Report]] = []
        self.asked: list[tuple[str | None, str]] = []
        self.refusal: Exception | None = None

    async def certify(self, name: str, token: bytes, csr: bytes, peer: str | None, serial: str) -> Leaf:
        self.asked.append((peer, serial))
        if self.refusal is not None:
            raise self.refusal
        return LEAF

    def stream(self, path: str, request: Any, answer: Any, peer: str | None = WEB.identity) -> Any:
        call = self.channel.unary_stream(f"/{path}", request_serializer=_bytes, response_deserializer=answer.FromString)
        return call(request, metadata=_metadata(peer), timeout=5)

    async def unary(self, path: str, request: Any, answer: Any, peer: str | None = WEB.identity) -> Any:
        call = self.channel.unary_unary(f"/{path}", request_serializer=_bytes, response_deserializer=answer.FromString)
        return await call(request, metadata=_metadata(peer), timeout=5)

    def port(self, port: int, text: str = WEB_TEXT, peer: str | None = WEB.identity) -> Any:
        spec = inbound_pb2.PortSpec(workload=text, port=port)
        return self.stream("io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort", spec, inbound_pb2.Server, peer)

    def get(self, path: str, token: str = WEB_TEXT) -> Any:
        asked = destination_pb2.GetDestination(path=path, context_token=token)
        return self.stream("io.linkerd.proxy.destination.Destination/Get", asked, destination_pb2.Update)

    async def policy(self, target: Any) -> outbound_pb2.OutboundPolicy:
        spec = outbound_pb2.TrafficSpec(source_workload=WEB_TEXT, **target)
        path = "io.linkerd.proxy.outbound.OutboundPolicies/Get"
        found: outbound_pb2.OutboundPolicy = await self.unary(path, spec, outbound_pb2.OutboundPolicy)
        return found


def served(test: Callable[[Api], Awaitable[None]], folder: Path, *, synced: bool = True) -> None:
    async def run() -> None:
        state = State(("run",), Mesh(), asyncio.get_running_loop().call_soon)
        watches = Watches(state)
        socket = folder / "s"
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            api = Api(channel, state, watches)
            methods = sidecars_api.methods(state, watches, api.certify, lambda *heard: api.reports.append(heard))
            server = Server(methods, peer_header="l5d-client-id")
            await server.serve_unix(socket)
            if synced:
                state.apply("run", Replace((WEB, API, service("api"))))
            try:
                await test(api)
            finally:
                server.close()
                watches.close()

    asyncio.run(run())


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    try:
        await (call.read() if hasattr(call, "read") else call)
        return (await call.code(), "") if hasattr(call, "code") else (CODE.OK, "")
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""


def test_codes_of_what_cannot_be_answered(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        expected = [
            (api.port(0), CODE.INVALID_ARGUMENT, "Invalid port: 0"),
            (api.port(80, "nonsense"), CODE.INVALID_ARGUMENT, "Invalid workload: nonsense"),
            (api.port(80, "default:gone"), CODE.NOT_FOUND, "unknown server"),
            (api.port(80, peer=None), CODE.PERMISSION_DENIED, "a client certificate of the mesh is needed"),
            (api.port(80, peer=API.identity), CODE.PERMISSION_DENIED, f"{API.identity} may not ask for default/web-0"),
            (api.get("198.19.0.1:80"), CODE.INVALID_ARGUMENT, "IP queries not supported by Get API: host=198.19.0.1"),
            (api.get("gone.default.svc.cluster.local:80"), CODE.NOT_FOUND, "Service gone.default not found"),
            (api.get("example.com:80"), CODE.INVALID_ARGUMENT, "Invalid authority: example.com:80"),
            (api.get("api.default.svc.cluster.local:80", "x"), CODE.INVALID_ARGUMENT, "Invalid context token: x"),
            (api.policy({}), CODE.INVALID_ARGUMENT, "target is required"),
            (api.policy({"authority": "gone.default.svc.cluster.local:80"}), CODE.NOT_FOUND, "No such service"),
            (api.stream("x.Nothing/Watch", names_pb2.NamesRequest(), names_pb2.NamesTable), CODE.UNIMPLEMENTED, None),
        ]
        for call, code, said in expected:
            found = await code_of(call)
            assert (found[0], said if said is None else found[1]) == (code, said)
        assert len(api.watches) == 0, "no row is left of a stream that ended at once"

    served(test, tmp_path)


def test_a_row_lives_as_long_as_its_streams(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        calls = [api.port(80), api.port(80), api.get("api.default.svc.cluster.local:80")]
        for call in calls:
            await call.read()
        assert len(api.watches) == 2
        for call in calls:
            call.cancel()
        async with asyncio.timeout(5):
            while len(api.watches):  # noqa: ASYNC110 - a cancel tells nobody here
                await asyncio.sleep(0.01)

    served(test, tmp_path)


def test_before_everything_is_read_streams_wait_and_calls_are_unavailable(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        api.state.apply("run", Put(WEB))
        waiting = api.port(80)
        assert (await code_of(api.policy({"authority": "api.default.svc.cluster.local:80"})))[0] is CODE.UNAVAILABLE
        api.state.apply("run", Replace((WEB, API, service("api"))))
        assert (await waiting.read()).labels["name"] == "all-authenticated"

    served(test, tmp_path, synced=False)


def test_an_address_and_a_name_lead_to_one_policy(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        address = net_pb2.TcpAddress(ip=net_pb2.IPAddress(ipv4=int(IPv4Address("198.19.0.1"))), port=80)
        by_address = await api.policy({"addr": address})
        by_name = await api.policy({"authority": "api.default.svc.cluster.local"})
        assert by_address == by_name
        assert by_address.metadata.resource.name == "api"

    served(test, tmp_path)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (InvalidRequest("no"), CODE.INVALID_ARGUMENT),
        (Denied("no"), CODE.FAILED_PRECONDITION),
        (Busy("no"), CODE.RESOURCE_EXHAUSTED),
        (Unavailable("no"), CODE.UNAVAILABLE),
    ],
)
def test_each_refusal_of_a_certificate_has_its_code(tmp_path: Path, refusal: Exception, code: grpc.StatusCode) -> None:
    async def test(api: Api) -> None:
        api.refusal = refusal
        call = api.unary("io.linkerd.proxy.identity.Identity/Certify", identity_pb2.CertifyRequest(), _Certified, None)
        assert await code_of(call) == (code, "no")

    served(test, tmp_path)


def test_a_certificate_is_der(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        request = identity_pb2.CertifyRequest(identity="web")
        found = await api.unary("io.linkerd.proxy.identity.Identity/Certify", request, _Certified, None)
        assert (found.leaf_certificate, found.intermediate_certificates) == (b"leaf", [b"issuer"])
        assert found.valid_until.seconds == int(LEAF.not_after.timestamp())

    served(test, tmp_path)


@pytest.mark.parametrize(
    ("said", "peer", "taken"),
    [
        ("00AbCd", WEB.identity, "abcd"),
        ("", WEB.identity, ""),
        ("12g4", WEB.identity, ""),
        ("1" * 41, WEB.identity, ""),
        ("abcd", None, ""),
    ],
)
def test_a_serial_counts_beside_a_verified_name_only(tmp_path: Path, said: str, peer: str | None, taken: str) -> None:
    async def test(api: Api) -> None:
        path = "/io.linkerd.proxy.identity.Identity/Certify"
        call = api.channel.unary_unary(path, request_serializer=_bytes, response_deserializer=_Certified.FromString)
        metadata = (*(_metadata(peer) or ()), ("gossamer-client-serial", said))
        await call(identity_pb2.CertifyRequest(identity="web"), metadata=metadata, timeout=5)
        assert api.asked == [(peer, taken)]

    served(test, tmp_path)


def test_a_report_is_taken_from_its_own_sidecar_only(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        path, report = "gossamer.v1.Reports/Report", reports_pb2.ReportRequest(workload=WEB_TEXT, instance=3)
        await api.unary(path, report, reports_pb2.ReportResponse)
        refused = await code_of(api.unary(path, report, reports_pb2.ReportResponse, API.identity))
        assert refused[0] is CODE.PERMISSION_DENIED
        assert [(who.subject, what.instance) for who, what in api.reports] == [("default/web", 3)]

    served(test, tmp_path)


_Certified = identity_pb2.CertifyResponse


def _bytes(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def _metadata(peer: str | None) -> tuple[tuple[str, str], ...]:
    return () if peer is None else (("l5d-client-id", peer),)

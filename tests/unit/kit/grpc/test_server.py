"""The server over real Unix sockets, spoken to by grpcio (an independent client) and by our own client."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from gossamer.kit.grpc.client import Client
from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.frames import PING, RST_STREAM, SETTINGS, frame
from gossamer.kit.grpc.limits import Limits
from gossamer.kit.grpc.message import prefixed
from gossamer.kit.grpc.server import Closer, Code, Context, Credentials, Server, Status, Stream, Streaming, Unary
from tests.unit.kit.grpc.conversation import GREETING, REQUEST, data, frames, goaway, request, resets


class Served:
    """A server on a loop of its own thread; `call` runs something there."""

    def __init__(self, path: Path, make: Callable[[], Server]) -> None:
        self.path = path
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

        async def start() -> Server:
            server = make()
            await server.serve_unix(path)
            return server

        self.server: Server = self.wait(start())

    def wait(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def call(self, act: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return act()

        return self.wait(run())

    def close(self) -> None:
        self.call(self.server.close)
        self.call(lambda: None)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Service:
    """A handler of each kind, and what they saw."""

    def __init__(self) -> None:
        self.streams: list[Stream[bytes]] = []
        self.contexts: list[Context] = []
        self.closed = 0
        self.encoded: list[tuple[bytes | None, bytes]] = []

    def methods(self) -> dict[str, Any]:
        return {
            "/t.T/Echo": Unary(self.echo),
            "/t.T/Slow": Unary(self.slow),
            "/t.T/Fail": Unary(self.fail),
            "/t.T/Bug": Unary(self.bug),
            "/t.T/Watch": Streaming(self.watch, self.encode),
            "/t.T/Refuse": Streaming(self.refuse, self.encode),
        }

    def echo(self, message: bytes, context: Context) -> bytes:
        self.contexts.append(context)
        return message

    async def slow(self, message: bytes, context: Context) -> bytes:
        try:
            await asyncio.sleep(float(message or b"5"))
        except asyncio.CancelledError:
            self.closed += 1
            raise
        return b"done"

    def fail(self, message: bytes, context: Context) -> bytes:
        raise Status(Code.NOT_FOUND, "kein Wörk\nload 100%")

    def bug(self, message: bytes, context: Context) -> bytes:
        raise ZeroDivisionError("secret")

    def watch(self, message: bytes, context: Context, stream: Stream[bytes]) -> Closer:
        self.streams.append(stream)
        stream.publish(b"first " + message)
        return self.close

    def refuse(self, message: bytes, context: Context, stream: Stream[bytes]) -> Closer:
        raise Status(Code.INVALID_ARGUMENT, "no")

    def close(self) -> None:
        self.closed += 1

    def encode(self, sent: bytes | None, new: bytes) -> list[bytes]:
        self.encoded.append((sent, new))
        return [new] if sent != new else []


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def served(tmp_path: Path, service: Service) -> Iterator[Served]:
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), peer_header="l5d-client-id"))
    yield served
    served.close()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{served.path}") as channel:
        yield channel


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(str(served.path)) as client:
        yield client


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 3_000_000])
def test_a_message_of_any_size_comes_back(channel: grpc.Channel, client: Client, size: int) -> None:
    message = os.urandom(size)
    assert channel.unary_unary("/t.T/Echo")(message) == message
    assert client.unary("/t.T/Echo", message) == message


def test_many_calls_at_once_do_not_mix(channel: grpc.Channel) -> None:
    futures = {n: channel.unary_unary("/t.T/Echo").future(b"%d" % n * 1000) for n in range(500)}
    assert all(future.result(10) == b"%d" % n * 1000 for n, future in futures.items())


def test_a_status_arrives_with_its_message(channel: grpc.Channel, client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Fail")(b"")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert error.value.details() == "kein Wörk\nload 100%"
    with pytest.raises(Status) as ours:
        client.unary("/t.T/Fail", b"")
    assert (ours.value.code, ours.value.message) == (Code.NOT_FOUND, "kein Wörk\nload 100%")


def test_a_bug_in_a_handler_tells_the_caller_nothing(channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Bug")(b"")
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.value.details() or "")
    assert "a handler failed" in caplog.text


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Nothing")(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_compressed_request_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Echo")(b"x" * 1000, compression=grpc.Compression.Gzip)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_too_large_is_refused_at_its_prefix(served: Served) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{served.path}", options) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Echo")(b"x" * (4 * 1024 * 1024 + 1))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_deadline_ends_a_slow_call_and_its_task(channel: grpc.Channel, service: Service) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Slow")(b"5", timeout=0.1)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: service.closed == 1)


def test_a_cancelled_call_cancels_its_task(channel: grpc.Channel, service: Service, served: Served) -> None:
    future = channel.unary_unary("/t.T/Slow").future(b"5")
    until(lambda: bool(served.call(lambda: served.server.calls)))
    future.cancel()
    until(lambda: service.closed == 1)


def test_a_stream_gets_every_state_it_has_time_for(served: Served, channel: grpc.Channel, service: Service) -> None:
    answers = channel.unary_stream("/t.T/Watch")(b"q")
    assert next(answers) == b"first q"
    for n in range(5):
        served.call(lambda n=n: service.streams[0].publish(b"state %d" % n))
        assert next(answers) == b"state %d" % n
    served.call(lambda: service.streams[0].finish(Status(Code.ABORTED, "moved")))
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    assert error.value.code() is grpc.StatusCode.ABORTED
    assert service.closed == 1


def test_states_of_one_turn_become_the_newest_one(served: Served, client: Client, service: Service) -> None:
    answers = client.stream("/t.T/Watch", b"q")
    assert next(answers) == b"first q"
    stream = service.streams[0]
    served.call(lambda: [stream.publish(b"state %d" % n) for n in range(100)])
    assert next(answers) == b"state 99"
    assert service.encoded == [(None, b"first q"), (b"first q", b"state 99")]


def test_equal_states_send_nothing(served: Served, client: Client, service: Service) -> None:
    answers = client.stream("/t.T/Watch", b"q")
    next(answers)
    served.call(lambda: service.streams[0].publish(bytes(bytearray(b"first q"))))
    served.call(lambda: service.streams[0].publish(b"another"))
    assert next(answers) == b"another"


def test_a_stream_that_its_reader_leaves_is_closed_once(client: Client, service: Service) -> None:
    answers = client.stream("/t.T/Watch", b"q")
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    until(lambda: service.closed == 1)
    assert service.streams[0].closed
    service.streams[0].publish(b"nobody hears this")
    assert client.unary("/t.T/Echo", b"still alive") == b"still alive"


def test_a_refused_stream_has_no_messages(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        list(channel.unary_stream("/t.T/Refuse")(b""))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_lost_connection_closes_every_stream(served: Served, service: Service) -> None:
    with grpc.insecure_channel(f"unix:{served.path}") as channel:
        for _ in range(10):
            next(channel.unary_stream("/t.T/Watch")(b"q"))
    until(lambda: service.closed == 10)
    assert served.call(lambda: served.server.calls) == 0


def test_who_calls_is_taken_from_the_trusted_field_once_only(
    served: Served, channel: grpc.Channel, service: Service
) -> None:
    call = channel.unary_unary("/t.T/Echo")
    call(b"", metadata=[("l5d-client-id", "web.default"), ("other", "x")])
    assert service.contexts[0].peer == "web.default"
    assert service.contexts[0].metadata["other"] == "x"
    assert service.contexts[0].credentials == Credentials(os.getpid(), os.getuid(), os.getgid(), "own")
    call(b"")
    assert service.contexts[1].peer is None
    with pytest.raises(grpc.RpcError) as error:
        call(b"", metadata=[("l5d-client-id", "a"), ("l5d-client-id", "b")])
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_without_a_trusted_field_nobody_can_claim_a_name(tmp_path: Path, service: Service) -> None:
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods()))
    try:
        with grpc.insecure_channel(f"unix:{served.path}") as channel:
            channel.unary_unary("/t.T/Echo")(b"", metadata=[("l5d-client-id", "admin")])
        assert service.contexts[0].peer is None
    finally:
        served.close()


def test_a_process_that_is_not_admitted_is_not_served(tmp_path: Path, service: Service) -> None:
    seen: list[Credentials] = []

    def admit(peer: Credentials) -> str:
        seen.append(peer)
        return "nobody may"

    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), admit=admit))
    try:
        with pytest.raises(Status) as error, Client(str(served.path)) as client:
            client.unary("/t.T/Echo", b"")
        assert error.value.code is Code.UNAVAILABLE
        assert seen[0].pid == os.getpid()
        assert not service.contexts
    finally:
        served.close()


def test_the_socket_file_is_the_owners_only(served: Served) -> None:
    assert served.path.stat().st_mode & 0o777 == 0o600


def test_draining_ends_calls_that_end_and_then_the_rest(
    served: Served, channel: grpc.Channel, service: Service
) -> None:
    slow = channel.unary_unary("/t.T/Slow").future(b"0.3")
    watch = channel.unary_stream("/t.T/Watch")(b"q")
    next(watch)
    began = time.monotonic()
    served.wait(served.server.drain(0.8))
    assert time.monotonic() - began > 0.7
    assert slow.result() == b"done"
    with pytest.raises(grpc.RpcError):
        next(watch)
    assert service.closed == 1


def test_written_returns_when_a_client_has_what_was_published(served: Served, client: Client, service: Service) -> None:
    answers = client.stream("/t.T/Watch", b"q")
    next(answers)

    async def publish() -> None:
        service.streams[0].publish(b"newest")
        await served.server.written()

    served.wait(publish())
    client._socket.setblocking(False)
    assert b"newest" in client._socket.recv(1000, socket.MSG_PEEK)


# Raw bytes, for what no library sends.


class Raw:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(str(path))

    def send(self, sent: bytes) -> None:
        self.socket.sendall(sent)

    def read(self, condition: Callable[[bytes], bool]) -> bytes:
        """Whole frames until the condition holds, or the end."""
        found = b""
        while True:
            try:
                chunk = self.socket.recv(65536)
            except ConnectionResetError:
                return found
            found += chunk
            if not chunk or condition(found):
                return found

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def raw(served: Served) -> Iterator[Raw]:
    raw = Raw(served.path)
    yield raw
    raw.close()


def call(stream: int, path: bytes, body: bytes) -> bytes:
    fields = [(name, path if name == b":path" else value) for name, value in REQUEST]
    return request(stream, end=False, fields=fields) + data(stream, prefixed(body))


def test_a_slow_reader_costs_one_message_and_gets_the_newest(served: Served, raw: Raw, service: Service) -> None:
    small = frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x64")
    raw.send(GREETING + small + call(1, b"/t.T/Watch", b"x" * 89))
    raw.read(lambda found: found.endswith(b"x" * 89))
    for n in range(1000):
        served.call(lambda n=n: service.streams[0].publish(b"%d" % n * 1000))
    assert len(service.encoded) == 1
    raw.send(frame(8, 0, 1, b"\0\0\x80\0"))
    body = b"".join(payload for kind, _, _, payload in frames(raw.read(lambda f: b"999" * 1000 in f)) if kind == 0)
    assert body == prefixed(b"999" * 1000)
    assert [new[:3] for _, new in service.encoded[1:]] == [b"999"]


def test_one_stuck_stream_does_not_hold_up_the_others(served: Served, raw: Raw, service: Service) -> None:
    raw.send(GREETING + frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0") + call(1, b"/t.T/Watch", b"stuck"))
    raw.send(call(3, b"/t.T/Watch", b"free") + frame(8, 0, 3, b"\0\0\x80\0"))
    assert b"first free" in raw.read(lambda found: b"first free" in found)
    assert served.call(lambda: served.server.calls) == 2


def test_a_connection_that_reads_nothing_is_closed(tmp_path: Path, service: Service) -> None:
    limits = Limits(stalled=0.2)
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), limits))
    try:
        raw = Raw(served.path)
        raw.send(GREETING + frame(8, 0, 0, b"\x7f\0\0\0"))
        for number in range(1, 2000, 2):
            raw.send(call(number, b"/t.T/Watch", b"q") + frame(8, 0, number, b"\x3f\0\0\0"))
        until(lambda: len(service.streams) == 1000)
        served.call(lambda: [stream.publish(b"x" * 100_000) for stream in service.streams])
        until(lambda: served.call(lambda: any(link._paused for link in served.server.links)))
        time.sleep(0.3)
        served.call(served.server._sweep)
        until(lambda: service.closed == 1000)
        raw.close()
    finally:
        served.close()


def test_a_silent_peer_is_pinged_and_then_closed(tmp_path: Path, service: Service) -> None:
    limits = Limits(idle=0.1, idle_answer=0.1)
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), limits))
    try:
        raw = Raw(served.path)
        raw.send(GREETING)
        time.sleep(0.2)
        served.call(served.server._sweep)
        found = raw.read(lambda found: any(kind == PING for kind, _, _, _ in frames(found)))
        assert any(kind == PING for kind, _, _, _ in frames(found))
        time.sleep(0.2)
        served.call(served.server._sweep)
        assert raw.read(lambda _: False) == b""
        raw.close()
    finally:
        served.close()


def test_a_request_that_never_ends_is_ended(tmp_path: Path, service: Service) -> None:
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), Limits(incomplete=0.1)))
    try:
        raw = Raw(served.path)
        raw.send(GREETING + request(1, end=False, fields=[(b":method", b"GET"), *REQUEST[1:]]) + request(3, end=False))
        raw.send(frame(PING, 0, 0, b"12345678"))
        raw.read(lambda found: b"12345678" in found)
        time.sleep(0.2)
        served.call(served.server._sweep)
        found = raw.read(lambda found: len(resets(found)) == 2)
        assert set(resets(found)) == {1, 3}
        assert encode([(b"grpc-status", b"4")]) in found
        raw.close()
    finally:
        served.close()


def test_a_flood_closes_the_connection_after_saying_why(raw: Raw, client: Client) -> None:
    raw.send(GREETING + frame(PING, 0, 0, b"12345678") * 10_000)
    found = raw.read(lambda _: False)
    assert goaway(found) == 11
    assert client.unary("/t.T/Echo", b"others live") == b"others live"


def test_what_is_not_grpc_gets_an_http_answer(raw: Raw) -> None:
    raw.send(GREETING + request(1, fields=[(b":method", b"GET"), *REQUEST[1:]]))
    assert b"This is a gRPC server." in raw.read(lambda found: b"server." in found)


def test_unfinished_requests_share_a_bound(tmp_path: Path, service: Service) -> None:
    served = Served(tmp_path / "s.sock", lambda: Server(service.methods(), Limits(buffered=1000)))
    try:
        raw = Raw(served.path)
        part = b"\0\0\0\x10\0" + b"x" * 400
        raw.send(GREETING + b"".join(request(n, end=False) + data(n, part, end=False) for n in (1, 3, 5)))
        found = raw.read(lambda found: bool(resets(found)))
        assert set(resets(found)) == {5}
        raw.send(frame(RST_STREAM, 0, 1, b"\0\0\0\x08") + request(7, end=False) + data(7, prefixed(b"x" * 400)))
        assert prefixed(b"x" * 400) in raw.read(lambda found: prefixed(b"x" * 400) in found)
        raw.close()
    finally:
        served.close()


def test_a_path_too_long_for_a_socket_is_refused_in_one_line(tmp_path: Path) -> None:
    async def serve() -> None:
        await Server({}).serve_unix(tmp_path / ("x" * 120))

    with pytest.raises(OSError, match="choose a shorter directory"):
        asyncio.run(serve())


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Status) as error:
        Client(str(tmp_path / "nobody.sock"))
    assert error.value.code is Code.UNAVAILABLE


def test_our_client_gives_up_at_its_deadline(client: Client) -> None:
    with pytest.raises(Status) as error:
        client.unary("/t.T/Slow", b"5", timeout=0.1)
    assert error.value.code is Code.DEADLINE_EXCEEDED


def test_our_client_says_when_the_server_goes_away(served: Served, client: Client) -> None:
    answers = client.stream("/t.T/Watch", b"q")
    next(answers)
    served.call(served.server.close)
    with pytest.raises(Status) as error:
        next(answers)
    assert error.value.code is Code.UNAVAILABLE


def test_the_client_is_cheap_to_import() -> None:
    import subprocess
    import sys

    code = "import sys, gossamer.kit.grpc.client; print(' '.join(sys.modules))"
    source = str(Path(__file__).parents[4] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert not {"asyncio", "hpack", "logging", "dataclasses", "ssl"} & set(done.stdout.split())

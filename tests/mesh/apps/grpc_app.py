"""grpc_app.py serve PORT | grpc_app.py ask TARGET: four call kinds on grpcio, with plain bytes as messages."""

from __future__ import annotations

import json
import sys
import time
from concurrent import futures
from typing import Any

import grpc

SERVICE = "test.Echo"


def unary(request: bytes, context: Any) -> bytes:
    if request == b"fail":
        context.set_trailing_metadata((("x-why", "asked"), ("x-bytes-bin", b"\x00\x01\xff")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: ü%")
    if request == b"slow":
        time.sleep(3)
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"),))
    return request[::-1]


def server_stream(request: bytes, context: Any) -> Any:
    for number in range(int(request)):
        if not context.is_active():
            return
        yield b"%d" % number


def client_stream(requests: Any, context: Any) -> bytes:
    return b"%d" % sum(len(each) for each in requests)


def both(requests: Any, context: Any) -> Any:
    for each in requests:
        yield each.upper()


def serve(port: str) -> None:
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Server": grpc.unary_stream_rpc_method_handler(server_stream),
        "Client": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if server.add_insecure_port(f"0.0.0.0:{port}") == 0:
        raise SystemExit(f"port {port} is taken")
    server.start()
    server.wait_for_termination()


def outcome(call: Any) -> list[Any]:
    """Status, message and trailers of a failed call, as plain values."""
    try:
        return ["OK", call().decode()]
    except grpc.RpcError as error:
        known = {key: str(value) for key, value in (error.trailing_metadata() or ()) if key.startswith("x-")}
        return [error.code().name, error.details() if error.code().name == "FAILED_PRECONDITION" else "", known]


def ask(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Unary")
        answers: dict[str, Any] = {"unary": outcome(lambda: call(b"hello", timeout=10))}
        reply, info = call.with_call(b"meta", timeout=10)
        answers["metadata"] = [
            reply.decode(),
            dict(info.initial_metadata()).get("x-first"),
            dict(info.trailing_metadata()).get("x-last"),
        ]
        answers["failure"] = outcome(lambda: call(b"fail", timeout=10))
        answers["deadline"] = outcome(lambda: call(b"slow", timeout=0.3))
        answers["unknown method"] = outcome(lambda: channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=10))
        answers["large"] = len(call(b"x" * 3_000_000, timeout=20))
        stream = channel.unary_stream(f"/{SERVICE}/Server")
        answers["server stream"] = b",".join(stream(b"100", timeout=10)).decode()
        answers["client stream"] = channel.stream_unary(f"/{SERVICE}/Client")(
            iter([b"abc"] * 1000), timeout=10
        ).decode()
        answers["both"] = b",".join(
            channel.stream_stream(f"/{SERVICE}/Both")(iter([b"a", b"b", b"c"]), timeout=10)
        ).decode()
        cancelled = stream(b"1000000", timeout=10)
        next(cancelled)
        answers["cancel"] = bool(cancelled.cancel())
        pending = [call.future(b"%d" % number, timeout=30) for number in range(1000)]
        answers["1000 at once"] = sum(len(each.result()) for each in pending)
    print(json.dumps(answers, indent=1, sort_keys=True))


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2])

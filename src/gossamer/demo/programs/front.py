"""An HTTP/1.1 front: each request asks a gRPC service for a price and counts a visit in a cache. It knows no mesh.

Usage: front.py PORT CATALOG CACHE        the last two are HOST:PORT
"""

import json
import queue
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

# A connection to the cache is used this often, then replaced by a new one.
USES = 10
CACHE = sys.argv[3].rsplit(":", 1)
idle: queue.LifoQueue[tuple[socket.socket, int]] = queue.LifoQueue()

price = grpc.insecure_channel(sys.argv[2]).unary_unary(
    "/demo.Catalog/Get", request_serializer=StringValue.SerializeToString, response_deserializer=Int64Value.FromString
)


def visit(key: str) -> int:
    """INCR in the cache, over RESP2."""
    try:
        connection, left = idle.get_nowait()
    except queue.Empty:
        connection, left = socket.create_connection((CACHE[0], int(CACHE[1])), 5), USES
    connection.sendall(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(key), key.encode()))
    reply = b""
    while not reply.endswith(b"\r\n"):
        chunk = connection.recv(1024)
        if not chunk:
            raise OSError("the cache hung up")
        reply += chunk
    if left > 1:
        idle.put((connection, left - 1))
    else:
        connection.close()
    return int(reply[1:])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        thing = self.path.strip("/") or "tea"
        try:
            found = {"thing": thing, "price": price(StringValue(value=thing), timeout=5).value, "visits": visit(thing)}
            status, body = 200, json.dumps(found).encode()
        except (grpc.RpcError, OSError, ValueError) as error:
            print(f"front: {error}", file=sys.stderr, flush=True)
            status, body = 500, b"{}"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()

"""A gRPC service: demo.Catalog/Get tells the price of a thing. It knows nothing of any mesh.

Usage: catalog.py PORT [MILLISECONDS]      the second makes it that much slower
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

DELAY = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0


def get(request: StringValue, context: grpc.ServicerContext) -> Int64Value:
    time.sleep(DELAY)
    return Int64Value(value=sum(request.value.encode()) % 100 + 1)


method = grpc.unary_unary_rpc_method_handler(
    get, request_deserializer=StringValue.FromString, response_serializer=Int64Value.SerializeToString
)
server = grpc.server(ThreadPoolExecutor(16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("demo.Catalog", {"Get": method})])
server.add_insecure_port(f"0.0.0.0:{sys.argv[1]}")
server.start()
server.wait_for_termination()

"""gRPC by grpcio and by grpc-go: four call kinds, deadlines, cancellation, a thousand streams at once."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.mesh.harness import Mesh, direct, free_port, run_direct, same

APP = str(Path(__file__).parent / "apps" / "grpc_app.py")
# grpcio writes fork warnings to stderr only; the outcome is on stdout.
PLAIN = {"GRPC_VERBOSITY": "NONE"}


def test_grpcio_sees_the_same_through_the_mesh(mesh: Mesh) -> None:
    port = free_port()
    mesh.serve("echo", sys.executable, APP, "serve", "9000", environment=PLAIN)

    with direct([sys.executable, APP, "serve", str(port)], port, PLAIN):
        without = run_direct([sys.executable, APP, "ask", f"127.0.0.1:{port}"], PLAIN)
    through = mesh.ask("client", sys.executable, APP, "ask", "echo:9000", environment=PLAIN)

    same(without, through)


def test_two_replicas_share_the_requests(mesh: Mesh) -> None:
    script = (
        "import grpc,os;"
        "from concurrent import futures;"
        "h=grpc.method_handlers_generic_handler('test.Who',{'Am':grpc.unary_unary_rpc_method_handler(lambda r,c:os.environ['ME'].encode())});"
        "s=grpc.server(futures.ThreadPoolExecutor(8));s.add_generic_rpc_handlers((h,));s.add_insecure_port('0.0.0.0:9001');s.start();s.wait_for_termination()"
    )
    mesh.run("who", sys.executable, "-c", script, environment={"ME": "one", **PLAIN})
    mesh.serve("who", sys.executable, "-c", script, environment={"ME": "two", **PLAIN}, count=2)
    client = (
        "import grpc,collections;c=grpc.insecure_channel('who:9001');f=c.unary_unary('/test.Who/Am');"
        "print(sorted(collections.Counter(f(b'',timeout=10).decode() for _ in range(200)).items()))"
    )

    answer = mesh.ask("client", sys.executable, "-c", client, environment=PLAIN)

    counts = dict(eval(answer.stdout.decode()))
    assert set(counts) == {"one", "two"}, answer.stderr.decode()
    assert min(counts.values()) > 20

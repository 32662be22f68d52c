"""One user's meshes: `python -m tests.mesh.apps.meshes COUNT`, a line of JSON per answer, a line on stdin per question.

Starts COUNT meshes, each with a server and a caller that never stops calling, and prints where they are. Each line
read is answered by how many calls each caller made since the last, and how many failed. Ends at the end of its input.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.mesh import harness
from tests.mesh.harness import Mesh, Workload, eventually

# `web` is this mesh's own: what it answers tells whose it is.
SERVER = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", str(len(sys.argv[1]))); self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), H).serve_forever()
"""
CALLER = """
import sys, time, urllib.request
while True:
    try: said = urllib.request.urlopen("http://web:8080/", timeout=10).read().decode()
    except OSError as error: said = str(error)
    print("good" if said == sys.argv[1] else said, flush=True)
    time.sleep(0.1)
"""


def start(stack: ExitStack, number: int) -> tuple[Mesh, Workload]:
    """All meshes of all users have the same name, as `default` would be."""
    made = stack.enter_context(harness.mesh("same"))
    token = f"{os.getuid()}-{number}"
    made.serve("web", sys.executable, "-c", SERVER, token)
    caller = made.run("me", sys.executable, "-c", CALLER, token)
    eventually("the first answer", lambda: made.alive(caller) and "good" in caller.text(), 60)
    return made, caller


def addresses(made: Mesh) -> list[str]:
    return sorted(item["spec"]["address"] for item in made.json("get", "workloads")["items"])


def main(count: int) -> None:
    with ExitStack() as stack:
        with ThreadPoolExecutor(count) as pool:
            meshes = list(pool.map(lambda number: start(stack, number), range(count)))
        print(json.dumps({"addresses": [addresses(made) for made, _ in meshes]}), flush=True)
        told = [0] * count
        for _ in sys.stdin:
            lines = [caller.text().split("\n")[:-1] for _, caller in meshes]
            new = [said[before:] for said, before in zip(lines, told, strict=True)]
            told = [len(said) for said in lines]
            bad = [line for said in new for line in said if line != "good"]
            print(json.dumps({"calls": [len(said) for said in new], "bad": bad}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

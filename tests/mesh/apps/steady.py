"""steady.py serve PORT STATUS | ask HOST PORT COUNT: a server that prints each request's body and always says the same;
a client that posts COUNT bodies on one connection and prints a JSON object: how often it heard which status."""

import http.client
import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(port: int, status: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            print(body.decode(), flush=True)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()


def ask(host: str, port: int, count: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=20)
    heard: Counter[str] = Counter()
    for number in range(count):
        connection.request("POST", "/", f"request {number}")
        response = connection.getresponse()
        response.read()
        heard[str(response.status)] += 1
    print(json.dumps(heard))


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]), int(sys.argv[3]))
else:
    ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

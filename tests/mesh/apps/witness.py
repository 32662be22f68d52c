"""witness.py PORT…: a careless HTTP/1 server that prints every byte it was given, one JSON line per connection read.

It answers anything that looks like the end of a head with 200, so that what a sidecar lets through shows.
"""

import json
import socketserver
import sys
import threading


class Witness(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        waiting = b""
        while True:
            try:
                data = self.request.recv(65536)
            except OSError:
                return
            if not data:
                return
            print(json.dumps(data.decode("latin-1")), flush=True)
            waiting += data
            answers = waiting.count(b"\r\n\r\n")
            waiting = waiting[waiting.rfind(b"\r\n\r\n") + 4 :] if answers else waiting[-3:]
            try:
                self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes" * answers)
            except OSError:
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


servers = [Server(("0.0.0.0", int(port)), Witness) for port in sys.argv[1:]]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()

"""A load generator: GET requests over keep-alive connections at a steady rate. It knows nothing of any mesh.

Usage: load.py HOST:PORT RATE CONNECTIONS

Begins when it reads a line. Prints a line of JSON per second: `sent`, `failed`, `first`, the last being when the
first answer came (CLOCK_MONOTONIC, seconds).
"""

import http.client
import json
import sys
import threading
import time

host, port = sys.argv[1].rsplit(":", 1)
rate, connections = float(sys.argv[2]), int(sys.argv[3])
# The last one is looked for on the wire: no other traffic says it.
things = ("tea", "coffee", "cake", "canary-whose-song-stays-indoors")
counted = {"sent": 0, "failed": 0, "first": 0.0}
lock = threading.Lock()


def worker(number: int) -> None:
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    start, done = time.monotonic() + number / rate, 0
    while True:
        time.sleep(max(0.0, start + done * connections / rate - time.monotonic()))
        done += 1
        try:
            connection.request("GET", f"/{things[done % len(things)]}")
            response = connection.getresponse()
            response.read()
            failed = response.status != 200
        except (OSError, http.client.HTTPException) as error:
            print(f"load: {error}", file=sys.stderr, flush=True)
            connection.close()
            failed = True
        with lock:
            counted["sent"] += 1
            counted["failed"] += failed
            if not failed and not counted["first"]:
                counted["first"] = time.monotonic()
                print(json.dumps(counted), flush=True)


sys.stdin.readline()
for number in range(connections):
    threading.Thread(target=worker, args=(number,), daemon=True).start()
while True:
    time.sleep(1)
    with lock:
        print(json.dumps(counted), flush=True)

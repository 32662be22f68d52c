"""Somebody who should not be let in, and keeps trying. It knows nothing of any mesh.

Usage: intruder.py HOST:PORT

Begins when it reads a line. Prints a line for every answer: its status, or why there was none.
"""

import http.client
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
sys.stdin.readline()
while True:
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/tea")
        print(connection.getresponse().status, flush=True)
    except (OSError, http.client.HTTPException) as error:
        print(type(error).__name__, flush=True)
    connection.close()
    time.sleep(0.5)

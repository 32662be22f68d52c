"""raw.py HOST PORT SECONDS [SILENCE]: sends each message of a JSON list (latin-1 text) on a connection of its own.

Prints a JSON list of [what came back, "closed" | "reset" | "open" | the error].
"""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def one(message: str) -> list[str]:
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    got = b""
    try:
        with socket.create_connection((host, port), 5) as stream:
            time.sleep(float((sys.argv[4:] or ["0"])[0]))
            stream.settimeout(seconds)
            stream.sendall(message.encode("latin-1"))
            while data := stream.recv(65536):
                got += data
        return [got.decode("latin-1"), "closed"]
    except TimeoutError:
        return [got.decode("latin-1"), "open"]
    except (ConnectionResetError, BrokenPipeError):
        return [got.decode("latin-1"), "reset"]
    except OSError as error:
        return [got.decode("latin-1"), str(error)]


with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(one, json.load(sys.stdin)))))

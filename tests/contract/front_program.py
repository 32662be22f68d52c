"""A front sidecar's part in plaintext: takes connections, passes their bytes to the control socket.

Stands in for `gossamer-proxy` where a test is about the control plane alone: who calls is what the client says in
`l5d-client-id`, which the real front would strip.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def main() -> None:
    control = os.environ["GOSSAMER_PROXY_FRONT"].removeprefix("unix:")
    host, _, port = os.environ["LINKERD2_PROXY_INBOUND_LISTEN_ADDR"].rpartition(":")
    controller = socket.socket(fileno=int(os.environ["GOSSAMER_PROXY_LAUNCHER_FD"]))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(128)
    controller.sendall(b"token\n")
    if not controller.recv(4096).startswith(b"token "):
        sys.exit("no token")
    controller.sendall(b"ready\n")
    threading.Thread(target=_end_with, args=(controller,), daemon=True).start()
    while True:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(control)
        for pair in ((near, far), (far, near)):
            threading.Thread(target=_pass, args=pair, daemon=True).start()


def _end_with(controller: socket.socket) -> None:
    while controller.recv(4096):
        pass
    os._exit(0)


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


if __name__ == "__main__":
    main()

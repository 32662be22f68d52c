"""A link that a test may cut, hold up in one direction, or make lose one answer: a TCP relay on loopback."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.etcd import free_port


class Link:
    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._up = True
        self._requests, self._answers = threading.Event(), threading.Event()
        self._lose = threading.Event()
        self.release()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Connections are reset, and new ones refused at once."""
        self._up = False
        self._end_all()

    def mend(self) -> None:
        self._up = True
        self.release()

    def hold(self, *, requests: bool = False, answers: bool = False) -> None:
        """Bytes of that direction wait, until `release` or for ever."""
        (self._requests.clear if requests else self._requests.set)()
        (self._answers.clear if answers else self._answers.set)()

    def release(self) -> None:
        self.hold()

    def lose_next_answer(self) -> None:
        """The next bytes that come back are thrown away, and their connection is reset."""
        self._lose.set()

    def close(self) -> None:
        self.cut()
        self._requests.set()
        self._answers.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._up:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            pair = (near, far)
            with self._lock:
                self._pairs.add(pair)
            if not self._up:
                self._end(pair)
                continue
            for source, target, answers in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pass, args=(pair, source, target, answers), daemon=True).start()

    def _pass(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                (self._answers if answers else self._requests).wait()
                if answers and self._lose.is_set():
                    self._lose.clear()
                    break
                target.sendall(data)
        self._end(pair)

    def _end_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for one in pair:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

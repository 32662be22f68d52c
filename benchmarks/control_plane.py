"""The control plane's gRPC server under 14,000 watch streams on 1,000 plaintext connections.

    python -m benchmarks.control_plane [--connections 1000] [--streams 14] [--pushes 5] [--endpoints 1]

A server process serves one watch method on a Unix socket; this process opens all streams at once (each answered with
a first message of 1.5 kB, as a destination with three endpoints is), then has one state pushed to all, several times.
The client is bare sockets and counts bytes, so what is measured is the server. Prints one JSON object:

    open_s             until every stream has its first message
    open_cpu_us        the server's CPU time per stream for that
    rss_mb, kb_stream  the server's memory with all streams open, and its growth per stream
    push_ms            median time from a push until every stream has the message
    push_cpu_us        the server's CPU time per message
    idle_cpu_percent   of a core, with all streams open and nothing said

    certify_per_s      certificates signed per CPU second: signing request parsed and verified, leaf signed and checked

Measured 2026-11-23 on two shared cores at a load average of 8 (upper bounds), CPython 3.11.7, uvloop 0.23:

    --endpoints 1 (470 B)    open 1.7 s, 38.5 us/stream; 49.5 MB, 1.6 kB/stream; push 151 ms, 2.9 us/message; idle 0.1 %
    --endpoints 10 (4.7 kB)  open 1.4 s, 37.0 us/stream; 49.4 MB, 1.6 kB/stream; push 275 ms, 3.9 us/message; idle 0.1 %
    certificates             2,050 per CPU second
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.frames import PREFACE, frame
from gossamer.kit.grpc.message import prefixed
from gossamer.kit.grpc.server import Closer, Context, Server, Stream, Streaming

FIRST = b"f" * 1500
ENDPOINT = 470


def serve(path: Path) -> None:
    """The server process: says "ready", then answers commands on stdin with one JSON object each."""
    import uvloop

    streams: set[Stream[bytes]] = set()

    def watch(request: bytes, context: Context, stream: Stream[bytes]) -> Closer:
        streams.add(stream)
        stream.publish(FIRST)
        return lambda: streams.discard(stream)

    async def main() -> None:
        server = Server({"/bench.Watch/Watch": Streaming(watch, lambda sent, new: [new])})
        await server.serve_unix(path)
        say({"ready": True, **usage()})
        loop = asyncio.get_running_loop()
        while True:
            word, _, rest = (await loop.run_in_executor(None, sys.stdin.readline)).strip().partition(" ")
            if word == "push":
                state = b"p" * int(rest)
                for stream in streams:
                    stream.publish(state)
            elif word == "freeze":
                gc.collect()
                gc.freeze()
                gc.set_threshold(100_000, 50, 1000)
            elif not word:
                return
            say({"streams": len(streams), **usage()})

    uvloop.install()
    asyncio.run(main())


def usage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"cpu": used.ru_utime + used.ru_stime, "rss": pages * os.sysconf("SC_PAGESIZE") / 1e6}


def say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


def conversation(streams: int) -> bytes:
    """What one proxy says: greeting with wide windows, then its watches."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/bench.Watch/Watch"),
        (b":authority", b"control:8086"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"l5d-client-id", b"web.default.serviceaccount.identity.gossamer.cluster.local"),
        (b"user-agent", b"tonic/0.14"),
    ]
    wide = struct.pack(">HI", 4, (1 << 31) - 1)
    parts = [PREFACE, frame(4, 0, 0, wide), frame(8, 0, 0, struct.pack(">I", 1 << 30))]
    block = encode(fields)
    for number in range(1, 2 * streams, 2):
        parts += [frame(1, 4, number, block), frame(0, 1, number, prefixed(b"r" * 40))]
    return b"".join(parts)


class Counter:
    """Counts the bytes of DATA payloads of one connection."""

    __slots__ = ("_left", "_rest", "_skip", "socket", "taken")

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.taken = 0
        self._rest = b""
        self._left = 0
        self._skip = 0

    def feed(self, data: bytes) -> int:
        """The DATA bytes in what arrived."""
        before = self.taken
        data = self._rest + data if self._rest else data
        at = 0
        while at < len(data):
            if self._left or self._skip:
                part = min(len(data) - at, self._left or self._skip)
                if self._left:
                    self._left -= part
                    self.taken += part
                else:
                    self._skip -= part
                at += part
                continue
            if len(data) - at < 9:
                break
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if data[at + 3] == 0:
                self._left = size
            else:
                self._skip = size
            at += 9
        self._rest = data[at:]
        return self.taken - before


class Crowd:
    def __init__(self, path: Path, connections: int) -> None:
        self.poll = select.epoll()
        self.counters = {}
        for _ in range(connections):
            counter = Counter(path)
            self.counters[counter.socket.fileno()] = counter
            self.poll.register(counter.socket, select.EPOLLIN)

    def send(self, said: bytes) -> None:
        for counter in self.counters.values():
            counter.socket.setblocking(True)
            counter.socket.sendall(said)
            counter.socket.setblocking(False)

    def take(self, wanted: int, patience: float = 60.0) -> None:
        """Reads until this many DATA bytes have come."""
        got = 0
        deadline = time.monotonic() + patience
        while got < wanted:
            for descriptor, _ in self.poll.poll(1.0):
                counter = self.counters[descriptor]
                try:
                    data = counter.socket.recv(1 << 20)
                except BlockingIOError:
                    continue
                if not data:
                    raise SystemExit("the server closed a connection")
                got += counter.feed(data)
            if time.monotonic() > deadline:
                raise SystemExit(f"only {got} of {wanted} bytes came")


def measure(connections: int, streams: int, pushes: int, endpoints: int) -> dict[str, float]:
    total = connections * streams
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.sock"
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.control_plane", "--serve", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None

        def answer() -> dict[str, float]:
            found: dict[str, float] = json.loads(server.stdout.readline())  # type: ignore[union-attr]
            return found

        def ask(command: str) -> dict[str, float]:
            server.stdin.write(command + "\n")  # type: ignore[union-attr]
            server.stdin.flush()  # type: ignore[union-attr]
            return answer()

        try:
            answer()
            empty = ask("freeze")
            crowd = Crowd(path, connections)
            said = conversation(streams)
            began = time.monotonic()
            crowd.send(said)
            crowd.take(total * (len(FIRST) + 5))
            opened = time.monotonic() - began
            full = ask("stats")
            assert full["streams"] == total, full
            size = ENDPOINT * endpoints
            spans = []
            for _ in range(pushes):
                began = time.monotonic()
                ask(f"push {size}")
                crowd.take(total * (size + 5))
                spans.append((time.monotonic() - began) * 1000)
            after = ask("stats")
            time.sleep(5)
            idle = ask("stats")
        finally:
            server.stdin.close()
            server.wait()
            server.stdout.close()
    return {
        "connections": connections,
        "streams": total,
        "open_s": round(opened, 2),
        "open_cpu_us": round((full["cpu"] - empty["cpu"]) / total * 1e6, 1),
        "rss_mb": round(full["rss"], 1),
        "kb_stream": round((full["rss"] - empty["rss"]) * 1000 / total, 2),
        "push_bytes": size,
        "push_ms": round(statistics.median(spans), 1),
        "push_cpu_us": round((after["cpu"] - full["cpu"]) / total / pushes * 1e6, 2),
        "rss_after_mb": round(after["rss"], 1),
        "idle_cpu_percent": round((idle["cpu"] - after["cpu"]) / 5 * 100, 2),
    }


def certify_rate(count: int = 1000) -> float:
    """Certificates per CPU second of this process."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from gossamer.identity import material
    from gossamer.identity.authority import Authority
    from gossamer.identity.request import parse

    now = datetime.now(UTC)
    name = "web.default.serviceaccount.identity.gossamer.cluster.local"
    anchor = material.new_anchor("root", now, os.urandom)
    pair = material.new_issuer("issuer", anchor, now, os.urandom)
    issuer = material.issuer(pair.certificate, pair.key, material.anchors(anchor.certificate, now), now)
    authority = Authority((issuer,))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = request.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    csr = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    der = csr.public_bytes(serialization.Encoding.DER)
    began = time.process_time()
    for _ in range(count):
        authority.issue(parse(der, name), now, os.urandom)
    return count / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=14)
    parser.add_argument("--pushes", type=int, default=5)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
    else:
        found = measure(given.connections, given.streams, given.pushes, given.endpoints)
        say({**found, "certify_per_s": round(certify_rate())})


if __name__ == "__main__":
    main()

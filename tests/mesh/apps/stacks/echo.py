"""One application for every Python server: what a request was, and answers of many shapes. It knows no mesh.

Usage: echo.py SERVER PORT       SERVER is one of the names in SERVERS
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import parse_qs

# Differ between a direct request and a forwarded one, or from server to server.
UNSEEN = {"host", "connection", "transfer-encoding", "l5d-client-id", "te", "keep-alive"}
HERE = str(Path(__file__).parent)
BIG = bytes(range(256)) * 12_000

Head = list[tuple[str, str]]
Answer = tuple[int, Head, list[bytes]]


def answer(method: str, path: str, query: str, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    """The application: pure."""
    asked = {key: values[0] for key, values in parse_qs(query).items()}
    seen = sorted((name.lower(), value) for name, value in headers if name.lower() not in UNSEEN)
    match path:
        case "/status":
            code = int(asked["code"])
            return code, [("x-code", str(code))], [] if code in (204, 304) else [b"said"]
        case "/big":
            return 200, [("content-type", "application/octet-stream"), ("content-length", str(len(BIG)))], [BIG]
        case "/stream":
            return 200, [("content-type", "text/plain")], [b"part %d\n" % number for number in range(500)]
        case "/cookies":
            return 200, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-length", "2")], [b"ok"]
        case "/header":
            size = int(asked["size"])
            return 200, [("x-long", "v" * size), ("content-length", "2")], [b"ok"]
        case "/moved":
            return 302, [("location", "/echo?moved=1"), ("content-length", "0")], []
    told = {"method": method, "path": path, "query": query, "headers": seen, "length": len(body)}
    text = json.dumps({**told, "sha": hashlib.sha256(body).hexdigest()}).encode()
    return 200, [("content-type", "application/json"), ("content-length", str(len(text)))], [text]


async def asgi(scope: dict, receive: Callable, send: Callable) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    code, head, parts = answer(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in head]
    await send({"type": "http.response.start", "status": code, "headers": raw})
    for part in parts if scope["method"] != "HEAD" else []:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def wsgi(environ: dict, start_response: Callable) -> list[bytes]:
    headers = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
    body = environ["wsgi.input"].read()
    method = environ["REQUEST_METHOD"]
    code, head, parts = answer(method, environ["PATH_INFO"], environ["QUERY_STRING"], headers, body)
    start_response(f"{code} Answer", head)
    return parts if method != "HEAD" else []


def uvicorn(port: int) -> None:
    import uvicorn

    uvicorn.run(asgi, host="0.0.0.0", port=port, log_level="warning", http="h11")


def httptools(port: int) -> None:
    import uvicorn

    uvicorn.run(asgi, host="0.0.0.0", port=port, log_level="warning", http="httptools")


def hypercorn(port: int) -> None:
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"0.0.0.0:{port}"]
    asyncio.run(serve(asgi, config))


def gunicorn(port: int) -> None:
    words = ["--bind", f"0.0.0.0:{port}", "--workers", "2", "--threads", "4", "--chdir", HERE, "--log-level", "error"]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *words, "echo:wsgi"])


def waitress(port: int) -> None:
    import waitress

    waitress.serve(wsgi, host="0.0.0.0", port=port)


def granian(port: int) -> None:
    words = ["--interface", "asgi", "--host", "0.0.0.0", "--port", str(port), "--log-level", "error"]
    os.execv(sys.executable, [sys.executable, "-m", "granian", *words, "--working-dir", HERE, "echo:asgi"])


def aiohttp(port: int) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items()]
        body = await request.read()
        code, head, parts = answer(request.method, request.path, request.query_string, headers, body)
        response = web.StreamResponse(status=code)
        for name, value in head:
            response.headers.add(name, value)
        await response.prepare(request)
        for part in parts if request.method != "HEAD" else []:
            await response.write(part)
        await response.write_eof()
        return response

    application = web.Application(client_max_size=1 << 26)
    application.router.add_route("*", "/{rest:.*}", handle)
    web.run_app(application, host="0.0.0.0", port=port, print=None)


def tornado(port: int) -> None:
    import asyncio

    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):
        SUPPORTED_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")

        async def any(self) -> None:
            asked = self.request
            code, head, parts = answer(
                asked.method or "", asked.path, asked.query, list(asked.headers.get_all()), asked.body
            )
            self.set_status(code)
            self.clear_header("content-type")
            for name, value in head:
                self.add_header(name, value)
            for part in parts if asked.method != "HEAD" else []:
                self.write(part)
                await self.flush()

        get = head = post = put = delete = patch = options = any

    async def main() -> None:
        Application([(r"/.*", Handler)]).listen(port, "0.0.0.0")
        await asyncio.Event().wait()

    asyncio.run(main())


SERVERS: dict[str, Callable[[int], None]] = {
    each.__name__: each for each in (uvicorn, httptools, hypercorn, gunicorn, waitress, granian, aiohttp, tornado)
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))

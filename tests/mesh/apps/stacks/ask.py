"""Many shapes of request with one client library; a line of JSON per answer. It knows no mesh.

Usage: ask.py CLIENT BASE        CLIENT is one of the names in CLIENTS
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

BODY = b"0123456789abcdef" * 65536
# Of the hop, of the moment, or of the server's taste.
UNSEEN = {"date", "server", "connection", "keep-alive", "transfer-encoding", "etag"}

# name: (method, path, headers, body); a body of None is none, "stream" one of unknown length.
SHAPES: dict[str, tuple[str, str, dict[str, str], Any]] = {
    "get": ("GET", "/echo?x=1&y=%20", {}, None),
    "post": ("POST", "/echo", {"content-type": "text/plain"}, b"hello"),
    "empty post": ("POST", "/echo", {}, b""),
    "megabyte": ("POST", "/echo", {}, BODY),
    "upload of unknown length": ("POST", "/echo", {}, "stream"),
    "put": ("PUT", "/echo", {}, b"x" * 70_000),
    "delete": ("DELETE", "/echo", {}, None),
    "patch": ("PATCH", "/echo", {}, b"[]"),
    "options": ("OPTIONS", "/echo", {}, None),
    "head": ("HEAD", "/big", {}, None),
    "204": ("GET", "/status?code=204", {}, None),
    "304": ("GET", "/status?code=304", {"if-none-match": '"x"'}, None),
    "404": ("GET", "/status?code=404", {}, None),
    "500": ("GET", "/status?code=500", {}, None),
    "503": ("GET", "/status?code=503", {}, None),
    "moved": ("GET", "/moved", {}, None),
    "big": ("GET", "/big", {}, None),
    "stream": ("GET", "/stream", {}, None),
    "cookies": ("GET", "/cookies", {"cookie": "a=1; b=2"}, None),
    "long header of the request": ("GET", "/echo", {"x-long": "v" * 6000}, None),
    "long header of the answer": ("GET", "/header?size=6000", {}, None),
    "many headers": ("GET", "/echo", {f"x-h{number}": str(number) for number in range(60)}, None),
    "bytes above 127": ("GET", "/echo", {"x-latin": "caf\u00e9"}, None),
    "authorization": ("GET", "/echo", {"authorization": "Bearer abc"}, None),
    "last": ("GET", "/echo", {}, None),
}


def chunks() -> Iterator[bytes]:
    for number in range(200):
        yield b"chunk %d " % number * 20


async def async_chunks() -> AsyncIterator[bytes]:
    for chunk in chunks():
        yield chunk


def told(name: str, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    kept = sorted((key.lower(), value) for key, value in headers if key.lower() not in UNSEEN)
    said = body.decode() if len(body) < 5000 and body[:1] == b"{" else hashlib.sha256(body).hexdigest()
    print(json.dumps([name, status, kept, len(body), said]))


def requests(base: str) -> None:
    import requests

    with requests.Session() as session:
        for name, (method, path, headers, body) in SHAPES.items():
            sent = {key: value.encode("latin-1") for key, value in headers.items()}
            data = chunks() if body == "stream" else body
            got = session.request(method, base + path, headers=sent, data=data, allow_redirects=False, timeout=30)
            told(name, got.status_code, list(got.raw.headers.items()), got.content)


def httpx(base: str, http2: bool = False) -> None:
    import httpx

    with httpx.Client(http1=not http2, http2=http2, timeout=30) as client:
        for name, (method, path, headers, body) in SHAPES.items():
            sent = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
            content = chunks() if body == "stream" else body
            got = client.request(method, base + path, headers=sent, content=content)
            told(name, got.status_code, got.headers.multi_items(), got.content)


def httpx2(base: str) -> None:
    httpx(base, http2=True)


def aiohttp(base: str) -> None:
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            for name, (method, path, headers, body) in SHAPES.items():
                data = async_chunks() if body == "stream" else body
                sent = {
                    key: value.encode("latin-1").decode("utf-8", "surrogateescape") for key, value in headers.items()
                }
                async with session.request(method, base + path, headers=sent, data=data, allow_redirects=False) as got:
                    told(name, got.status, list(got.headers.items()), await got.read())

    asyncio.run(main())


def urllib3(base: str) -> None:
    import urllib3

    pool = urllib3.PoolManager(maxsize=4, retries=False, timeout=30)
    for name, (method, path, headers, body) in SHAPES.items():
        data = chunks() if body == "stream" else body
        got = pool.request(method, base + path, headers=headers, body=data, redirect=False)
        told(name, got.status, list(got.headers.items()), got.data)


def tornado(base: str) -> None:
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest

    async def main() -> None:
        for name, (method, path, headers, body) in SHAPES.items():
            sent = b"".join(chunks()) if body == "stream" else body
            asked = HTTPRequest(
                base + path, method, headers, body=sent, follow_redirects=False, allow_nonstandard_methods=True
            )
            got = await AsyncHTTPClient().fetch(asked, raise_error=False)
            told(name, got.code, list(got.headers.get_all()), got.body)

    asyncio.run(main())


CLIENTS: dict[str, Callable[[str], None]] = {
    each.__name__: each for each in (requests, httpx, httpx2, aiohttp, urllib3, tornado)
}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2])

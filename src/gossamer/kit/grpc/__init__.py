"""A small gRPC over HTTP/2: table-based asyncio server, tiny blocking client, one frame layer for both.

Reading order: `connection` and `outgoing` (bytes ↔ events, no I/O), `server` (what a method is), `protocol` (one of its
connections), `request`, `calls`, `client`.
Only unary calls and server streaming; no TLS (a sidecar ends it), no compression, no interceptors.
Nothing is imported here, so that a command-line client never pays for asyncio.
"""

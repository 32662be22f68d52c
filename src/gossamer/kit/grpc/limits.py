"""Every limit of a connection.

Sources: design rows A-01 to A-09 (floods), A-65 (message size); RFC 9113 §10.5.
"""

from __future__ import annotations

from typing import NamedTuple

from gossamer.kit.budget import Rate


class Limits(NamedTuple):
    """Bytes, counts and seconds. The defaults are what the documentation names."""

    # One header block, as sent and as decoded (RFC 9113 §6.5.2 counts 32 bytes a field).
    header_bytes: int = 16 * 1024
    header_fields: int = 100
    # CONTINUATION frames of one block: enough for 16 KiB in small pieces, not for a flood of empty ones.
    continuations: int = 32
    streams: int = 10_000
    message: int = 4 * 1024 * 1024
    # Request bytes held by unfinished calls of one connection.
    buffered: int = 16 * 1024 * 1024
    connections: int = 8_192

    # Streams a peer resets before anything was written to them: the work thrown away in a rapid reset.
    early_resets: Rate = Rate(200, 100)
    # Any resets: a front sidecar passes on those of every proxy behind it, so this is wide.
    resets: Rate = Rate(50_000, 10_000)
    # Streams we had to reset for what the peer did.
    own_resets: Rate = Rate(200, 20)
    pings: Rate = Rate(100, 20)
    settings: Rate = Rate(20, 1)
    empty_data: Rate = Rate(100, 10)
    # WINDOW_UPDATE, PRIORITY and unknown frames.
    other_frames: Rate = Rate(100_000, 50_000)

    # A preface, a header block or a request that has begun must end within this.
    incomplete: float = 30.0
    # A peer that takes no byte while bytes are waiting is closed after this (F-14).
    stalled: float = 30.0
    # Without a byte from the peer: a PING is sent after `idle`, the connection closed `idle_answer` later.
    idle: float = 60.0
    idle_answer: float = 20.0

"""Header blocks (RFC 7541): a lean encoder, and a decoder that needs the `hpack` library only for what is not plain.

We send literals without indexing, so encoding has no state and blocks can be made once. Whoever sends the same to us
(our own server does) is decoded here in a few lines; at the first block with an indexed insertion or a Huffman string
the connection's decoding moves to `hpack` for good. Until then no dynamic table existed, so nothing is lost; and a
command-line client does not pay for the import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpack import Decoder as HpackDecoder

Fields = list[tuple[bytes, bytes]]

# The static entries our own programs use (RFC 7541 appendix A).
_STATIC: dict[int, tuple[bytes, bytes]] = {
    2: (b":method", b"GET"),
    3: (b":method", b"POST"),
    6: (b":scheme", b"http"),
    7: (b":scheme", b"https"),
    8: (b":status", b"200"),
    13: (b":status", b"404"),
    31: (b"content-type", b""),
}


class BadBlock(Exception):
    """The block cannot be decoded: the connection's compression state is lost."""


class TooLarge(BadBlock):
    """The decoded block is larger than allowed."""


def _integer(value: int, prefix: int, flags: int) -> bytes:
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes((flags | value,))
    out = bytearray((flags | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(fields: Fields) -> bytes:
    """Literals without indexing, no Huffman."""
    out = bytearray()
    for name, value in fields:
        if name == b":status" and value == b"200":
            out.append(0x88)
            continue
        out.append(0)
        out += _integer(len(name), 7, 0)
        out += name
        out += _integer(len(value), 7, 0)
        out += value
    return bytes(out)


class Decoder:
    """Decodes one direction of one connection. `limit` is the size of a decoded block (RFC 9113 §6.5.2)."""

    __slots__ = ("_full", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._full: HpackDecoder | None = None

    def decode(self, block: bytes) -> Fields:
        """Raises `BadBlock` or `TooLarge`."""
        if self._full is None:
            fields = _plain(block, self._limit)
            if fields is not None:
                return fields
            from hpack import Decoder as HpackDecoder

            self._full = HpackDecoder(self._limit)
        return self._decode_full(self._full, block)

    def _decode_full(self, decoder: HpackDecoder, block: bytes) -> Fields:
        from hpack import HPACKError, OversizedHeaderListError

        try:
            return decoder.decode(block, raw=True)  # type: ignore[return-value]
        except OversizedHeaderListError as error:
            raise TooLarge(str(error)) from error
        except (HPACKError, IndexError, ValueError) as error:
            raise BadBlock(str(error)) from error


def _plain(block: bytes, limit: int) -> Fields | None:
    """The fields, or None when this decoder is not enough for the block."""
    fields: Fields = []
    size = 0
    at = 0
    try:
        while at < len(block):
            first = block[at]
            at += 1
            if first & 0x80:
                entry = _STATIC.get(first & 0x7F)
                if entry is None:
                    return None
                name, value = entry
            elif first == 0 or first == 0x10:
                name, at = _text(block, at)
                value, at = _text(block, at)
            else:
                return None
            size += len(name) + len(value) + 32
            if size > limit:
                raise TooLarge(f"a header list larger than {limit} bytes")
            fields.append((name, value))
    except _NotPlain:
        return None
    return fields


class _NotPlain(Exception):
    pass


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise _NotPlain
    size = block[at]
    at += 1
    if size == 127:
        shift = 0
        while True:
            if at >= len(block) or shift > 21:
                raise _NotPlain
            size += (block[at] & 127) << shift
            at += 1
            shift += 7
            if block[at - 1] < 128:
                break
    elif size > 127:
        raise _NotPlain
    if at + size > len(block):
        raise _NotPlain
    return block[at : at + size], at + size

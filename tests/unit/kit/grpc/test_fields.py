from __future__ import annotations

import contextlib

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.kit.grpc.fields import BadBlock, Decoder, TooLarge, encode

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=200).map(str.encode)
values = st.binary(max_size=400)
fields = st.lists(st.tuples(names, values), max_size=20)


@given(fields)
def test_encode_then_decode_is_identity(written: list[tuple[bytes, bytes]]) -> None:
    assert Decoder(1 << 20).decode(encode(written)) == written


@given(fields)
def test_the_library_reads_what_we_write(written: list[tuple[bytes, bytes]]) -> None:
    decoded = hpack.Decoder(max_header_list_size=1 << 20).decode(encode(written), raw=True)
    assert [(bytes(k), bytes(v)) for k, v in decoded] == written


@given(st.lists(fields, min_size=1, max_size=4))
def test_we_read_what_the_library_writes_also_after_plain_blocks(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    encoder = hpack.Encoder()
    decoder = Decoder(1 << 20)
    decoder.decode(encode([(b"plain", b"first")]))
    for written in blocks:
        read = decoder.decode(encoder.encode(written))
        assert [(bytes(k), bytes(v)) for k, v in read] == written


@given(st.binary(max_size=100))
def test_noise_is_decoded_or_a_bad_block(noise: bytes) -> None:
    with contextlib.suppress(BadBlock):
        Decoder(16_384).decode(noise)


def test_a_block_larger_than_allowed_is_told_from_a_bad_one() -> None:
    with pytest.raises(TooLarge):
        Decoder(1000).decode(encode([(b"a", b"v" * 2000)]))
    with pytest.raises(TooLarge):
        Decoder(1000).decode(hpack.Encoder().encode([(b"a", b"v" * 2000)]))
    with pytest.raises(BadBlock):
        Decoder(1000).decode(b"\x00\x05abc")

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.kit.budget import Rate
from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_WINDOW,
    WINDOW_UPDATE,
    ConnectionFailed,
    Data,
    Error,
    Headers,
    frame,
)
from gossamer.kit.grpc.limits import Limits
from tests.unit.kit.grpc.conversation import (
    GREETING,
    REQUEST,
    data,
    fault,
    frames,
    goaway,
    plain,
    request,
    resets,
    server,
)

BLOCK = encode(REQUEST)
SMALL = Limits(pings=Rate(5, 1), settings=Rate(5, 1), empty_data=Rate(5, 1), other_frames=Rate(5, 1))


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def test_a_conversation_means_the_same_however_it_is_split() -> None:
    conversation = (
        GREETING
        + request(1, end=False)
        + data(1, b"hello", end=False)
        + frame(PING, 0, 0, b"12345678")
        + frame(HEADERS, 0, 3, BLOCK[:10])
        + frame(CONTINUATION, 0, 3, BLOCK[10:11])
        + frame(CONTINUATION, END_HEADERS, 3, BLOCK[11:])
        + frame(DATA, PADDED | END_STREAM, 3, b"\x03padded\0\0\0")
        + update(1, 100)
        + setting(4, 70_000)
        + frame(RST_STREAM, 0, 1, struct.pack(">I", 8))
        + frame(99, 0, 0, b"unknown")
        + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))
    )
    whole = Connection(server=True)
    expected = plain(whole.receive(conversation, 0.0))
    output = whole.take()
    for split in range(len(conversation) + 1):
        connection = Connection(server=True)
        events = connection.receive(conversation[:split], 0.0) + connection.receive(conversation[split:], 0.0)
        assert plain(events) == expected
        assert connection.take() == output
    byte_by_byte = Connection(server=True)
    events = [event for at in range(len(conversation)) for event in byte_by_byte.receive(conversation[at : at + 1], 0)]
    assert plain(events) == expected


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_no_bytes_make_it_fail_in_another_way_than_with_goaway(noise: bytes, cuts: list[int]) -> None:
    connection = server()
    pieces = [noise[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(noise)], strict=True)]
    try:
        for piece in pieces:
            connection.receive(piece, 0.0)
    except ConnectionFailed as failed:
        assert goaway(connection.take()) == failed.code


frame_strategy = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.integers(0, 7),
    st.one_of(st.binary(max_size=40), st.just(BLOCK), st.just(b"\0\0\0\x01"), st.just(b"\0\x04\0\0\0\x05")),
)


@settings(max_examples=300)
@given(st.lists(frame_strategy, max_size=30))
def test_any_frames_keep_the_table_and_the_windows_in_bounds(script: list[bytes]) -> None:
    connection = server()
    try:
        for one in script:
            connection.receive(one, 0.0)
    except ConnectionFailed:
        return
    assert len(connection.streams) <= len(script)
    rows = connection.streams.values()
    assert all(-(2**31) < row.window < 2**31 and 0 <= row.credit <= STREAM_WINDOW for row in rows)


def test_data_goes_out_only_as_far_as_both_windows_allow() -> None:
    connection = server()
    connection.receive(setting(4, 10) + request(1), 0.0)
    row = connection.streams[1]
    connection.take()
    assert connection.send_data(row, b"x" * 25) == 10
    assert connection.send_data(row, b"x" * 15) == 0
    connection.receive(update(1, 7), 0.0)
    assert connection.send_data(row, b"x" * 15, end=True) == 7
    connection.receive(setting(4, 18), 0.0)
    assert connection.send_data(row, b"x" * 8, end=True) == 8
    sent = [(flags, len(body)) for kind, flags, _, body in frames(connection.take()) if kind == DATA]
    assert sent == [(0, 10), (0, 7), (END_STREAM, 8)]
    assert 1 not in connection.streams


def test_a_smaller_initial_window_makes_windows_negative_and_they_recover() -> None:
    connection = server()
    connection.receive(setting(4, 3) + request(1), 0.0)
    row = connection.streams[1]
    assert connection.send_data(row, b"abc") == 3
    connection.receive(setting(4, 2), 0.0)
    assert row.window == -1
    connection.receive(update(1, 2), 0.0)
    assert connection.send_data(row, b"de") == 1


def test_received_data_is_credited_and_more_than_the_window_is_a_fault() -> None:
    connection = server()
    connection.receive(request(1, end=False), 0.0)
    for _ in range(100):
        connection.receive(data(1, b"x" * 16_000, end=False), 0.0)
    kinds = [kind for kind, _, _, _ in frames(connection.take())]
    assert kinds.count(WINDOW_UPDATE) > 30
    over = server()
    over.receive(request(1, end=False), 0.0)
    over.streams[1].credit = 10
    over.receive(data(1, b"x" * 11, end=False), 0.0)
    assert resets(over.take()) == {1: Error.FLOW_CONTROL_ERROR}


def test_padding_counts_against_the_window_and_is_not_handed_over() -> None:
    connection = server()
    connection.receive(request(1, end=False), 0.0)
    before = connection.streams[1].credit
    events = connection.receive(frame(DATA, PADDED, 1, b"\x05body\0\0\0\0\0"), 0.0)
    assert [event.data for event in events if isinstance(event, Data)] == [b"body"]
    assert before - connection.streams[1].credit == 10


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 0, b"x"), Error.PROTOCOL_ERROR),
        (frame(DATA, 0, 5, b"x"), Error.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, BLOCK), Error.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, BLOCK), Error.PROTOCOL_ERROR),
        (request(3) + request(1), Error.STREAM_CLOSED),
        (frame(HEADERS, 0, 1, BLOCK[:5]) + frame(PING, 0, 0, b"12345678"), Error.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, BLOCK[:5]) + frame(CONTINUATION, 4, 3, BLOCK[5:]), Error.PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, BLOCK), Error.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"), Error.COMPRESSION_ERROR),
        (frame(PUSH_PROMISE, 0, 1, b"\0\0\0\x02"), Error.PROTOCOL_ERROR),
        (frame(PING, 0, 0, b"short"), Error.FRAME_SIZE_ERROR),
        (frame(PING, 0, 1, b"12345678"), Error.PROTOCOL_ERROR),
        (frame(SETTINGS, ACK, 0, b"x"), Error.FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, b"x"), Error.FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1), Error.PROTOCOL_ERROR),
        (setting(2, 2), Error.PROTOCOL_ERROR),
        (setting(4, 2**31), Error.FLOW_CONTROL_ERROR),
        (setting(5, 100), Error.PROTOCOL_ERROR),
        (update(0, 0), Error.PROTOCOL_ERROR),
        (update(0, 2**31 - 1), Error.FLOW_CONTROL_ERROR),
        (update(9, 1), Error.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"x"), Error.FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 9, b"\0\0\0\0"), Error.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 0, b"\0\0\0\0"), Error.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"\0"), Error.FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 0, b"\0\0\0\x01\0"), Error.PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 1, b"12345678"), Error.PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, b"x"), Error.FRAME_SIZE_ERROR),
        (frame(DATA, 0, 1, b"x" * 16_385), Error.FRAME_SIZE_ERROR),
        (request(1, end=False) + frame(DATA, PADDED, 1, b"\x09x"), Error.PROTOCOL_ERROR),
        (request(1) + request(1), Error.STREAM_CLOSED),
    ],
)
def test_a_broken_rule_of_the_connection_ends_it(sent: bytes, code: Error) -> None:
    assert fault(sent) == code


@pytest.mark.parametrize(
    "fields",
    [
        [*REQUEST, (b":path", b"/twice")],
        [*REQUEST, (b"x", b"y"), (b":late", b"z")],
        [*REQUEST, (b"Upper", b"case")],
        [*REQUEST, (b"connection", b"close")],
        [*REQUEST, (b"te", b"gzip")],
        [*REQUEST, (b"x", b"new\nline")],
        [*REQUEST, (b":status", b"200")],
        [*REQUEST, (b"content-length", b"-1")],
        [(name, value) for name, value in REQUEST if name != b":path"],
        [(name, b"" if name == b":path" else value) for name, value in REQUEST],
        [*REQUEST, (b"", b"nameless")],
    ],
)
def test_a_malformed_request_is_reset_and_the_connection_lives(fields: list[tuple[bytes, bytes]]) -> None:
    connection = server()
    connection.receive(request(1, fields=fields) + request(3), 0.0)
    assert resets(connection.take()) == {1: Error.PROTOCOL_ERROR}
    assert list(connection.streams) == [3]


def test_the_announced_content_length_must_be_kept() -> None:
    fields = [*REQUEST, (b"content-length", b"3")]
    connection = server()
    connection.receive(request(1, end=False, fields=fields) + data(1, b"abcd"), 0.0)
    connection.receive(request(3, end=False, fields=fields) + data(3, b"ab"), 0.0)
    connection.receive(request(5, end=False, fields=fields) + data(5, b"abc"), 0.0)
    assert resets(connection.take()) == {1: Error.PROTOCOL_ERROR, 3: Error.PROTOCOL_ERROR}


def test_trailers_must_end_the_stream() -> None:
    connection = server()
    trailers = encode([(b"x", b"y")])
    connection.receive(request(1, end=False) + frame(HEADERS, END_HEADERS, 1, trailers), 0.0)
    connection.receive(request(3, end=False), 0.0)
    events = connection.receive(frame(HEADERS, END_HEADERS | END_STREAM, 3, trailers), 0.0)
    assert resets(connection.take()) == {1: Error.PROTOCOL_ERROR}
    assert plain(events) == [("headers", 3, ((b"x", b"y"),), True)]


def test_data_on_a_stream_we_reset_is_ignored_and_still_counted() -> None:
    connection = server()
    connection.receive(request(1, end=False), 0.0)
    connection.reset(connection.streams[1], Error.CANCEL)
    before = connection._credit
    assert connection.receive(data(1, b"late", end=False), 0.0) == []
    assert before - connection._credit == 4
    assert goaway(connection.take()) is None


def test_a_stream_too_many_is_refused_and_no_more() -> None:
    connection = server(Limits(streams=2))
    connection.receive(request(1) + request(3) + request(5), 0.0)
    assert resets(connection.take()) == {5: Error.REFUSED_STREAM}
    assert list(connection.streams) == [1, 3]


def test_a_draining_connection_finishes_what_it_has_and_takes_nothing_new() -> None:
    connection = server()
    connection.receive(request(1), 0.0)
    connection.go_away()
    connection.receive(request(3), 0.0)
    output = connection.take()
    assert goaway(output) == Error.NO_ERROR
    assert resets(output) == {3: Error.REFUSED_STREAM}
    assert list(connection.streams) == [1]


# Floods (security ): each ends with ENHANCE_YOUR_CALM at the documented limit.


def calm_after(limits: Limits, piece: bytes, first: bytes = b"") -> int:
    """How many pieces are taken before the connection says ENHANCE_YOUR_CALM."""
    connection = server(limits)
    connection.receive(first, 0.0)
    for count in range(200_000):
        try:
            connection.receive(piece, 0.0)
        except ConnectionFailed as failed:
            assert failed.code is Error.ENHANCE_YOUR_CALM
            return count
    raise AssertionError("never")


def test_pings_are_limited() -> None:
    assert calm_after(SMALL, frame(PING, 0, 0, b"12345678")) == 5


def test_acknowledged_pings_are_free() -> None:
    connection = server(SMALL)
    connection.receive(frame(PING, ACK, 0, b"12345678") * 100, 0.0)


def test_settings_are_limited() -> None:
    # The greeting's was the first.
    assert calm_after(SMALL, frame(SETTINGS, 0, 0)) == 4


def test_empty_data_is_limited() -> None:
    assert calm_after(SMALL, data(1, b"", end=False), request(1, end=False)) == 5
    assert calm_after(SMALL, frame(DATA, PADDED, 1, b"\x03\0\0\0"), request(1, end=False)) == 5


@pytest.mark.parametrize("piece", [update(0, 1), frame(PRIORITY, 0, 1, b"\0\0\0\x03\0"), frame(77, 0, 0)])
def test_other_frames_are_limited(piece: bytes) -> None:
    assert calm_after(SMALL, piece) == 5


def test_a_rapid_reset_is_limited_and_a_reset_of_a_served_stream_is_not() -> None:
    limits = Limits(early_resets=Rate(20, 1))
    served = server(limits)
    rapid = server(limits)
    count = 0
    for number in range(1, 2001, 2):
        served.receive(request(number), 0.0)
        served.send_headers(served.streams[number], BLOCK, end=False)
        served.receive(frame(RST_STREAM, 0, number, b"\0\0\0\x08"), 0.0)
    with pytest.raises(ConnectionFailed, match="early resets"):
        for number in range(1, 2001, 2):
            rapid.receive(request(number) + frame(RST_STREAM, 0, number, b"\0\0\0\x08"), 0.0)
            count += 1
    assert count == 20
    assert not served.streams


def test_resets_that_a_peer_provokes_are_limited() -> None:
    connection = server(Limits(own_resets=Rate(20, 1)))
    with pytest.raises(ConnectionFailed, match="own resets"):
        for number in range(1, 2001, 2):
            connection.receive(request(number, end=False) + update(number, 0), 0.0)


def test_a_budget_grows_again_with_time() -> None:
    connection = server(SMALL)
    for second in range(100):
        connection.receive(frame(PING, 0, 0, b"12345678"), float(second))


def test_continuations_without_end_are_limited_in_size_and_number() -> None:
    begin = frame(HEADERS, 0, 1, BLOCK[:5])
    assert calm_after(Limits(), frame(CONTINUATION, 0, 1, b"\0" * 4096), begin) < 5
    assert calm_after(Limits(), frame(CONTINUATION, 0, 1), begin) == Limits().continuations


def test_an_hpack_bomb_is_cut_at_the_decoded_size() -> None:
    # One field of 4,000 bytes put into the table, then named by one byte each.
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000
    bomb = BLOCK + entry + b"\xbe" * 8000
    assert fault(frame(HEADERS, END_HEADERS, 1, bomb)) == Error.ENHANCE_YOUR_CALM


def test_too_many_fields_reset_the_stream() -> None:
    connection = server()
    fields = [*REQUEST, *[(b"x%d" % n, b"y") for n in range(100)]]
    connection.receive(request(1, fields=fields), 0.0)
    assert resets(connection.take()) == {1: Error.ENHANCE_YOUR_CALM}


@pytest.mark.parametrize("preface", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\x16\x03\x01"])
def test_another_protocol_is_refused_at_its_first_wrong_byte(preface: bytes) -> None:
    connection = Connection(server=True)
    with pytest.raises(ConnectionFailed):
        connection.receive(preface, 0.0)


def test_the_first_frame_must_be_settings() -> None:
    connection = Connection(server=True)
    with pytest.raises(ConnectionFailed, match="first frame"):
        connection.receive(PREFACE + frame(PING, 0, 0, b"12345678"), 0.0)


def test_a_scheme_of_http_is_taken_for_what_it_is() -> None:
    connection = server()
    events = connection.receive(request(1), 0.0)
    assert isinstance(events[0], Headers)
    assert (b":scheme", b"http") in events[0].fields

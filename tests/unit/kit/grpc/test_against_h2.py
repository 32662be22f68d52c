"""The h2 library as an oracle: an independent state machine at the other end of ours."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.kit.grpc.connection import Connection
from gossamer.kit.grpc.fields import encode
from gossamer.kit.grpc.frames import Data, Headers, Writable

HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t.T/Echo"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
ANSWER = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = encode([(b"grpc-status", b"0")])

bodies = st.lists(st.integers(0, 100_000), min_size=1, max_size=6)


class Echo:
    """Our server end: sends every body back, then trailers, as windows allow."""

    def __init__(self) -> None:
        self.connection = Connection(server=True)
        self._bodies: dict[int, bytes] = {}
        self._ended: set[int] = set()

    def receive(self, received: bytes) -> bytes:
        for event in self.connection.receive(received, 0.0):
            if isinstance(event, Headers):
                self._bodies[event.stream.id] = b""
                self.connection.send_headers(event.stream, ANSWER, end=False)
                if event.end:
                    self._ended.add(event.stream.id)
            elif isinstance(event, Data):
                self._bodies[event.stream.id] += event.data
                if event.end:
                    self._ended.add(event.stream.id)
        for row in list(self.connection.streams.values()):
            body = self._bodies[row.id]
            self._bodies[row.id] = body[self.connection.send_data(row, body) :]
            if row.id in self._ended and not self._bodies[row.id]:
                self.connection.send_headers(row, TRAILERS, end=True)
        return self.connection.take()


@settings(max_examples=30, deadline=None)
@given(bodies, st.integers(100, 70_000), st.integers(100, 9000))
def test_h2_as_client_gets_every_body_back(sizes: list[int], window: int, step: int) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
    ours = Echo()
    wanted = {1 + 2 * n: bytes([n]) * size for n, size in enumerate(sizes)}
    unsent = dict(wanted)
    for stream in wanted:
        client.send_headers(stream, HEAD)
    got = dict.fromkeys(wanted, b"")
    ended: set[int] = set()
    for _ in range(100_000):
        for stream, body in list(unsent.items()):
            room = min(client.local_flow_control_window(stream), client.max_outbound_frame_size, step)
            if room > 0 or not body:
                client.send_data(stream, body[:room], end_stream=len(body) <= room)
                unsent[stream] = body[room:]
                if not unsent[stream] and len(body) <= room:
                    del unsent[stream]
        answer = ours.receive(client.data_to_send())
        for event in client.receive_data(answer):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] += event.data
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                assert dict(event.headers)[b"grpc-status"] == b"0"
            elif isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
            assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset)
        if len(ended) == len(wanted):
            break
    assert got == wanted
    assert not ours.connection.streams


@settings(max_examples=30, deadline=None)
@given(bodies, st.integers(100, 70_000))
def test_h2_as_server_understands_our_client(sizes: list[int], window: int) -> None:
    theirs = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    theirs.initiate_connection()
    theirs.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
    ours = Connection(server=False)
    wanted = {1 + 2 * n: bytes([n]) * size for n, size in enumerate(sizes)}
    block = encode([(name.encode(), value.encode()) for name, value in HEAD])
    rows = {stream: ours.open(block, end=False) for stream in wanted}
    unsent = dict(wanted)
    got = dict.fromkeys(wanted, b"")
    statuses: dict[int, bytes] = {}
    ours.receive(theirs.data_to_send(), 0.0)
    for _ in range(10_000):
        for stream, body in list(unsent.items()):
            unsent[stream] = body[ours.send_data(rows[stream], body, end=True) :]
            if rows[stream].local_closed:
                del unsent[stream]
        for event in theirs.receive_data(ours.take()):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] += event.data
                theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                # Indexed and Huffman-coded, so this also takes the decoder through `hpack`.
                theirs.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                theirs.send_headers(event.stream_id, [("grpc-status", "0"), ("grpc-message", "")], end_stream=True)
        for answer in ours.receive(theirs.data_to_send(), 0.0):
            assert isinstance(answer, Headers | Data | Writable)
            if isinstance(answer, Headers) and answer.end:
                statuses[answer.stream.id] = dict(answer.fields)[b"grpc-status"]
        if len(statuses) == len(wanted):
            break
    assert got == wanted
    assert set(statuses.values()) == {b"0"}
    assert not ours.streams

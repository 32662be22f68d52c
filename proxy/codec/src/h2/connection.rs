//! One HTTP/2 connection, either role: bytes in, events out; calls in, bytes out.
//!
//! Bytes to send are appended to [`Connection::out`]. The owner takes all of it (`mem::take`, or write and clear) or
//! leaves it as it is: what is in it are whole frames, its length is what bounds `send_data`, and `reset` takes back from
//! it what the peer has not heard of.
//! Here is the state and how streams come and go; frames come in through `receive` and go out through `send`.

use std::collections::VecDeque;

use super::abuse::Spent;
use super::frame::{self, MAX_31};
use super::goaway::Leaving;
use super::hpack::Decoder;
use super::settings::Peer;
use super::streams::{Recent, Stream, Streams};
use super::{Config, ConnectionError, PREFACE, Role};
use crate::event;

/// A stream could not be opened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The peer's limit of concurrent streams is reached: wait for a stream to end, or use another connection.
    Full,
    /// GOAWAY was sent or received, or stream numbers are used up: use another connection.
    Leaving,
    /// The head is larger than the peer said it accepts.
    TooLarge,
}

/// One HTTP/2 connection. See the module.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to write, in order. Take all or nothing.
    pub out: Vec<u8>,
    pub(super) config: Config,
    pub(super) streams: Streams,
    /// Streams that want to send and wait for the connection, oldest first.
    pub(super) queue: VecDeque<u32>,
    /// Ended by both sides: anything more on them ends the connection.
    pub(super) ended: Recent<8>,
    /// Reset by the peer: anything more on them is its mistake.
    pub(super) abandoned: Recent<8>,
    /// Reset by us: what is still on its way is ignored.
    pub(super) dropped: Recent<32>,
    pub(super) decoder: Decoder,
    /// A header block that is not complete.
    pub(super) block: Unfinished,
    /// The DATA frame we are in.
    pub(super) data: Data,
    /// Bytes the peer may send on the whole connection.
    pub(super) receive: i32,
    /// Bytes taken and not yet announced to the peer.
    pub(super) credit: u32,
    /// Bytes we may send on the whole connection.
    pub(super) send: i32,
    pub(super) peer: Peer,
    /// Client: id of the next stream. Server: nothing.
    pub(super) next_id: u32,
    /// Highest id that the peer opened.
    pub(super) last_peer: u32,
    pub(super) sent_goaway: Leaving,
    pub(super) received_goaway: Option<u32>,
    /// Streams above `received_goaway` are still to be reported: where to look, and whether one was found since the start.
    pub(super) sweep: Option<(usize, bool)>,
    pub(super) opening: Opening,
    /// The peer has acknowledged our settings.
    pub(super) settled: bool,
    /// The next header block begins with an empty table.
    pub(super) empty_table: bool,
    pub(super) spent: Spent,
    /// Counts the times that all input was used.
    pub(super) round: u32,
    pub(super) failed: Option<ConnectionError>,
}

/// A header block whose last frame has not come. `stream` 0: there is none.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub stream: u32,
    pub end: bool,
    pub flawed: bool,
    pub frames: u32,
    pub bytes: Vec<u8>,
}

/// The rest of a DATA frame.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub active: bool,
    /// Bytes belong to the stream; else they are thrown away and have been credited.
    pub live: bool,
    pub stream: u32,
    pub left: usize,
    pub padding: usize,
    /// END_STREAM is to be reported with the last byte.
    pub end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Preface,
    Settings,
    Open,
}

const DEFAULT_WINDOW: i32 = 65_535;

impl Connection {
    /// A new connection; the preface and our settings are in `out`.
    pub fn new(mut config: Config) -> Self {
        config.stream_window = config.stream_window.clamp(65_535, MAX_31);
        config.connection_window = config.connection_window.clamp(65_535, MAX_31);
        config.max_frame = config.max_frame.clamp(16_384, 65_536);
        config.head_fields = config.head_fields.min(crate::head::FIELD_ROOM as u32);
        let mut out = Vec::new();
        if config.role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        config.write(&mut out);
        let more = config.connection_window - DEFAULT_WINDOW as u32;
        if more > 0 {
            frame::write_number(&mut out, frame::WINDOW_UPDATE, 0, more);
        }
        Connection {
            out,
            streams: Streams::default(),
            queue: VecDeque::new(),
            ended: Recent::new(),
            abandoned: Recent::new(),
            dropped: Recent::new(),
            decoder: Decoder::new(config.header_table),
            block: Unfinished::default(),
            data: Data::default(),
            receive: config.connection_window as i32,
            credit: 0,
            send: DEFAULT_WINDOW,
            peer: Peer { initial_window: DEFAULT_WINDOW, max_frame: 16_384, max_streams: 100, head_bytes: u32::MAX },
            next_id: 1,
            last_peer: 0,
            sent_goaway: Leaving::No,
            received_goaway: None,
            sweep: None,
            opening: if config.role == Role::Server { Opening::Preface } else { Opening::Settings },
            settled: false,
            empty_table: false,
            spent: Spent::default(),
            round: 0,
            failed: None,
            config,
        }
    }

    /// Gives a stream its owner's number, which later events carry.
    pub fn set_token(&mut self, id: u32, token: u32) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.token = token;
        }
    }

    /// Client: whether a stream could be opened now.
    pub fn can_open(&self) -> Result<(), Refused> {
        let leaving = self.sent_goaway != Leaving::No || self.received_goaway.is_some() || self.failed.is_some();
        if leaving || self.config.role == Role::Server || self.next_id > MAX_31 {
            return Err(Refused::Leaving);
        }
        if self.streams.len() >= self.peer.max_streams as usize { Err(Refused::Full) } else { Ok(()) }
    }

    /// Streams that are open in any way.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Ids and tokens of all open streams, in no order: to fail them when the connection breaks.
    pub fn open_streams(&self) -> impl Iterator<Item = event::Stream> + '_ {
        self.streams.iter().map(Stream::name)
    }

    /// Frees memory that is not needed now. Cheap; for a connection that has been idle for a while.
    pub fn shrink(&mut self) {
        self.streams.shrink();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// The peer broke the rules: says so and stops for good.
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        frame::write_goaway(&mut self.out, self.last_peer, error.reason, error.text);
        self.failed = Some(error);
        error
    }

    /// Forgets a stream and gives its unreleased bytes back to the connection.
    pub(super) fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(id)?;
        self.credit_connection(stream.unreleased);
        Some(stream)
    }

    /// Our side of a stream has ended.
    pub(super) fn close_local(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.local_closed = true;
            if stream.remote_closed {
                self.forget(id);
                self.ended.add(id);
            }
        }
    }

    /// The peer's side of a stream has ended.
    pub(super) fn close_remote(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.remote_closed = true;
            if stream.local_closed {
                self.forget(id);
                self.ended.add(id);
            }
        }
    }
}

impl Stream {
    pub fn name(&self) -> event::Stream {
        event::Stream { id: self.id, token: self.token }
    }
}

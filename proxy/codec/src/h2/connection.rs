//! One HTTP/2 connection, either role: bytes in, events out; calls in, bytes out.
//!
//! Bytes to send are appended to [`Connection::out`]. The owner takes all of it (`mem::take`, or write and clear) or
//! leaves it as it is: what is in it are whole frames, its length is what bounds `send_data`, and `reset` takes back from
//! it what the peer has not heard of.
//! The state is here, the receiving half in `receive`, the sending half in `send`.

use std::collections::VecDeque;

use super::frame::{self, MAX_31};
use super::hpack::Decoder;
use super::streams::{Recent, Stream, Streams};
use super::{Config, ConnectionError, PREFACE, Reason, Role};
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

/// What the peer said in its settings.
#[derive(Debug)]
pub(super) struct Peer {
    pub initial_window: i32,
    pub max_frame: usize,
    pub max_streams: u32,
    pub head_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// A server has said that it will go.
    Announced,
    /// Streams above this one are not accepted.
    Final(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Preface,
    Settings,
    Open,
}

/// Abuse credits that are used up.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub rapid_resets: u32,
    pub early_resets: u32,
    pub stream_errors: u32,
    pub idle_frames: u32,
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

    /// Says that no new stream of the peer's will be accepted; streams already open go on. With `NO_ERROR`, a server drains:
    /// the first call announces (last id 2^31-1), the second, at least one round trip later, is final.
    pub fn goaway(&mut self, reason: Reason) {
        let announce = self.config.role == Role::Server && reason == Reason::NO_ERROR;
        let (last, next) = match self.sent_goaway {
            Leaving::Final(_) => return,
            Leaving::No if announce => (MAX_31, Leaving::Announced),
            _ => (self.last_peer, Leaving::Final(self.last_peer)),
        };
        self.sent_goaway = next;
        if self.failed.is_none() {
            frame::write_goaway(&mut self.out, last, reason, "");
        }
    }

    /// Both sides are done: GOAWAY was sent (finally) or received and no stream is open, or the connection has failed.
    pub fn is_finished(&self) -> bool {
        let leaving = matches!(self.sent_goaway, Leaving::Final(_)) || self.received_goaway.is_some();
        self.failed.is_some() || (leaving && self.streams.len() == 0)
    }

    /// Once a second while anything happened: gives back half of the spent abuse credits.
    pub fn calm(&mut self) {
        self.spent.rapid_resets /= 2;
        self.spent.early_resets /= 2;
        self.spent.stream_errors /= 2;
        self.spent.idle_frames /= 2;
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

    /// A stream wants to send and waits for the connection. Streams that are gone are cleared away now and then.
    pub(super) fn enqueue(&mut self, id: u32) {
        if self.queue.len() > 2 * self.streams.len() + 16 {
            self.queue.retain(|id| self.streams.get(*id).is_some());
        }
        self.queue.push_back(id);
    }

    /// `n` bytes of the connection's window may be used again; tells the peer when it is worth a frame.
    pub(super) fn credit_connection(&mut self, n: u32) {
        self.credit += n;
        if self.credit >= self.config.connection_window / 2 && self.failed.is_none() {
            frame::write_number(&mut self.out, frame::WINDOW_UPDATE, 0, self.credit);
            self.receive += self.credit as i32;
            self.credit = 0;
        }
    }

    /// The same for one stream; only while the peer may send more.
    pub(super) fn credit_stream(&mut self, id: u32, n: u32) {
        let window = self.config.stream_window;
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.remote_closed) else { return };
        stream.credit += n;
        if stream.credit >= window / 2 && self.failed.is_none() {
            frame::write_number(&mut self.out, frame::WINDOW_UPDATE, id, stream.credit);
            stream.receive += stream.credit as i32;
            stream.credit = 0;
        }
    }
}

impl Stream {
    pub fn name(&self) -> event::Stream {
        event::Stream { id: self.id, token: self.token }
    }
}

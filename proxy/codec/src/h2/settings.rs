//! SETTINGS (RFC 9113 6.5): what a connection is told when it is made (role, windows, limits), and what the peer says of
//! itself. Every limit of ours is one number here (security A-03).

use super::Reason;
use super::connection::Connection;
use super::frame::{self, Head, MAX_31};
use super::receive::{Found, Step, error, frame_size, protocol};
use crate::event::Event;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// Limits and windows of a connection, all enforced exactly as written.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub role: Role,
    /// Receive window of each stream in bytes.
    pub stream_window: u32,
    /// Receive window of the connection in bytes; at least 65,535.
    pub connection_window: u32,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS` for the peer. More are refused with `REFUSED_STREAM`; before the peer has acknowledged
    /// our settings, more than four times as many are.
    pub max_streams: u32,
    /// `SETTINGS_MAX_FRAME_SIZE`: 16,384 to 65,536 here.
    pub max_frame: u32,
    /// `SETTINGS_HEADER_TABLE_SIZE`: bytes of decoder state that the peer may make us keep.
    pub header_table: u32,
    /// `SETTINGS_MAX_HEADER_LIST_SIZE`: names + values + 32 per field, pseudo-fields counted. More is a stream error;
    /// a block whose encoding alone is larger than this plus 16 KiB ends the connection.
    pub head_bytes: u32,
    /// Fields in a head or trailer section, pseudo-fields not counted; at most 128.
    pub head_fields: u32,
    /// Streams the peer may reset in the same input that opened them, in credit: each answered stream gives one back, and
    /// [`super::Connection::calm`] gives back half (security A-01).
    pub rapid_resets: u32,
    /// Streams the peer may reset later, but before we answered them; credit like `rapid_resets`. Much wider, because a
    /// client whose deadlines pass does this at the rate of its calls.
    pub early_resets: u32,
    /// Stream errors the peer may cause, in credit like `rapid_resets` (security A-02).
    pub stream_errors: u32,
    /// Control frames (`PING`, `SETTINGS`, `PRIORITY`, `WINDOW_UPDATE` of no effect, unknown and empty frames) the peer may send in
    /// credit; frames that carry a request or body bytes give credit back (security ).
    pub idle_frames: u32,
    /// Accept extended CONNECT (RFC 8441) and say so.
    pub extended_connect: bool,
}

impl Config {
    /// Towards an application or a stranger that calls us.
    pub const fn server() -> Self {
        Config {
            role: Role::Server,
            stream_window: 65_535,
            connection_window: 1 << 20,
            max_streams: 250,
            max_frame: 16_384,
            header_table: 4_096,
            head_bytes: 16_384,
            head_fields: 100,
            rapid_resets: 100,
            early_resets: 2_000,
            stream_errors: 100,
            idle_frames: 1_000,
            extended_connect: false,
        }
    }

    /// Towards an application that we call.
    pub const fn client() -> Self {
        Config { role: Role::Client, ..Config::server() }
    }

    /// The serving end of a link between sidecars: many applications share it, so its credits are wide (security A-04).
    pub const fn mesh_server() -> Self {
        Config {
            role: Role::Server,
            connection_window: 8 << 20,
            max_streams: 10_000,
            head_bytes: 80 * 1024,
            head_fields: 116,
            rapid_resets: 20_000,
            early_resets: 100_000,
            stream_errors: 1_024,
            idle_frames: 10_000,
            ..Config::server()
        }
    }

    /// The calling end of a link between sidecars.
    pub const fn mesh_client() -> Self {
        Config { role: Role::Client, ..Config::mesh_server() }
    }

    /// Appends our SETTINGS frame, without what is the default anyway.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let server = self.role == Role::Server;
        let table = [
            (HEADER_TABLE_SIZE, self.header_table, self.header_table != 4_096),
            (ENABLE_PUSH, 0, !server),
            (MAX_CONCURRENT_STREAMS, self.max_streams, server),
            (INITIAL_WINDOW_SIZE, self.stream_window, self.stream_window != 65_535),
            (MAX_FRAME_SIZE, self.max_frame, self.max_frame != 16_384),
            (MAX_HEADER_LIST_SIZE, self.head_bytes, true),
            (ENABLE_CONNECT_PROTOCOL, 1, server && self.extended_connect),
        ];
        let count = table.iter().filter(|(_, _, said)| *said).count();
        frame::write_head(out, count * 6, frame::SETTINGS, 0, 0);
        for (name, value, _) in table.iter().filter(|(_, _, said)| *said) {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// What the peer said in its settings.
#[derive(Debug)]
pub(super) struct Peer {
    pub initial_window: i32,
    pub max_frame: usize,
    pub max_streams: u32,
    pub head_bytes: u32,
}

impl Connection {
    /// The peer's settings, or its acknowledgement of ours (6.5.3).
    pub(super) fn settings(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream != 0 {
            return protocol("SETTINGS on a stream");
        }
        self.spend_idle()?;
        if head.has(frame::ACK) {
            if !payload.is_empty() {
                return frame_size();
            }
            if !self.settled {
                self.settled = true;
                self.decoder.settle(self.config.header_table);
            }
            return Ok(Found::Nothing);
        }
        if payload.len() % 6 != 0 {
            return frame_size();
        }
        let window = self.peer.initial_window;
        for entry in payload.chunks_exact(6) {
            self.setting(u16::from_be_bytes([entry[0], entry[1]]), frame::number(&entry[2..]))?;
        }
        // Once for the frame, however often it says it: this looks at every stream.
        if self.peer.initial_window != window {
            self.move_windows(i64::from(self.peer.initial_window) - i64::from(window))?;
        }
        frame::write_head(&mut self.out, 0, frame::SETTINGS, frame::ACK, 0);
        Ok(Found::Event(Event::Settings))
    }

    /// One setting (6.5.2); those we do not know mean nothing.
    fn setting(&mut self, name: u16, value: u32) -> Step<()> {
        match name {
            // Our table is empty anyway, but a peer that wants a smaller one waits to be told so.
            HEADER_TABLE_SIZE => self.empty_table |= value < 4_096,
            ENABLE_PUSH if value > 1 || (value == 1 && self.config.role == Role::Client) => {
                return protocol("bad SETTINGS_ENABLE_PUSH");
            }
            MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
            INITIAL_WINDOW_SIZE if value > MAX_31 => {
                return error(Reason::FLOW_CONTROL_ERROR, "bad SETTINGS_INITIAL_WINDOW_SIZE");
            }
            INITIAL_WINDOW_SIZE => self.peer.initial_window = value as i32,
            MAX_FRAME_SIZE if !(16_384..=0xff_ffff).contains(&value) => {
                return protocol("bad SETTINGS_MAX_FRAME_SIZE");
            }
            // We gain nothing from larger frames than these.
            MAX_FRAME_SIZE => self.peer.max_frame = value.min(16_384) as usize,
            MAX_HEADER_LIST_SIZE => self.peer.head_bytes = value,
            ENABLE_CONNECT_PROTOCOL if value > 1 => return protocol("bad SETTINGS_ENABLE_CONNECT_PROTOCOL"),
            _ => {}
        }
        Ok(())
    }
}

//! What a connection is told when it is made: role, windows, limits. Every limit is one number here (security A-03).

use super::frame;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

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

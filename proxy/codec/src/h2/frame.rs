//! Frame headers and the frames we send (RFC 9113 4 and 6).

use super::Reason;

pub const HEAD: usize = 9;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITIZED: u8 = 0x20;

/// Window and stream id fields have 31 bits.
pub const MAX_31: u32 = 0x7fff_ffff;

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    #[inline]
    pub fn read(input: &[u8]) -> Option<Head> {
        let [a, b, c, kind, flags, d, e, f, g, ..] = *input else { return None };
        Some(Head {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & MAX_31,
        })
    }

    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[inline]
pub fn number(bytes: &[u8]) -> u32 {
    match bytes {
        [a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

#[inline]
pub fn write_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

pub fn write_number(out: &mut Vec<u8>, kind: u8, stream: u32, value: u32) {
    write_head(out, 4, kind, 0, stream);
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn write_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    write_number(out, RST_STREAM, stream, reason.0);
}

pub fn write_ping(out: &mut Vec<u8>, flags: u8, data: &[u8]) {
    write_head(out, 8, PING, flags, 0);
    out.extend_from_slice(data);
}

pub fn write_goaway(out: &mut Vec<u8>, last: u32, reason: Reason, text: &str) {
    write_head(out, 8 + text.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Completes a header block that begins with the HEADERS frame head at `at`: fills in the length, and cuts what is larger
/// than a frame into CONTINUATIONs.
pub fn finish_block(out: &mut Vec<u8>, at: usize, max_frame: usize) {
    let length = out.len() - at - HEAD;
    let set_length = |out: &mut Vec<u8>, length: usize| {
        out[at..at + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    };
    if length <= max_frame {
        return set_length(out, length);
    }
    set_length(out, max_frame);
    out[at + 4] &= !END_HEADERS;
    let stream = number(&out[at + 5..at + HEAD]);
    let tail = out.split_off(at + HEAD + max_frame);
    let mut pieces = tail.chunks(max_frame).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        write_head(out, piece.len(), CONTINUATION, flags, stream);
        out.extend_from_slice(piece);
    }
}

//! The header with which a sidecar opens a connection to a peer's direct port (reference 2.5).
//!
//! 23 bytes of preface, a big-endian `u32` length, and a protobuf
//! `Header { int32 port = 1; string name = 2; SessionProtocol session_protocol = 3 }`.

/// ALPN protocol that announces the header.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";

pub const PREFACE: &[u8; 23] = b"transport.l5d.io/v1\r\n\r\n";

/// Largest header with preface (Linkerd's read buffer).
pub const MAX_SIZE: usize = 64 * 1024;

/// Bytes before the message.
const FRONT: usize = PREFACE.len() + 4;

/// What the bytes after the header are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub port: u16,
    /// Empty: deliver to the local port. Else `host[:port]` to act as a gateway for.
    pub name: &'a str,
    /// `None`: opaque.
    pub session: Option<Session>,
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    Preface,
    TooLarge,
    /// Not protobuf, or a value out of its range.
    Message,
}

/// Appends a header.
pub fn write(out: &mut Vec<u8>, header: &Header<'_>) {
    out.extend_from_slice(PREFACE);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    if header.port != 0 {
        out.push(1 << 3);
        write_varint(out, header.port.into());
    }
    if !header.name.is_empty() {
        out.push(2 << 3 | 2);
        write_varint(out, header.name.len() as u64);
        out.extend_from_slice(header.name.as_bytes());
    }
    if let Some(session) = header.session {
        let kind = match session {
            Session::Http1 => 1u8,
            Session::Http2 => 2,
        };
        out.extend_from_slice(&[3 << 3 | 2, 2, kind << 3 | 2, 0]);
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Reads a header from the front of `input`: how many bytes it takes, or `None` while it is not all there.
pub fn read(input: &[u8]) -> Result<Option<(usize, Header<'_>)>, Invalid> {
    let front = input.len().min(PREFACE.len());
    if input[..front] != PREFACE[..front] {
        return Err(Invalid::Preface);
    }
    let Some([a, b, c, d]) = input.get(PREFACE.len()..FRONT) else { return Ok(None) };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if length > MAX_SIZE - FRONT {
        return Err(Invalid::TooLarge);
    }
    match input.get(FRONT..FRONT + length) {
        None => Ok(None),
        Some(message) => match header(message) {
            Some(header) => Ok(Some((FRONT + length, header))),
            None => Err(Invalid::Message),
        },
    }
}

fn header(message: &[u8]) -> Option<Header<'_>> {
    let mut found = Header { port: 0, name: "", session: None };
    each_field(message, |number, value| {
        match (number, value) {
            (1, Value::Varint(port)) => found.port = u16::try_from(port).ok()?,
            (2, Value::Bytes(name)) => found.name = std::str::from_utf8(name).ok()?,
            (3, Value::Bytes(session)) => found.session = session_of(session, found.session)?,
            (1..=3, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some(found)
}

/// A `oneof` of two empty messages; the last one said wins, a kind we do not know is no session we could serve.
fn session_of(message: &[u8], before: Option<Session>) -> Option<Option<Session>> {
    let mut found = before;
    each_field(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(_)) => found = Some(Session::Http1),
            (2, Value::Bytes(_)) => found = Some(Session::Http2),
            _ => return None,
        }
        Some(())
    })?;
    Some(found)
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

fn each_field<'a>(mut rest: &'a [u8], mut visit: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Varint(read_varint(&mut rest)?),
            1 => fixed(&mut rest, 8)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Value::Bytes(bytes)
            }
            5 => fixed(&mut rest, 4)?,
            _ => return None,
        };
        match key >> 3 {
            0 => return None,
            number => visit(number, value)?,
        }
    }
    Some(())
}

fn fixed<'a>(rest: &mut &'a [u8], width: usize) -> Option<Value<'a>> {
    *rest = rest.get(width..)?;
    Some(Value::Fixed)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Option<Session>; 3] = [None, Some(Session::Http1), Some(Session::Http2)];

    #[test]
    fn what_was_written_is_read() {
        for session in ALL {
            for (port, name) in
                [(0, ""), (1, "a"), (127, ""), (128, ""), (8080, ""), (65535, "web.default.svc.cluster.local:80")]
            {
                let header = Header { port, name, session };
                let mut bytes = Vec::new();
                write(&mut bytes, &header);
                for cut in 0..bytes.len() {
                    assert_eq!(read(&bytes[..cut]), Ok(None));
                }
                let whole = bytes.len();
                bytes.extend(b"GET / HTTP/1.1");
                assert_eq!(read(&bytes), Ok(Some((whole, header))));
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Header { port: 4143, name: "", session: Some(Session::Http2) });
        assert_eq!(bytes, b"transport.l5d.io/v1\r\n\r\n\0\0\0\x07\x08\xaf\x20\x1a\x02\x12\0");
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&PREFACE[..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let whole = framed(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        assert_eq!(read(&whole), Ok(Some((whole.len(), Header { port: 0, name: "", session: None }))));
        let bytes = framed(b"\x20\x05\x2a\x01x\x08\x50\x31\0\0\0\0\0\0\0\0\x3d\0\0\0\0");
        assert_eq!(read(&bytes), Ok(Some((bytes.len(), Header { port: 80, name: "", session: None }))));
    }

    #[test]
    fn bad_headers_are_refused() {
        for message in [
            &b"\x08\x80\x80\x04"[..],                        // port 65536
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // port -1
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", // more than 64 bits
            b"\x12\x01\xff",                                 // name is not text
            b"\x12\x05a",                                    // short
            b"\x0a\0",                                       // port of a wrong type
            b"\x1a\x02\x1a\0",                               // unknown session
            b"\x0b",                                         // group
            b"\x00\x00",                                     // field 0
            b"\x08",                                         // no value
        ] {
            assert_eq!(read(&framed(message)), Err(Invalid::Message), "{}", message.escape_ascii());
        }
        assert_eq!(read(b"GET / HTTP/1.1"), Err(Invalid::Preface));
        let sized = |length: u32| [&PREFACE[..], &length.to_be_bytes()].concat();
        assert_eq!(read(&sized(65_536 - 27)), Ok(None));
        assert_eq!(read(&sized(65_536 - 26)), Err(Invalid::TooLarge));
    }
}

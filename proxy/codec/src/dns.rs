//! DNS messages for the stub resolver: one question in, answers out (RFC 1035, RFC 6891, RFC 2782).
//!
//! Resolves nothing and forwards nothing: what is not ours, the caller passes on as the bytes it received.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest name in text form, without the final dot (security F21-1).
pub const MAX_NAME: usize = 253;

/// Longest time to live we give, in seconds (seams 17).
pub const MAX_TTL: u32 = 5;

/// A question. Types and classes are their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    pub recursion_desired: bool,
    /// Lower case, dotted, without the final dot; labels with bytes that would not survive text (`.`, blanks,
    /// controls, from 0x80) make `plain` false.
    pub name: String,
    /// The name may be compared as text.
    pub plain: bool,
    pub kind: Kind,
    /// 1 is Internet.
    pub class: u16,
    /// Response size the client accepts over UDP: 512 without EDNS, at most 4,096.
    pub udp_size: u16,
    pub edns: bool,
    /// The question as received, with the client's case.
    question: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Ptr,
    Srv,
    Any,
    Other(u16),
}

/// The data of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(String),
    /// Goes with the addresses of `target`, if given, in the additional section.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
}

/// Response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// Why a query was not understood. With `id`, answer with [`write_failure`]; without, drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub id: Option<u16>,
    pub code: Code,
}

const HEADER: usize = 12;
const MAX_WIRE_NAME: usize = 255;
const MAX_LABEL: usize = 63;
const CLASS_INTERNET: u16 = 1;
const TYPE_OPT: u16 = 41;
/// UDP size we name in our own EDNS record.
const OUR_UDP_SIZE: u16 = 4_096;
const OPT_SIZE: usize = 11;
/// Records after the question that are looked at.
const MAX_ADDITIONAL: u16 = 8;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

impl From<u16> for Kind {
    fn from(number: u16) -> Self {
        match number {
            1 => Kind::A,
            12 => Kind::Ptr,
            28 => Kind::Aaaa,
            33 => Kind::Srv,
            255 => Kind::Any,
            other => Kind::Other(other),
        }
    }
}

impl Record {
    fn number(&self) -> u16 {
        match self {
            Record::A(_) => 1,
            Record::Ptr(_) => 12,
            Record::Aaaa(_) => 28,
            Record::Srv { .. } => 33,
        }
    }
}

/// Reads a query: one question, any EDNS.
pub fn read_query(message: &[u8]) -> Result<Query, Invalid> {
    let mut cursor = Cursor { message, at: 0 };
    let id = cursor.number().ok_or(Invalid { id: None, code: Code::FormatError })?;
    let invalid = |code| Invalid { id: Some(id), code };
    let malformed = || invalid(Code::FormatError);
    let flags = cursor.number().ok_or_else(malformed)?;
    if flags & RESPONSE != 0 {
        // Answering a response could go on for ever.
        return Err(Invalid { id: None, code: Code::FormatError });
    }
    if flags & OPCODE != 0 {
        return Err(invalid(Code::NotImplemented));
    }
    let counts: [Option<u16>; 4] = std::array::from_fn(|_| cursor.number());
    let [Some(1), Some(0), Some(0), Some(additional)] = counts else { return Err(malformed()) };
    let start = cursor.at;
    let (name, plain) = cursor.name().ok_or_else(malformed)?;
    let kind = cursor.number().ok_or_else(malformed)?.into();
    let class = cursor.number().ok_or_else(malformed)?;
    let question = message[start..cursor.at].to_vec();
    let edns = cursor.udp_size(additional).ok_or_else(malformed)?;
    let udp_size = edns.unwrap_or(512).clamp(512, OUR_UDP_SIZE);
    let recursion_desired = flags & RECURSION_DESIRED != 0;
    Ok(Query { id, recursion_desired, name, plain, kind, class, udp_size, edns: edns.is_some(), question })
}

/// Writes an authoritative response to `query`, at most `limit` bytes (`udp_size` over UDP, 65,535 over TCP): when the answers do
/// not fit, none is written and TC is set. `ttl` is at most [`MAX_TTL`]. `additional` are (name, record) pairs and
/// are left out silently when they do not fit, as is any record with a name that DNS cannot carry.
pub fn write_response(
    out: &mut Vec<u8>,
    query: &Query,
    code: Code,
    answers: &[Record],
    additional: &[(&str, Record)],
    ttl: u32,
    limit: usize,
) {
    let start = out.len();
    let room = start + limit.saturating_sub(if query.edns { OPT_SIZE } else { 0 });
    let flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | code as u16;
    let flags = if query.recursion_desired { flags | RECURSION_DESIRED } else { flags };
    for number in [query.id, flags, 1, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&query.question);
    let after_question = out.len();
    // The name of an answer is a pointer to the question's.
    let mut answered = answers.iter().filter(|answer| write_record(out, &[0xc0, HEADER as u8], answer, ttl)).count();
    if out.len() > room || answered > usize::from(u16::MAX) {
        out.truncate(after_question);
        answered = 0;
        out[start + 2] |= (TRUNCATED >> 8) as u8;
    }
    let mut extra = 0u16;
    for (name, record) in additional {
        let before = out.len();
        let mut wire = Vec::new();
        if write_name(&mut wire, name) && write_record(out, &wire, record, ttl) && out.len() <= room {
            extra += 1;
        } else {
            out.truncate(before);
        }
    }
    if query.edns {
        out.push(0);
        for number in [TYPE_OPT, OUR_UDP_SIZE, 0, 0, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        extra += 1;
    }
    out[start + 6..start + 8].copy_from_slice(&(answered as u16).to_be_bytes());
    out[start + 10..start + 12].copy_from_slice(&extra.to_be_bytes());
}

/// Writes a response without a question section.
pub fn write_failure(out: &mut Vec<u8>, id: u16, code: Code) {
    for number in [id, RESPONSE | RECURSION_AVAILABLE | code as u16, 0, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The address in a name below `in-addr.arpa` or `ip6.arpa` (lower case, no final dot).
pub fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let address: Ipv4Addr = labels.parse().ok()?;
        let [a, b, c, d] = address.octets();
        return Some(Ipv4Addr::new(d, c, b, a).into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for label in labels.split('.').rev() {
        let [digit] = label.as_bytes() else { return None };
        bits = bits << 4 | u128::from((*digit as char).to_digit(16)?);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

/// Appends a whole record, or nothing if a name in it cannot be written.
fn write_record(out: &mut Vec<u8>, name: &[u8], record: &Record, ttl: u32) -> bool {
    let start = out.len();
    out.extend_from_slice(name);
    for number in [record.number(), CLASS_INTERNET] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&ttl.min(MAX_TTL).to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    let written = match record {
        Record::A(address) => {
            out.extend_from_slice(&address.octets());
            true
        }
        Record::Aaaa(address) => {
            out.extend_from_slice(&address.octets());
            true
        }
        Record::Ptr(name) => write_name(out, name),
        Record::Srv { priority, weight, port, target } => {
            for number in [priority, weight, port] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            write_name(out, target)
        }
    };
    if !written {
        out.truncate(start);
        return false;
    }
    let length = (out.len() - length_at - 2) as u16;
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    true
}

fn write_name(out: &mut Vec<u8>, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_NAME
        || name.split('.').any(|label| label.len() > MAX_LABEL || (label.is_empty() && !name.is_empty()))
    {
        return false;
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    true
}

struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..self.at + n)?;
        self.at += n;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// A name without compression (nothing comes before it in a query), and whether it may be compared as text.
    fn name(&mut self) -> Option<(String, bool)> {
        let start = self.at;
        let (mut text, mut plain) = (String::new(), true);
        loop {
            let length = usize::from(*self.take(1)?.first()?);
            if length == 0 {
                return Some((text, plain));
            }
            if length > MAX_LABEL {
                return None;
            }
            let label = self.take(length)?;
            if self.at - start >= MAX_WIRE_NAME {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label {
                plain &= byte.is_ascii_graphic() && *byte != b'.';
                text.push(if byte.is_ascii_graphic() { byte.to_ascii_lowercase() as char } else { '?' });
            }
        }
    }

    /// The size in the EDNS record among the additional ones: `None` malformed, `Some(None)` there is none.
    fn udp_size(&mut self, additional: u16) -> Option<Option<u16>> {
        let mut found = None;
        for _ in 0..additional.min(MAX_ADDITIONAL) {
            let (name, _) = self.name()?;
            let kind = self.number()?;
            let class = self.number()?;
            self.take(4)?;
            let length = self.number()?;
            self.take(length.into())?;
            if kind == TYPE_OPT {
                if found.is_some() || !name.is_empty() {
                    return None;
                }
                found = Some(class);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(write_name(&mut out, name));
        out
    }

    fn query(name: &[u8], kind: u16, additional: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional.len() as u8];
        out.extend_from_slice(name);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend(additional.concat());
        out
    }

    const OPT: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_question_is_read() {
        let read = read_query(&query(&wire("Web.Default.SVC"), 1, &[])).unwrap();
        assert_eq!(
            (read.name.as_str(), read.plain, read.kind, read.udp_size, read.edns),
            ("web.default.svc", true, Kind::A, 512, false)
        );
        let read = read_query(&query(&wire("_http._tcp.web"), 33, &[OPT])).unwrap();
        assert_eq!((read.kind, read.udp_size, read.edns), (Kind::Srv, 4_096, true));
        assert_eq!(read_query(&query(&[0], 2, &[])).unwrap().name, "");
        assert!(!read_query(&query(b"\x03a.b\0", 1, &[])).unwrap().plain);
        assert!(!read_query(&query(b"\x02\xffb\0", 1, &[])).unwrap().plain);
    }

    #[test]
    fn what_is_not_a_query_is_refused() {
        let good = query(&wire("web"), 1, &[OPT]);
        for cut in 0..good.len() {
            assert!(read_query(&good[..cut]).is_err(), "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            read_query(&bad)
        };
        assert_eq!(with(2, 0x80), Err(Invalid { id: None, code: Code::FormatError }));
        assert_eq!(with(2, 0x28), Err(Invalid { id: Some(0xabcd), code: Code::NotImplemented }));
        for (at, byte) in [(5, 0), (5, 2), (7, 1), (9, 1), (12, 0xc0), (12, 64)] {
            assert_eq!(with(at, byte), Err(Invalid { id: Some(0xabcd), code: Code::FormatError }));
        }
        assert!(read_query(&query(&wire("web"), 1, &[OPT, OPT])).is_err());
        let long = [&[63; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
        assert!(read_query(&query(&long, 1, &[])).is_err());
    }

    #[test]
    fn answers_point_to_the_question() {
        let read = read_query(&query(&wire("web"), 1, &[OPT])).unwrap();
        let mut out = Vec::new();
        write_response(&mut out, &read, Code::NoError, &[Record::A(Ipv4Addr::new(198, 19, 0, 1))], &[], 300, 512);
        let expected = [
            &[0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 1][..],
            b"\x03web\0\0\x01\0\x01",
            &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 19, 0, 1],
            &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn services_bring_their_addresses() {
        let read = read_query(&query(&wire("_http._tcp.web"), 33, &[])).unwrap();
        let srv = Record::Srv { priority: 0, weight: 1, port: 8080, target: "a.web.".into() };
        let mut out = Vec::new();
        write_response(&mut out, &read, Code::NoError, &[srv], &[("a.web", Record::Aaaa(Ipv6Addr::LOCALHOST))], 5, 512);
        assert_eq!(out[6..12], [0, 1, 0, 0, 0, 1]);
        assert!(out.ends_with(&Ipv6Addr::LOCALHOST.octets()));
        assert!(out.windows(13).any(|w| w == b"\0\0\0\x01\x1f\x90\x01a\x03web\0"));
    }

    #[test]
    fn answers_that_do_not_fit_are_truncated_as_a_whole() {
        let many = vec![Record::A(Ipv4Addr::LOCALHOST); 40];
        for edns in [&[][..], &[OPT]] {
            let read = read_query(&query(&wire("web"), 1, edns)).unwrap();
            for limit in 0..800 {
                let mut out = vec![7];
                write_response(&mut out, &read, Code::NoError, &many, &[("x", many[0].clone())], 5, limit);
                let truncated = out[3] & 2 != 0;
                assert_eq!(u16::from_be_bytes([out[7], out[8]]), if truncated { 0 } else { 40 });
                assert!(out.len() - 1 <= limit.max(64));
            }
        }
    }

    #[test]
    fn names_that_dns_cannot_carry_are_left_out() {
        let read = read_query(&query(&wire("web"), 12, &[])).unwrap();
        let long = "a".repeat(64);
        let mut out = Vec::new();
        write_response(
            &mut out,
            &read,
            Code::NoError,
            &[Record::Ptr(long.clone()), Record::Ptr("a..b".into()), Record::Ptr("ok".into())],
            &[(&long, Record::A(Ipv4Addr::LOCALHOST))],
            5,
            512,
        );
        assert_eq!(out[6..12], [0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn reverse_names_are_addresses() {
        assert_eq!(reverse_address("4.3.2.1.in-addr.arpa"), Some("1.2.3.4".parse().unwrap()));
        let v6 = format!("1.{}ip6.arpa", "0.".repeat(31));
        assert_eq!(reverse_address(&v6), Some("::1".parse().unwrap()));
        for bad in ["", "1.in-addr.arpa", "0.ip6.arpa", "x.3.2.1.in-addr.arpa", "web", ".ip6.arpa"] {
            assert_eq!(reverse_address(bad), None);
        }
    }

    #[test]
    fn a_failure_has_only_a_header() {
        let mut out = Vec::new();
        write_failure(&mut out, 7, Code::Refused);
        assert_eq!(out, [0, 7, 0x80, 0x85, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

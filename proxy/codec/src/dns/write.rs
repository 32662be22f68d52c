//! Answers to bytes (RFC 1035 4.1, RFC 2782). What does not fit is truncated as a whole, never in the middle of a record.

use super::{
    CLASS_INTERNET, Code, MAX_LABEL, MAX_NAME, MAX_TTL, OUR_UDP_SIZE, Query, RECURSION_DESIRED, RESPONSE, Record,
    TYPE_OPT,
};

const HEADER: usize = 12;
const OPT_SIZE: usize = 11;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_AVAILABLE: u16 = 0x0080;

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

pub(super) fn write_name(out: &mut Vec<u8>, name: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::read::read_query;
    use super::super::read::tests::{OPT, query, wire};
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

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
    fn a_failure_has_only_a_header() {
        let mut out = Vec::new();
        write_failure(&mut out, 7, Code::Refused);
        assert_eq!(out, [0, 7, 0x80, 0x85, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

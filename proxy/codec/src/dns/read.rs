//! A query's bytes to a question (RFC 1035 4.1, RFC 6891 6.1), and a reverse name to its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Code, Invalid, Kind, MAX_LABEL, OUR_UDP_SIZE, Query, RECURSION_DESIRED, RESPONSE, TYPE_OPT};

const MAX_WIRE_NAME: usize = 255;
/// Records after the question that are looked at.
const MAX_ADDITIONAL: u16 = 8;
const OPCODE: u16 = 0x7800;

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
pub(super) mod tests {
    use super::super::write::write_name;
    use super::*;

    pub fn wire(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(write_name(&mut out, name));
        out
    }

    pub fn query(name: &[u8], kind: u16, additional: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional.len() as u8];
        out.extend_from_slice(name);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend(additional.concat());
        out
    }

    pub const OPT: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];

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
    fn reverse_names_are_addresses() {
        assert_eq!(reverse_address("4.3.2.1.in-addr.arpa"), Some("1.2.3.4".parse().unwrap()));
        let v6 = format!("1.{}ip6.arpa", "0.".repeat(31));
        assert_eq!(reverse_address(&v6), Some("::1".parse().unwrap()));
        for bad in ["", "1.in-addr.arpa", "0.ip6.arpa", "x.3.2.1.in-addr.arpa", "web", ".ip6.arpa"] {
            assert_eq!(reverse_address(bad), None);
        }
    }
}

//! What is read from a certificate: its one name, whether it says what it is for, and until when it is valid.

use rules::identity::Identity;
use rustls::pki_types::CertificateDer;

use super::der::{self, Reader};

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.37
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// The fields of a leaf that decide anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// `None` unless there is exactly one subject alternative name, and it is of a form we accept.
    pub name: Option<Identity>,
    pub has_extended_key_usage: bool,
    /// Big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub not_before: u64,
    pub not_after: u64,
}

/// The client's or server's verified name, given the chain a finished handshake verified: the leaf's one subject
/// alternative name (seams §1), never its CN. `None` when there is no certificate or not exactly one name.
pub fn peer_identity(certs: &[CertificateDer<'_>]) -> Option<Identity> {
    leaf(certs.first()?)?.name
}

/// `None` when the bytes are not a certificate.
pub fn leaf(certificate: &CertificateDer<'_>) -> Option<Leaf> {
    let mut body = Reader::new(certificate).enter(der::SEQUENCE)?.enter(der::SEQUENCE)?;
    body.expect(der::context(0))?;
    let serial = unsigned(body.expect(der::INTEGER)?);
    body.expect(der::SEQUENCE)?;
    body.expect(der::SEQUENCE)?;
    let mut validity = body.enter(der::SEQUENCE)?;
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    body.expect(der::SEQUENCE)?;
    body.expect(der::SEQUENCE)?;
    body.expect(der::context_string(1));
    body.expect(der::context_string(2));
    let (mut names, mut usages) = (Vec::new(), 0);
    if let Some(mut extensions) = body.enter(der::context(3)) {
        let mut extensions = extensions.enter(der::SEQUENCE)?;
        while let Some(mut extension) = extensions.enter(der::SEQUENCE) {
            let id = extension.expect(der::OID)?;
            extension.expect(0x01);
            let value = extension.expect(der::OCTET_STRING)?;
            match id {
                SUBJECT_ALT_NAME => names.push(value),
                EXTENDED_KEY_USAGE => usages += 1,
                _ => {}
            }
        }
        extensions.is_empty().then_some(())?;
    }
    let name = match names[..] {
        [value] => only_name(value),
        _ => None,
    };
    Some(Leaf { name, has_extended_key_usage: usages == 1, serial, not_before, not_after })
}

/// Without the zeros that keep a large number from being a negative one.
fn unsigned(integer: &[u8]) -> Vec<u8> {
    integer.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// The serial number of the leaf of a verified chain: big-endian, without leading zeros.
pub fn peer_serial(certs: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    Some(leaf(certs.first()?)?.serial)
}

/// The one general name in a subjectAltName value (RFC 5280 §4.2.1.6).
fn only_name(value: &[u8]) -> Option<Identity> {
    let mut names = Reader::new(value).enter(der::SEQUENCE)?;
    let (tag, content) = names.any()?;
    if !names.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    match tag {
        tag if tag == der::context_string(2) => is_dns_like(text).then(|| Identity::Dns(text.into())),
        tag if tag == der::context_string(6) => is_spiffe(text).then(|| Identity::Uri(text.into())),
        _ => None,
    }
}

/// Letters, digits, `-`, `_`, `.`: no NUL, no wildcard, nothing a log or a header could trip over.
fn is_dns_like(name: &str) -> bool {
    let clean = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    clean && (1..=253).contains(&name.len())
}

fn is_spiffe(uri: &str) -> bool {
    let named = uri.strip_prefix("spiffe://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    named && uri.len() <= 2048 && uri.bytes().all(|byte| byte.is_ascii_graphic())
}

/// UTCTime or GeneralizedTime in the forms RFC 5280 §4.1.2.5 allows, as seconds since the Unix epoch.
fn time(reader: &mut Reader<'_>) -> Option<u64> {
    let (tag, text) = reader.any()?;
    let (year, rest) = match tag {
        der::UTC_TIME => {
            let year = digits(text, 0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        der::GENERALIZED_TIME => (digits(text, 0, 4)?, text.get(4..)?),
        _ => return None,
    };
    let (month, day) = (digits(rest, 0, 2)?, digits(rest, 2, 2)?);
    let (hour, minute, second) = (digits(rest, 4, 2)?, digits(rest, 6, 2)?, digits(rest, 8, 2)?);
    let valid = rest.get(10..)? == b"Z" && (1..=12).contains(&month) && (1..=31).contains(&day);
    (valid && year >= 1970 && hour < 24 && minute < 60 && second < 60).then_some(())?;
    Some(days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn digits(text: &[u8], from: usize, count: usize) -> Option<u64> {
    let digits = text.get(from..from + count)?;
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

/// Proleptic Gregorian calendar; `year` from 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tag: u8, text: &str) -> Option<u64> {
        time(&mut Reader::new(&der::element(tag, &[text.as_bytes()])))
    }

    #[test]
    fn times_are_read_in_both_forms_and_nothing_else() {
        assert_eq!(at(der::UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(der::GENERALIZED_TIME, "20240229123456Z"), Some(1_709_210_096));
        assert_eq!(at(der::UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        for text in ["20240229123456", "202402291234Z", "20240229123456+0100", "20241329123456Z", "2024022912345aZ"] {
            assert_eq!(at(der::GENERALIZED_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn a_name_counts_only_alone_and_clean() {
        let names = |names: &[(u8, &[u8])]| {
            let all: Vec<Vec<u8>> = names.iter().map(|(tag, name)| der::element(*tag, &[name])).collect();
            only_name(&der::element(der::SEQUENCE, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        assert_eq!(names(&[(0x82, b"web.default")]), Some(Identity::Dns("web.default".into())));
        assert_eq!(names(&[(0x86, b"spiffe://td/web")]), Some(Identity::Uri("spiffe://td/web".into())));
        for bad in [
            &[(0x82, &b"a"[..]), (0x82, b"a")][..],
            &[(0x82, b"a"), (0x86, b"spiffe://td/a")],
            &[(0x82, b"a\0b")],
            &[(0x82, b"*.a")],
            &[(0x82, b"")],
            &[(0x86, b"https://td/web")],
            &[(0x86, b"spiffe:///web")],
            &[(0x87, &[127, 0, 0, 1])],
            &[(0x81, b"a@b")],
            &[],
        ] {
            assert_eq!(names(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn certificates_with_changed_or_missing_bytes_do_no_harm() {
        let issued = crate::testing::authority().issue(crate::testing::LeafOptions::of(&Identity::Dns("web".into())));
        let good = issued.chain[0].to_vec();
        assert_eq!(leaf(&issued.chain[0]).and_then(|leaf| leaf.name), Some(Identity::Dns("web".into())));
        for at in 0..good.len() {
            assert_eq!(leaf(&CertificateDer::from(&good[..at])), None);
            for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                leaf(&CertificateDer::from(bytes));
            }
        }
    }
}

//! Seeds and words, read from `corpus/*.txt`: one per line, as text with `\xNN`, `\r`, `\n`, `\t`, `\\`; a line that begins
//! with `+` is a word to put into inputs; `#` begins a remark.

/// What mutation starts from.
#[derive(Default)]
pub struct Corpus {
    pub seeds: Vec<Vec<u8>>,
    pub words: Vec<Vec<u8>>,
}

/// Which files feed which target.
const FILES: &[(&str, &[&str])] = &[
    ("detect", &[HTTP1, TLS, HTTP2]),
    ("client_hello", &[TLS]),
    ("transport_header", &[TRANSPORT]),
    ("transport_header_structured", &[PROTOBUF]),
    ("authority", &[AUTHORITY]),
    ("dns", &[DNS]),
    ("hpack", &[HPACK]),
    ("http1_requests", &[HTTP1]),
    ("http1_responses", &[RESPONSES]),
    ("http1_chunks", &[CHUNKS]),
    ("http2_server", &[HTTP2]),
    ("http2_client", &[HTTP2]),
    ("http2_frames", &[SCRIPTS]),
    ("http2_to_http1", &[FIELDS]),
    ("wire_server", &[WIRE]),
    ("wire_policy", &[WIRE]),
    ("wire_endpoints", &[WIRE]),
    ("wire_profile", &[WIRE]),
    ("wire_names", &[WIRE]),
    ("wire_trust", &[WIRE]),
];

const HTTP1: &str = include_str!("../corpus/http1.txt");
const RESPONSES: &str = include_str!("../corpus/responses.txt");
const CHUNKS: &str = include_str!("../corpus/chunks.txt");
const HTTP2: &str = include_str!("../corpus/http2.txt");
const SCRIPTS: &str = include_str!("../corpus/scripts.txt");
const FIELDS: &str = include_str!("../corpus/fields.txt");
const HPACK: &str = include_str!("../corpus/hpack.txt");
const TLS: &str = include_str!("../corpus/tls.txt");
const TRANSPORT: &str = include_str!("../corpus/transport.txt");
const PROTOBUF: &str = include_str!("../corpus/protobuf.txt");
const WIRE: &str = include_str!("../corpus/wire.txt");
const AUTHORITY: &str = include_str!("../corpus/authority.txt");
const DNS: &str = include_str!("../corpus/dns.txt");

impl Corpus {
    pub fn of(target: &str) -> Corpus {
        let mut corpus = Corpus::default();
        let files = FILES.iter().filter(|(name, _)| *name == target).flat_map(|(_, files)| files.iter());
        for line in files.flat_map(|file| file.lines()).filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match line.strip_prefix('+') {
                Some(word) => corpus.words.push(bytes(word)),
                None => corpus.seeds.push(bytes(line)),
            }
        }
        corpus
    }
}

/// Undoes the escapes of a line; an unknown escape stands for itself.
fn bytes(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        match rest {
            [b'x', a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digit = |c: &u8| (*c as char).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(a) << 4 | digit(b));
                rest = after;
            }
            [escape, after @ ..] => {
                out.push(match escape {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                });
                rest = after;
            }
            [] => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds() {
        for (name, _) in crate::targets::all() {
            assert!(!Corpus::of(name).seeds.is_empty(), "{name}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(bytes(r"a\r\n\x00\xff\\\0"), b"a\r\n\0\xff\\\0");
    }
}

//! The ClientHello, read without TLS: who is called (SNI) and which protocols are offered (ALPN). Verifies nothing.

/// Largest ClientHello that is waited for.
pub const MAX_HELLO: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek<'a> {
    /// So far it could be a ClientHello; at most [`MAX_HELLO`] bytes are asked for.
    More,
    NotTls,
    Hello(Hello<'a>),
}

/// Slices point into the peeked bytes. A hello that is split over several records has no slices: both are `None`, and
/// `split` is set; its SNI is then known only to a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hello<'a> {
    /// A syntactically valid DNS name as sent.
    pub sni: Option<&'a str>,
    /// The raw ALPN list; see [`Hello::offers`].
    pub alpn: Option<&'a [u8]>,
    pub split: bool,
}

impl Hello<'_> {
    /// Whether the client offers this protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        let Some(alpn) = self.alpn else { return false };
        let mut list = Bytes(alpn);
        while let Some(name) = list.vector8() {
            if name == protocol {
                return true;
            }
        }
        false
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEAD: usize = 5;
const HANDSHAKE_HEAD: usize = 4;
/// A record fragment of more than 2^14 bytes is not TLS (RFC 8446 5.1).
const MAX_RECORD: usize = 1 << 14;
const EXTENSION_SNI: u16 = 0;
const EXTENSION_ALPN: u16 = 16;

/// Looks at the first bytes of a connection without using any.
pub fn peek_client_hello(input: &[u8]) -> Peek<'_> {
    // Record: type, version 3.x, length; then handshake: type, 24-bit length.
    let wrong = |at: usize, range: std::ops::RangeInclusive<u8>| input.get(at).is_some_and(|b| !range.contains(b));
    if wrong(0, HANDSHAKE..=HANDSHAKE) || wrong(1, 3..=3) || wrong(2, 0..=4) {
        return Peek::NotTls;
    }
    let [_, _, _, high, low, rest @ ..] = input else { return Peek::More };
    let record = usize::from(u16::from_be_bytes([*high, *low]));
    if record == 0 || record > MAX_RECORD {
        return Peek::NotTls;
    }
    match rest {
        [] => return Peek::More,
        [kind, ..] if *kind != CLIENT_HELLO => return Peek::NotTls,
        _ if record < HANDSHAKE_HEAD => return Peek::Hello(Hello { split: true, ..Hello::default() }),
        _ => {}
    }
    let [_, a, b, c, body @ ..] = rest else { return Peek::More };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > record - HANDSHAKE_HEAD || RECORD_HEAD + record > MAX_HELLO {
        return Peek::Hello(Hello { split: true, ..Hello::default() });
    }
    match body.get(..length) {
        None => Peek::More,
        Some(body) => hello(body).map_or(Peek::NotTls, Peek::Hello),
    }
}

/// The ClientHello structure (RFC 8446 4.1.2). `None` when its lengths do not fit together.
fn hello(body: &[u8]) -> Option<Hello<'_>> {
    let mut body = Bytes(body);
    body.take(2 + 32)?;
    body.vector8()?;
    body.vector16()?;
    body.vector8()?;
    let mut found = Hello::default();
    if body.0.is_empty() {
        return Some(found);
    }
    let mut extensions = Bytes(body.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let data = extensions.vector16()?;
        match kind {
            EXTENSION_SNI if found.sni.is_none() => found.sni = host_name(data)?,
            EXTENSION_ALPN if found.alpn.is_none() => found.alpn = Some(protocols(data)?),
            // An extension twice is an illegal hello; what it means is not ours to guess.
            EXTENSION_SNI | EXTENSION_ALPN => return None,
            _ => {}
        }
    }
    body.0.is_empty().then_some(found)
}

/// The host name of a server name list (RFC 6066 3); names of other types are skipped.
fn host_name(data: &[u8]) -> Option<Option<&str>> {
    let mut data = Bytes(data);
    let mut list = Bytes(data.vector16()?);
    let mut name = None;
    while !list.0.is_empty() {
        let kind = list.take(1)?[0];
        let value = list.vector16()?;
        if kind == 0 && name.is_none() {
            name = std::str::from_utf8(value).ok().filter(|text| is_dns_name(text));
        }
    }
    data.0.is_empty().then_some(name)
}

fn protocols(data: &[u8]) -> Option<&[u8]> {
    let mut data = Bytes(data);
    let list = data.vector16()?;
    let mut names = Bytes(list);
    while !names.0.is_empty() {
        names.vector8().filter(|name| !name.is_empty())?;
    }
    data.0.is_empty().then_some(list)
}

fn is_dns_name(text: &str) -> bool {
    let fits = |label: &str| (1..=63).contains(&label.len());
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253
        && name.split('.').all(fits)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// A cursor; every method takes from the front or takes nothing.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }

    fn number16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector16(content: &[u8]) -> Vec<u8> {
        [&(content.len() as u16).to_be_bytes()[..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(0, &vector16(&[&[0][..], &vector16(name)].concat()))
    }

    fn alpn(names: &[&[u8]]) -> Vec<u8> {
        let list: Vec<u8> = names.iter().flat_map(|n| [&[n.len() as u8][..], n].concat()).collect();
        extension(16, &vector16(&list))
    }

    fn record(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(vector16(&[0x13, 1]));
        body.extend([1, 0]);
        body.extend(vector16(&extensions.concat()));
        let mut handshake = vec![1, 0];
        handshake.extend(vector16(&body));
        [&[22, 3, 1][..], &vector16(&handshake)].concat()
    }

    #[test]
    fn the_name_and_the_protocols_are_found() {
        let bytes =
            record(&[extension(43, &[2, 3, 4]), sni(b"web.default.svc"), alpn(&[b"h2", b"transport.l5d.io/v1"])]);
        let Peek::Hello(hello) = peek_client_hello(&bytes) else { panic!() };
        assert_eq!(hello.sni, Some("web.default.svc"));
        assert!(hello.offers(b"h2") && hello.offers(b"transport.l5d.io/v1") && !hello.offers(b"h"));
    }

    #[test]
    fn every_prefix_asks_for_more() {
        let bytes = record(&[sni(b"web"), alpn(&[b"h2"])]);
        for cut in 0..bytes.len() {
            assert_eq!(peek_client_hello(&bytes[..cut]), Peek::More, "{cut}");
        }
    }

    #[test]
    fn an_address_or_garbage_is_no_name() {
        for name in [&b"\xff\xfe"[..], b"", b"a..b", b".a", b"a b", &[b'a'; 64]] {
            let bytes = record(&[sni(name)]);
            let Peek::Hello(hello) = peek_client_hello(&bytes) else { panic!() };
            assert_eq!(hello.sni, None);
        }
    }

    #[test]
    fn what_is_not_tls_is_known_from_the_first_wrong_byte() {
        for bytes in [
            &b"GET"[..],
            b"\x15",
            b"\x16\x02",
            b"\x16\x03\x05",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\0\x10\x02",
        ] {
            assert_eq!(peek_client_hello(bytes), Peek::NotTls, "{}", bytes.escape_ascii());
        }
        let mut broken = record(&[sni(b"web")]);
        let last = broken.len() - 4;
        broken[last] = 99;
        assert_eq!(peek_client_hello(&broken), Peek::NotTls);
        assert_eq!(peek_client_hello(&record(&[sni(b"a"), sni(b"b")])), Peek::NotTls);
        assert_eq!(peek_client_hello(&record(&[alpn(&[b""])])), Peek::NotTls);
    }

    #[test]
    fn a_hello_over_several_records_is_tls_without_slices() {
        let split = Peek::Hello(Hello { split: true, ..Hello::default() });
        assert_eq!(peek_client_hello(b"\x16\x03\x01\0\x01\x01"), split);
        assert_eq!(peek_client_hello(b"\x16\x03\x01\0\x10\x01\0\x10\0"), split);
    }
}

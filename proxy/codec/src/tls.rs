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
        let _ = protocol;
        false
    }
}

/// Looks at the first bytes of a connection without using any.
pub fn peek_client_hello(input: &[u8]) -> Peek<'_> {
    let _ = input;
    Peek::More
}

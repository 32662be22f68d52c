//! The target of a request, read once: the same value is matched, counted and logged (security §1.4).
//!
//! Bytes are forwarded as they came; nothing here decodes or rewrites them.

/// A request target in origin form: path and query. Copyable, points into the connection's buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    path: &'a [u8],
    query: Option<&'a [u8]>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Every server reads the same path from these bytes.
    Canonical,
    /// Begins with `/`, but servers may disagree on which resource it names.
    Ambiguous,
    /// `*`, of `OPTIONS`.
    Asterisk,
    /// No path at all.
    NotPath,
}

impl<'a> Path<'a> {
    /// `target`: the value of `:path`, or what follows the authority in an HTTP/1 request target.
    pub fn parse(target: &'a [u8]) -> Path<'a> {
        let (path, query) = match target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        let form = match path {
            b"*" if query.is_none() => Form::Asterisk,
            [b'/', ..] if is_canonical(path) && query.is_none_or(is_plain_query) => Form::Canonical,
            [b'/', ..] => Form::Ambiguous,
            _ => Form::NotPath,
        };
        Path { path, query, form }
    }

    /// Without the query.
    pub fn path(&self) -> &'a [u8] {
        self.path
    }

    /// Without `?`; empty when there is none.
    pub fn query(&self) -> &'a [u8] {
        self.query.unwrap_or_default()
    }

    /// Whether it begins with `/` or is `*`: anything else is refused whatever the policy (security A-30).
    pub fn is_path(&self) -> bool {
        self.form != Form::NotPath
    }

    /// Whether policy may be decided on it (security A-31): unchanged by RFC 3986 §6.2.2 normalisation, without empty
    /// segments, `;` parameters, encoded slash, backslash or control characters, and UTF-8 when decoded.
    pub fn is_canonical(&self) -> bool {
        matches!(self.form, Form::Canonical | Form::Asterisk)
    }

    /// Service and method of `/service/method`, the only form a gRPC request may have (security A-30).
    pub fn grpc(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.form != Form::Canonical || self.query.is_some() {
            return None;
        }
        let rest = self.path.strip_prefix(b"/")?;
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (service, method) = (&rest[..slash], &rest[slash + 1..]);
        (!service.is_empty() && !method.is_empty() && !method.contains(&b'/')).then_some((service, method))
    }
}

impl std::fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({self})", self.form)
    }
}

/// The path without its query (which may hold secrets), everything that is not plain text escaped, at most 256 bytes.
impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path[..self.path.len().min(256)].escape_ascii())
    }
}

/// `path` begins with `/`.
fn is_canonical(path: &[u8]) -> bool {
    let mut rest = path;
    let mut segment = 0;
    let mut dots = 0;
    let mut utf8 = Utf8::default();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match *byte {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return false };
                let Some(decoded) = decode(*high, *low) else { return false };
                if !may_be_encoded(decoded) || !utf8.push(decoded) {
                    return false;
                }
                rest = tail;
                segment += 1;
                continue;
            }
            _ if !utf8.is_whole() => return false,
            b'/' => {
                // The first slash ends no segment; any other must end one that is neither empty nor dots.
                let first = rest.len() + 1 == path.len();
                if !first && (segment == 0 || (dots == segment && dots <= 2)) {
                    return false;
                }
                (segment, dots) = (0, 0);
            }
            byte if is_path_byte(byte) => {
                segment += 1;
                dots += usize::from(byte == b'.');
            }
            _ => return false,
        }
    }
    // An empty last segment is a trailing slash.
    utf8.is_whole() && !(segment > 0 && dots == segment && dots <= 2)
}

/// pchar of RFC 3986 §3.3 less `;`, whose parameters some servers cut off.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Normalisation decodes unreserved characters; slash, backslash and controls are where servers disagree.
fn may_be_encoded(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !unreserved && !byte.is_ascii_control() && byte != b'/' && byte != b'\\'
}

/// Two upper-case hexadecimal digits: normalisation upper-cases them.
fn decode(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// No fragment and nothing unprintable: a query decides nothing unless a rule asks for it.
fn is_plain_query(query: &[u8]) -> bool {
    query.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// Whether decoded bytes are UTF-8 (RFC 3629: no overlong forms, no surrogates).
#[derive(Default)]
struct Utf8 {
    bytes: [u8; 4],
    have: usize,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> bool {
        if self.have == 0 && byte < 0x80 {
            return true;
        }
        if self.have == 4 {
            return false;
        }
        self.bytes[self.have] = byte;
        self.have += 1;
        match std::str::from_utf8(&self.bytes[..self.have]) {
            Ok(_) => {
                self.have = 0;
                true
            }
            Err(error) => error.error_len().is_none(),
        }
    }

    fn is_whole(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(target: &str) -> bool {
        Path::parse(target.as_bytes()).is_canonical()
    }

    #[test]
    fn ordinary_paths_are_canonical() {
        for target in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/.well-known/x",
            "/...",
            "/a..b/..c",
            "/caf%C3%A9",
            "/a%20b",
            "/u/a%40b",
            "/a:b@c",
            "/a?x=%2e%2e/../;",
            "/%25",
            "*",
            "/%F0%9F%98%80",
        ] {
            assert!(canonical(target), "{target}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_not() {
        for target in [
            "/a/../b",
            "/..",
            "/.",
            "/a/.",
            "/./a",
            "//",
            "//b",
            "/a//b",
            "/%2e%2e/",
            "/%2E",
            "/a%2Fb",
            "/a%2fb",
            "/%5C",
            "/a\\b",
            "/.;/",
            "/x;y/b",
            "/a;",
            "/a#b",
            "/a?b#c",
            "/%00",
            "/a%0A",
            "/%C0%AF",
            "/%E0%80%AF",
            "/%ED%A0%80",
            "/%C3",
            "/%C3/a",
            "/%C3x",
            "/%",
            "/%4",
            "/%GG",
            "/%41",
            "/caf%c3%a9",
            "/caf\u{e9}",
            "/a b",
            "/a\0",
            "/a\"",
            "/{x}",
            "/%F8%88%80%80%80",
        ] {
            assert!(!canonical(target), "{target}");
            assert!(Path::parse(target.as_bytes()).is_path(), "{target}");
        }
    }

    #[test]
    fn what_does_not_begin_with_a_slash_is_no_path() {
        for target in ["", "a", "pkg.Svc/M", "http://x/", "?x", "**", "*?"] {
            assert!(!Path::parse(target.as_bytes()).is_path(), "{target}");
        }
    }

    #[test]
    fn a_grpc_path_is_a_service_and_a_method() {
        let path = Path::parse(b"/pkg.Svc/M");
        assert_eq!(path.grpc(), Some((&b"pkg.Svc"[..], &b"M"[..])));
        for target in [
            "pkg.Svc/M",
            "//pkg.Svc/M",
            "/pkg.Svc/M/",
            "/pkg.Svc/M?x",
            "/pkg.Svc/M?",
            "*",
            "",
            "/pkg.Svc",
            "/pkg.Svc/",
            "/a/b/c",
            "/a/..",
        ] {
            assert_eq!(Path::parse(target.as_bytes()).grpc(), None, "{target}");
        }
    }

    #[test]
    fn the_query_is_split_off_and_never_shown() {
        let path = Path::parse(b"/a\x1b?token=secret");
        assert_eq!((path.path(), path.query()), (&b"/a\x1b"[..], &b"token=secret"[..]));
        assert_eq!(path.to_string(), "/a\\x1b");
    }
}

//! Between HTTP/1 and HTTP/2: authorities, `l5d-orig-proto`, and which fields may cross.
//!
//! Only values: what a sidecar does with them is the engine's business. Writers ([`crate::h1::write`],
//! [`crate::h2::Connection`]) already drop what cannot be said in their protocol and supply what it needs.

use crate::head::{Form, Known, Request, Response, Version};
use crate::text::{decimal, eq_ignore_case, is_host, trim};

/// Name of the field in which sidecars tell each other the original HTTP/1 version (reference 2.6).
pub const ORIG_PROTO: &[u8] = b"l5d-orig-proto";

/// Value of `l5d-orig-proto` for an HTTP/1 request that travels over HTTP/2; `None` for HTTP/2.
///
/// The engine sends it as an `extra` field. Requests with [`Request::upgrade`] are never sent over HTTP/2.
pub fn orig_proto(head: &Request<'_>) -> Option<&'static [u8]> {
    Some(match (head.version, head.form) {
        (Version::Http2, _) => return None,
        (Version::Http11, Form::Absolute) => b"HTTP/1.1; absolute-form",
        (Version::Http11, _) => b"HTTP/1.1",
        (Version::Http10, Form::Absolute) => b"HTTP/1.0; absolute-form",
        (Version::Http10, _) => b"HTTP/1.0",
    })
}

/// Value of `l5d-orig-proto` for a response that came in HTTP/1; `None` for HTTP/2.
pub fn orig_proto_of_response(head: &Response<'_>) -> Option<&'static [u8]> {
    match head.version {
        Version::Http2 => None,
        Version::Http11 => Some(b"HTTP/1.1"),
        Version::Http10 => Some(b"HTTP/1.0"),
    }
}

/// Undoes the upgrade of a request that a peer sidecar sent: removes the field and restores version and form.
///
/// Returns whether the request is HTTP/1. Call it only for peers with a verified identity; for anybody else strip every
/// [`Known::Mesh`] field instead. An unknown value leaves the request HTTP/2.
pub fn restore_request(head: &mut Request<'_>) -> bool {
    let value = head.fields.get(ORIG_PROTO);
    head.fields.remove(ORIG_PROTO);
    let Some((version, absolute)) = value.and_then(parse_orig_proto) else { return false };
    head.version = version;
    if absolute && head.form == Form::Origin {
        head.form = Form::Absolute;
    }
    true
}

/// Undoes the upgrade of a response: removes the field and restores the version the application spoke.
pub fn restore_response(head: &mut Response<'_>) -> bool {
    let value = head.fields.get(ORIG_PROTO);
    head.fields.remove(ORIG_PROTO);
    let Some((version, _)) = value.and_then(parse_orig_proto) else { return false };
    head.version = version;
    true
}

fn parse_orig_proto(value: &[u8]) -> Option<(Version, bool)> {
    let mut parts = value.splitn(2, |b| *b == b';');
    let version = match trim(parts.next()?) {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    match parts.next().map(trim) {
        None => Some((version, false)),
        Some(b"absolute-form") => Some((version, true)),
        Some(_) => None,
    }
}

/// Removes every field that only sidecars may speak (`l5d-*`, `gossamer-client-*`); call it on what came from an application or stranger.
pub fn strip_mesh_fields(head: &mut Request<'_>) -> bool {
    head.fields.remove_known(Known::Mesh)
}

/// Host (without brackets) and port of an authority. Userinfo is never part of one: the parsers refuse it.
pub fn split_authority(authority: &[u8]) -> (&[u8], Option<u16>) {
    if let [b'[', rest @ ..] = authority {
        let Some(end) = rest.iter().position(|b| *b == b']') else { return (authority, None) };
        let port = rest[end + 1..].strip_prefix(b":").and_then(port_of);
        return (&rest[..end], port);
    }
    match authority.iter().rposition(|b| *b == b':') {
        Some(at) => (&authority[..at], port_of(&authority[at + 1..])),
        None => (authority, None),
    }
}

fn port_of(text: &[u8]) -> Option<u16> {
    decimal(text).and_then(|port| u16::try_from(port).ok())
}

/// An authority that may be routed by: a name, an IPv4 address or a bracketed IPv6 address without zone, with an
/// optional port. No userinfo, no blanks, no characters that a URI gives another meaning (security ).
pub fn is_authority(authority: &[u8]) -> bool {
    let port = match authority {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            let address = &rest[..end];
            if address.is_empty() || !address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
                return false;
            }
            &rest[end + 1..]
        }
        _ => {
            let host = authority.iter().position(|b| !is_host(*b)).unwrap_or(authority.len());
            if host == 0 || host > 255 {
                return false;
            }
            &authority[host..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && port_of(digits).is_some(),
        _ => false,
    }
}

/// Two authorities that mean the same host and port under `http` (default port 80 may be left out).
pub fn same_authority(a: &[u8], b: &[u8]) -> bool {
    let strip = |authority: &[u8]| authority.strip_suffix(b":80").map_or(authority.len(), <[u8]>::len);
    eq_ignore_case(&a[..strip(a)], &b[..strip(b)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Fields, StoredFields};

    #[test]
    fn authorities_split_into_host_and_port() {
        assert_eq!(split_authority(b"web:80"), (&b"web"[..], Some(80)));
        assert_eq!(split_authority(b"web"), (&b"web"[..], None));
        assert_eq!(split_authority(b"[::1]:8080"), (&b"::1"[..], Some(8080)));
        assert_eq!(split_authority(b"[::1]"), (&b"::1"[..], None));
        assert_eq!(split_authority(b"web:99999").1, None);
    }

    #[test]
    fn authorities_that_could_be_read_two_ways_are_refused() {
        for good in [&b"a"[..], b"a:1", b"a.b_c-d~e:65535", b"1.2.3.4", b"[::1]", b"[::ffff:1.2.3.4]:80"] {
            assert!(is_authority(good), "{}", good.escape_ascii());
        }
        let bad = [
            &b""[..],
            b":80",
            b"a:",
            b"a:65536",
            b"a:+80",
            b"a:80:80",
            b"u@a",
            b"u:p@a",
            b"a b",
            b"a,b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"[",
            b"[]",
            b"[::1",
            b"[fe80::1%25eth0]",
            b"[::1]x",
            b"[::1]:",
            b"::1",
            b"a%2eb",
            b"a\x80",
            b"a\0",
            b"a\t",
            b"a:000080",
        ];
        for bad in bad {
            assert!(!is_authority(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn host_names_have_a_length() {
        assert!(is_authority(&[b'a'; 255]) && !is_authority(&[b'a'; 256]));
    }

    #[test]
    fn a_response_gets_its_version_back() {
        let mut stored = StoredFields::default();
        stored.store(&Fields::default(), &[(b"L5d-Orig-Proto", b"HTTP/1.0")]);
        let mut response = Response { version: Version::Http2, fields: stored.view(), ..Response::default() };
        assert!(restore_response(&mut response));
        assert_eq!((response.version, response.fields.len()), (Version::Http10, 0));
        assert_eq!(orig_proto_of_response(&response), Some(&b"HTTP/1.0"[..]));
        assert!(!restore_response(&mut response));
    }

    #[test]
    fn the_original_protocol_survives_the_round_trip() {
        for (version, form) in [
            (Version::Http11, Form::Origin),
            (Version::Http11, Form::Absolute),
            (Version::Http10, Form::Origin),
            (Version::Http10, Form::Absolute),
        ] {
            let sent = Request { version, form, ..Request::default() };
            let mut stored = StoredFields::default();
            stored.store(&Fields::default(), &[(ORIG_PROTO, orig_proto(&sent).unwrap())]);
            let mut received = Request { version: Version::Http2, fields: stored.view(), ..Request::default() };
            assert!(restore_request(&mut received));
            assert_eq!((received.version, received.form, received.fields.len()), (version, form, 0));
        }
    }

    #[test]
    fn an_unknown_original_protocol_is_dropped() {
        for value in [&b"HTTP/2"[..], b"", b"http/1.1", b"HTTP/1.1; x", b"HTTP/1.1;absolute-form;"] {
            let mut stored = StoredFields::default();
            stored.store(&Fields::default(), &[(ORIG_PROTO, value)]);
            let mut received = Request { version: Version::Http2, fields: stored.view(), ..Request::default() };
            assert!(!restore_request(&mut received));
            assert_eq!((received.version, received.fields.len()), (Version::Http2, 0));
        }
    }
}

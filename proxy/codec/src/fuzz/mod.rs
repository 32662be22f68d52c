//! Entry points for fuzzing: each takes any bytes and must neither panic, loop nor break the law it states. Each says
//! whether it understood them, which tells how good the inputs are.

mod http1;
mod http2;

use crate::{detect, dns, tls, translate, transport_header};
use http1::{fuzz_http1_chunks, fuzz_http1_requests, fuzz_http1_responses};
use http2::{fuzz_hpack, fuzz_http2_client, fuzz_http2_frames, fuzz_http2_server, fuzz_http2_to_http1};

/// One entry: its name and its function.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("detect", fuzz_detect),
    ("client_hello", fuzz_client_hello),
    ("transport_header", fuzz_transport_header),
    ("transport_header_structured", fuzz_transport_header_structured),
    ("authority", fuzz_authority),
    ("dns", fuzz_dns),
    ("hpack", fuzz_hpack),
    ("http1_requests", fuzz_http1_requests),
    ("http1_responses", fuzz_http1_responses),
    ("http1_chunks", fuzz_http1_chunks),
    ("http2_server", fuzz_http2_server),
    ("http2_client", fuzz_http2_client),
    ("http2_frames", fuzz_http2_frames),
    ("http2_to_http1", fuzz_http2_to_http1),
];

/// A verdict never changes when more bytes come.
pub fn fuzz_detect(data: &[u8]) -> bool {
    let whole = detect::detect(data);
    let half = detect::detect(&data[..data.len() / 2]);
    assert!(half == detect::Detected::More || half == whole);
    matches!(whole, detect::Detected::Http1 | detect::Detected::Http2)
}

pub fn fuzz_client_hello(data: &[u8]) -> bool {
    let half = tls::peek_client_hello(&data[..data.len() / 2]);
    let whole = tls::peek_client_hello(data);
    if let tls::Peek::Hello(hello) = whole {
        hello.offers(transport_header::ALPN);
        assert!(hello.sni.is_none_or(|name| name.len() <= 254));
    }
    assert!(half == tls::Peek::More || half == whole);
    matches!(whole, tls::Peek::Hello(_))
}

/// What is read can be written and is read again as the same.
pub fn fuzz_transport_header(data: &[u8]) -> bool {
    let Ok(Some((used, header))) = transport_header::read(data) else { return false };
    assert!(used <= data.len());
    let mut out = Vec::new();
    transport_header::write(&mut out, &header);
    assert!(transport_header::read(&out) == Ok(Some((out.len(), header))));
    true
}

/// The same behind a valid preface and length.
pub fn fuzz_transport_header_structured(data: &[u8]) -> bool {
    let mut framed = transport_header::PREFACE.to_vec();
    framed.extend_from_slice(&(data.len() as u32).to_be_bytes());
    framed.extend_from_slice(data);
    fuzz_transport_header(&framed)
}

/// What is accepted as an authority splits into a host and a port that make it up.
pub fn fuzz_authority(data: &[u8]) -> bool {
    let (host, port) = translate::split_authority(data);
    let accepted = translate::is_authority(data);
    if accepted {
        assert!(!host.is_empty() && host.len() <= data.len());
        assert!(!host.iter().any(|b| matches!(b, b'@' | b'/' | b'?' | b'#' | b'\\' | b' ' | b',' | b'%')));
        assert!(port.is_some() || !host.contains(&b':') || data[0] == b'[');
        assert!(translate::same_authority(data, data));
    }
    accepted
}

pub fn fuzz_dns(data: &[u8]) -> bool {
    let mut out = Vec::new();
    match dns::read_query(data) {
        Ok(query) => {
            assert!(query.name.len() <= dns::MAX_NAME + 1);
            dns::reverse_address(&query.name);
            let answers = [
                dns::Record::Ptr(query.name.clone()),
                dns::Record::Srv { priority: 1, weight: 2, port: 3, target: query.name.clone() },
            ];
            let limit = query.udp_size.into();
            dns::write_response(
                &mut out,
                &query,
                dns::Code::NoError,
                &answers,
                &[(&query.name, answers[0].clone())],
                9,
                limit,
            );
            assert!(out.len() <= limit);
        }
        Err(dns::Invalid { id: Some(id), code }) => dns::write_failure(&mut out, id, code),
        Err(_) => {}
    }
    out.len() > 12
}

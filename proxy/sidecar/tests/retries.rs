//! Retries and time limits through two sidecars: what the application gets, how often, and what the client is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::h1::*;
use common::*;
use rules::outbound::{Backoff, OutboundPolicy, Protocol, Retry, Rule, Timeouts};

/// Named statuses are worth three retries.
fn retry() -> Retry {
    Retry {
        max_retries: 3,
        max_request_bytes: 64 * 1024,
        status_ranges: vec![(500, 599)],
        grpc_codes: vec![],
        timeout: None,
        backoff: Some(Backoff { min: Duration::from_millis(5), max: Duration::from_millis(20), jitter: 1.0 }),
    }
}

/// Every rule of the policy, changed.
fn with_rules(mut policy: OutboundPolicy, change: impl Fn(&mut Rule<rules::route::HttpMatch>)) -> OutboundPolicy {
    if let Protocol::Detect { http1, http2, .. } = &mut policy.protocol {
        for http in [http1, http2] {
            let mut routes = http.routes.to_vec();
            routes.iter_mut().flat_map(|route| &mut route.rules).for_each(&change);
            http.routes = routes.into();
        }
    }
    policy
}

fn retrying(retry: Retry, timeouts: Timeouts) -> impl Fn(OutboundPolicy) -> OutboundPolicy {
    let retry = Arc::new(retry);
    move |policy| {
        with_rules(policy, |rule| {
            rule.retry = Some(retry.clone());
            rule.timeouts = timeouts;
        })
    }
}

/// Fails the first `failures` requests by `fail`, then says how long their bodies were; and counts all of them.
fn flaky(
    failures: usize,
    fail: impl Fn(&mut std::net::TcpStream) -> bool + Send + Sync + 'static,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let address = common::h1::origin(move |request, stream| {
        if seen.fetch_add(1, Ordering::SeqCst) < failures {
            return fail(stream);
        }
        let trailers: usize = request.trailers.len();
        let text = format!("{} {trailers} {}", request.body.len(), request.body.iter().all(|byte| *byte == b'x'));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).is_ok()
    });
    (address, count)
}

fn unavailable(stream: &mut std::net::TcpStream) -> bool {
    stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy").is_ok()
}

fn post(length: usize) -> Vec<u8> {
    let mut request = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.extend(std::iter::repeat_n(b'x', length));
    request
}

#[test]
fn a_request_that_failed_with_a_named_status_is_said_again_with_its_whole_body() {
    for length in [0, 10, 64 * 1024] {
        let (origin, count) = flaky(2, unavailable);
        let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
        let mut client = Client::new(client.connect(service(1)));
        for turn in 0..3 {
            let response = client.ask(&post(length));
            assert_eq!((response.status(), response.text()), (200, format!("{length} 0 true")), "{length} {turn}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 5, "two were said again");
    }
}

#[test]
fn chunks_and_trailers_are_said_again() {
    let (origin, count) = flaky(2, unavailable);
    let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
    let mut client = Client::new(client.connect(service(1)));
    client.send(b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nxxx\r\n");
    std::thread::sleep(Duration::from_millis(30));
    let response = client.ask(b"2\r\nxx\r\n0\r\nX-Sum: 42\r\n\r\n");
    assert_eq!((response.status(), response.text()), (200, "5 1 true".to_owned()));
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn the_last_failure_is_the_caller_s_and_there_are_no_more_attempts_than_allowed() {
    let (origin, count) = flaky(usize::MAX, unavailable);
    let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
    let response = Client::new(client.connect(service(1))).ask(&post(3));
    assert_eq!((response.status(), response.text()), (503, "busy".to_owned()));
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn a_status_that_nobody_named_is_passed_on_at_once() {
    let (origin, count) = flaky(1, unavailable);
    let named = Retry { status_ranges: vec![(500, 502), (504, 599)], ..retry() };
    let (client, _server) = pair(origin, retrying(named, Timeouts::default()));
    assert_eq!(Client::new(client.connect(service(1))).ask(&post(3)).status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_beyond_what_is_kept_is_said_only_once() {
    let (origin, count) = flaky(1, unavailable);
    let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
    let mut connection = Client::new(client.connect(service(1)));
    assert_eq!(connection.ask(&post(64 * 1024 + 1)).status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let mut chunked = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..70 {
        chunked.extend(b"400\r\n");
        chunked.extend([b'x'; 1024]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let (origin, count) = flaky(1, unavailable);
    let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
    assert_eq!(Client::new(client.connect(service(1))).ask(&chunked).status(), 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn an_attempt_cut_off_by_the_application_is_repeated_only_where_the_route_names_what_it_becomes() {
    for (ranges, expected, times) in [(vec![(500, 599)], 200, 2), (vec![(503, 503)], 502, 1)] {
        let (origin, count) = flaky(1, |_| false);
        let named = Retry { status_ranges: ranges, ..retry() };
        let (client, _server) = pair(origin, retrying(named, Timeouts::default()));
        assert_eq!(Client::new(client.connect(service(1))).ask(&post(3)).status(), expected);
        assert_eq!(count.load(Ordering::SeqCst), times);
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up_for_another() {
    let (origin, count) = flaky(1, |stream| {
        std::thread::sleep(Duration::from_secs(12));
        unavailable(stream)
    });
    let impatient = Retry { timeout: Some(Duration::from_millis(150)), status_ranges: vec![], ..retry() };
    let (client, _server) = pair(origin, retrying(impatient, Timeouts::default()));
    let started = Instant::now();
    let response = Client::new(client.connect(service(1))).ask(&post(3));
    assert_eq!((response.status(), count.load(Ordering::SeqCst)), (200, 2));
    assert!((150..8_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn the_time_of_the_whole_request_is_not_renewed_by_retries() {
    let (origin, count) = flaky(usize::MAX, |stream| {
        std::thread::sleep(Duration::from_secs(12));
        unavailable(stream)
    });
    let impatient = Retry { timeout: Some(Duration::from_millis(100)), max_retries: 100, ..retry() };
    let limits = Timeouts { request: Some(Duration::from_millis(500)), ..Timeouts::default() };
    let (client, _server) = pair(origin, retrying(impatient, limits));
    let started = Instant::now();
    let response = Client::new(client.connect(service(1))).ask(&post(3));
    assert_eq!(response.status(), 504);
    assert!(response.get("l5d-proxy-error").unwrap().starts_with("application: timeout"));
    assert!((500..8_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!((2..=5).contains(&count.load(Ordering::SeqCst)), "{count:?}");
}

/// Answers slowly: the head at once, then a byte every `pause`.
fn dripping(pause: Duration) -> std::net::SocketAddr {
    common::h1::origin(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n").unwrap();
        for _ in 0..40 {
            std::thread::sleep(pause);
            if stream.write_all(b".").is_err() {
                return false;
            }
        }
        true
    })
}

fn limited(timeouts: Timeouts) -> impl Fn(OutboundPolicy) -> OutboundPolicy {
    move |policy| with_rules(policy, |rule| rule.timeouts = timeouts)
}

#[test]
fn the_time_of_a_response_ends_it_in_the_middle_visibly() {
    for timeouts in [
        Timeouts { response: Some(Duration::from_millis(300)), ..Timeouts::default() },
        Timeouts { request: Some(Duration::from_millis(300)), ..Timeouts::default() },
    ] {
        let (client, _server) = pair(dripping(Duration::from_millis(100)), limited(timeouts));
        let mut client = Client::new(client.connect(service(1)));
        let started = Instant::now();
        client.send(&post(3));
        assert_eq!(client.receive_head().unwrap().status(), 200);
        assert!(client.rest().len() < 40);
        assert!((300..3_500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }
}

#[test]
fn only_a_stream_that_stands_still_is_idle() {
    let idle = Timeouts { idle: Some(Duration::from_millis(400)), ..Timeouts::default() };
    let (client, _server) = pair(dripping(Duration::from_millis(20)), limited(idle));
    let response = Client::new(client.connect(service(1))).ask(&post(3));
    assert_eq!(response.text().len(), 40, "it takes longer than the limit and moves all the time");
    let (client, _server) = pair(dripping(Duration::from_secs(12)), limited(idle));
    let mut client = Client::new(client.connect(service(1)));
    client.send(&post(3));
    assert_eq!(client.receive_head().unwrap().status(), 200);
    let started = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(started.elapsed() < Duration::from_secs(9));
}

#[test]
fn retries_are_counted_by_route_and_apart_from_what_the_caller_saw() {
    let (origin, _) = flaky(2, unavailable);
    let (client, _server) = pair(origin, retrying(retry(), Timeouts::default()));
    let mut connection = Client::new(client.connect(service(1)));
    assert_eq!(connection.ask(&post(3)).status(), 200);
    assert_eq!(connection.ask(&post(3)).status(), 200);
    let text = telemetry::prometheus::render(&client.metrics, &telemetry::prometheus::Process::default(), 0);
    let value = |name: &str, label: &str| {
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    assert_eq!(value("outbound_http_route_retry_requests_total", ""), Some(2), "{text}");
    assert_eq!(value("outbound_http_route_retry_successes_total", ""), Some(1));
    assert_eq!(value("outbound_http_route_retry_limit_exceeded_total", ""), None);
    assert_eq!(value("outbound_http_route_request_statuses_total", "http_status=\"200\""), Some(2));
    assert_eq!(value("outbound_http_route_request_statuses_total", "http_status=\"503\""), None);
    assert_eq!(value("request_total", "outbound"), Some(4), "{text}");
}

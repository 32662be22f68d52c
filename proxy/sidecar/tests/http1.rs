//! HTTP/1 through one sidecar (plain) and through two (over a shared HTTP/2 link): what the application sees, and what
//! the client gets, is what it would be without them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use common::h1::*;
use common::*;

/// Runs a test without and with a second sidecar.
fn both_ways(program: SocketAddr, test: impl Fn(&dyn Fn() -> Client)) {
    let alone = Sidecar::start(CLIENT, World::default());
    test(&|| Client::new(alone.connect(program)));
    let (client, _server) = pair(program, |policy| policy);
    test(&|| Client::new(client.connect(service(1))));
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        for turn in 0..3 {
            let response =
                client.ask(b"GET /a/b?c=d HTTP/1.1\r\nHost: web:80\r\nX-One: 1\r\nx-two: 2\r\nX-One: 3\r\n\r\n");
            assert_eq!(response.status(), 200, "turn {turn}");
            let text = response.text().to_lowercase();
            assert!(text.starts_with("get /a/b?c=d http/1.1\n"), "{text}");
            for field in ["host: web:80", "x-one: 1", "x-two: 2", "x-one: 3"] {
                assert!(text.contains(field), "{field} in {text}");
            }
            assert!(text.find("x-one: 1").unwrap() < text.find("x-one: 3").unwrap());
            assert!(!text.contains("l5d-orig-proto"));
            assert!(response.fields.iter().all(|(name, _)| !name.to_lowercase().starts_with("l5d-")), "{response:?}");
            assert_eq!(response.get("x-origin"), Some("mirror"));
        }
    });
}

#[test]
fn bodies_pass_with_a_length_and_in_chunks_with_trailers() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        let response = client.ask(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 11\r\n\r\nhello world");
        assert!(response.text().ends_with("\n\nhello world"), "{}", response.text());
        client.send(
            b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n",
        );
        std::thread::sleep(Duration::from_millis(20));
        let response = client.ask(b"6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n");
        assert!(response.text().to_lowercase().ends_with("\n\nhello world\nx-sum: 42"), "{}", response.text());
    });
}

#[test]
fn chunked_responses_and_their_trailers_pass() {
    let origin = origin(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(10));
        stream.write_all(b"2\r\nde\r\n0\r\nX-End: yes\r\n\r\n").unwrap();
        true
    });
    both_ways(origin, |connect| {
        let mut client = connect();
        for _ in 0..2 {
            let response = client.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
            assert_eq!(response.text(), "abcde");
            assert_eq!(response.trailers.len(), 1, "{response:?}");
            assert!(response.trailers[0].0.eq_ignore_ascii_case("x-end"));
        }
    });
}

#[test]
fn a_head_response_has_a_length_and_no_body() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        client.send(b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\n");
        let response = client.receive_head().unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.get("content-length").unwrap().parse::<u32>().unwrap() > 10);
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").status(), 200);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        let requests: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: web\r\n\r\n")).collect();
        client.send(requests.as_bytes());
        for n in 0..20 {
            assert!(client.receive().unwrap().text().starts_with(&format!("GET /{n} ")), "request {n}");
        }
    });
}

#[test]
fn expect_continue_is_answered_by_the_application() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        client.send(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.receive().unwrap().status(), 100);
        assert!(client.ask(b"body").text().ends_with("\n\nbody"));
    });
}

#[test]
fn a_client_of_http_1_0_gets_its_connection_closed() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        let response = client.ask(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n");
        assert_eq!(response.status(), 200);
        assert!(response.text().starts_with("GET / HTTP/1.0\n"), "{}", response.text());
        assert_eq!(client.rest(), b"");
    });
}

#[test]
fn a_response_that_ends_with_its_connection_is_whole() {
    let origin = origin(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap();
        false
    });
    both_ways(origin, |connect| {
        assert_eq!(connect().ask(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").text(), "until the end");
    });
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let origin = program(|mut stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        let request = read_head(&mut reader).unwrap();
        assert_eq!(request.get("upgrade"), Some("echo"));
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nfirst")
            .unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count) = reader.read(&mut buffer) {
            if count == 0 {
                break;
            }
            stream.write_all(&buffer[..count]).unwrap();
        }
        stream.write_all(b"last").unwrap();
    });
    both_ways(origin, |connect| {
        let mut client = connect();
        client.send(b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly");
        assert_eq!(client.receive_head().unwrap().status(), 101);
        assert_eq!(client.read_exact(5), b"first");
        assert_eq!(client.read_exact(5), b"early");
        client.send(b"ping");
        assert_eq!(client.read_exact(4), b"ping");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"last");
    });
}

#[test]
fn an_application_that_is_down_is_named_as_the_author() {
    let nobody = listen().local_addr().unwrap();
    both_ways(nobody, |connect| {
        let response = connect().ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(response.status(), 502);
        assert_eq!(response.get("l5d-proxy-error"), Some("application: refused"));
    });
}

#[test]
fn an_application_that_resets_is_named_as_the_author() {
    let breaker = origin(|_, stream| {
        rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
        false
    });
    both_ways(breaker, |connect| {
        let response = connect().ask(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(response.status(), 502);
        let error = response.get("l5d-proxy-error").unwrap();
        assert!(error.starts_with("application: "), "{error}");
    });
}

#[test]
fn an_error_of_the_application_carries_no_mark() {
    let failing = origin(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nl5d-proxy-error: outbound: forged\r\n\r\nbusy")
            .unwrap();
        true
    });
    both_ways(failing, |connect| {
        let response = connect().ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!((response.status(), response.text().as_str()), (503, "busy"));
        assert_eq!(response.get("l5d-proxy-error"), None);
    });
}

#[test]
fn a_dead_control_plane_is_named_as_the_author() {
    let client = Sidecar::start(CLIENT, World { dead: true, ..World::default() });
    let response = Client::new(client.connect(mirror())).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 503);
    assert!(response.get("l5d-proxy-error").unwrap().starts_with("control-plane: no-policy"));
}

#[test]
fn a_refused_request_says_so_and_never_reaches_the_application() {
    let touched = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = touched.clone();
    let secret = program(move |_| seen.store(true, std::sync::atomic::Ordering::SeqCst));
    let world = World { inbound: [(secret.port(), only("somebody.else"))].into(), ..World::default() };
    let server = Sidecar::start(SERVER, world);
    let world = World { outbound: [(service(1), to(server.endpoint(secret)))].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    let mut client = Client::new(client.connect(service(1)));
    for _ in 0..2 {
        let response = client.ask(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(response.status(), 403);
        assert!(response.get("l5d-proxy-error").unwrap().starts_with("inbound: unauthorized"));
        if response.get("connection") == Some("close") {
            break;
        }
    }
    assert!(!touched.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn the_application_is_told_who_calls_and_nobody_can_say_it_for_another() {
    let (client, _server) = pair(mirror(), |policy| policy);
    let mut client = Client::new(client.connect(service(1)));
    let response = client.ask(b"GET / HTTP/1.1\r\nHost: web\r\nL5d-Client-Id: root\r\nl5d-client-id: admin\r\n\r\n");
    let text = response.text().to_lowercase();
    assert!(text.contains(&format!("l5d-client-id: {CLIENT}")), "{text}");
    assert_eq!(text.matches("l5d-client-id").count(), 1, "{text}");
}

#[test]
fn contradictory_lengths_are_refused() {
    both_ways(mirror(), |connect| {
        let mut client = connect();
        let response = client
            .ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(response.status(), 400);
        assert_eq!(client.rest(), b"");
    });
}

#[test]
fn no_endpoint_is_told_after_the_queue_s_time() {
    let world = World {
        outbound: [(service(1), balanced("web"))].into(),
        endpoints: [("web".to_owned(), vec![])].into(),
        ..World::default()
    };
    let client = Sidecar::start(CLIENT, world);
    let started = std::time::Instant::now();
    let response = Client::new(client.connect(service(1))).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 503);
    assert!(response.get("l5d-proxy-error").unwrap().starts_with("application: no-endpoints"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn requests_are_balanced_and_an_endpoint_that_is_down_is_passed_over() {
    let (one, two) = (mirror(), mirror());
    let dead = listen().local_addr().unwrap();
    let server = Sidecar::start(SERVER, World::default());
    let mut gone = server.endpoint(one);
    gone.address.set_ip([127, 0, 0, 9].into());
    gone.inbound_port = Some(dead.port());
    let world = World {
        outbound: [(service(1), balanced("web"))].into(),
        endpoints: [("web".to_owned(), vec![server.endpoint(one), server.endpoint(two), gone])].into(),
        ..World::default()
    };
    let client = Sidecar::start(CLIENT, world);
    let mut connection = Client::new(client.connect(service(1)));
    for _ in 0..40 {
        assert_eq!(connection.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").status(), 200);
    }
}

#[test]
fn one_connection_to_the_application_serves_many_requests() {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = connections.clone();
    let counting = program(move |mut stream| {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        while read_message(&mut reader, false).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    both_ways(counting, |connect| {
        let before = connections.load(std::sync::atomic::Ordering::SeqCst);
        let mut client = connect();
        for _ in 0..10 {
            assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").text(), "ok");
        }
        assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst) - before, 1);
    });
}

#[test]
fn a_slow_application_is_named_when_the_route_s_time_is_over() {
    let slow = common::h1::origin(|_, stream| {
        std::thread::sleep(Duration::from_secs(15));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let server = Sidecar::start(SERVER, World::default());
    let policy = timed(to(server.endpoint(slow)), Duration::from_millis(300));
    let world = World { outbound: [(service(1), policy)].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    let started = std::time::Instant::now();
    let response = Client::new(client.connect(service(1))).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 504);
    assert!(response.get("l5d-proxy-error").unwrap().starts_with("application: timeout"));
    assert!(started.elapsed() < Duration::from_secs(10), "it waited for the application");
}

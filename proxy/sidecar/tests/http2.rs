//! HTTP/2 and gRPC through one sidecar and through two, spoken by the h2 crate at both ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::*;
use control::handover::News;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};

/// Runs on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time") })
}

type Served = (Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// An HTTP/2 origin: each request is a task.
fn origin<F>(serve: fn(Served) -> F) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listen();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    // On a loaded machine calls are cancelled before this server has begun them.
                    builder.max_concurrent_streams(5_000).max_pending_accept_reset_streams(5_000);
                    let Ok(mut connection) = builder.handshake(stream).await else { return };
                    while let Some(Ok(served)) = connection.accept().await {
                        tokio::spawn(serve(served));
                    }
                });
            }
        });
    });
    address
}

async fn connect(sidecar: &Sidecar, to: SocketAddr) -> SendRequest<Bytes> {
    let stream = sidecar.connect(to);
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    client.ready().await.unwrap()
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://app{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

async fn collect(body: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

async fn send(mut stream: h2::SendStream<Bytes>, mut bytes: Bytes, trailers: Option<HeaderMap>) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else { return };
        let piece = bytes.split_to(room.min(bytes.len()));
        let end = bytes.is_empty() && trailers.is_none();
        if stream.send_data(piece, end).is_err() {
            return;
        }
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).unwrap_or_default();
    }
}

/// Sends everything back with trailers that say its length and what it was told.
async fn echo((request, mut respond): Served) {
    let client = request.headers().get("l5d-client-id").cloned();
    let te = request.headers().get("te").cloned();
    let serial = request.headers().get("gossamer-client-serial").cloned();
    assert!(request.headers().get_all("gossamer-client-serial").iter().count() <= 1);
    let mut body = request.into_body();
    let all = collect(&mut body).await.unwrap_or_default();
    let mut trailers = body.trailers().await.unwrap_or_default().unwrap_or_default();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-length", all.len().into());
    if let Some(client) = client {
        trailers.insert("x-client", client);
    }
    if let Some(serial) = serial {
        trailers.insert("x-serial", serial);
    }
    if let Some(te) = te {
        trailers.insert("x-te", te);
    }
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(stream) = respond.send_response(head, false) else { return };
    send(stream, all.into(), Some(trailers)).await;
}

fn both_ways(program: SocketAddr, test: impl AsyncFn(&Sidecar, SocketAddr)) {
    let alone = Sidecar::start(CLIENT, World::default());
    block_on(test(&alone, program));
    let (client, _server) = pair(program, |policy| policy);
    block_on(test(&client, service(1)));
}

async fn call(
    client: &mut SendRequest<Bytes>,
    path: &str,
    body: Vec<u8>,
) -> (http::response::Parts, Vec<u8>, HeaderMap) {
    *client = client.clone().ready().await.unwrap();
    let (response, stream) = client.send_request(request(path), body.is_empty()).unwrap();
    let sending = async {
        if !body.is_empty() {
            send(stream, body.into(), None).await;
        }
    };
    let ((), response) = tokio::join!(sending, response);
    let (parts, mut body) = response.unwrap().into_parts();
    let all = collect(&mut body).await.unwrap();
    (parts, all, body.trailers().await.unwrap().unwrap_or_default())
}

#[test]
fn a_unary_call_returns_its_message_and_trailers() {
    both_ways(origin(echo), async |sidecar, to| {
        let mut client = connect(sidecar, to).await;
        for length in [1, 1_000, 70_000, 1_000_000] {
            let sent = vec![7; length];
            let (parts, body, trailers) = call(&mut client, "/svc/Echo", sent.clone()).await;
            assert_eq!(parts.status, 200);
            assert!(body == sent, "{length} bytes");
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-length"], length.to_string());
            assert_eq!(trailers["x-te"], "trailers");
        }
    });
}

#[test]
fn the_application_hears_the_caller_s_identity() {
    let (client, _server) = pair(origin(echo), |policy| policy);
    block_on(async {
        let (_, _, trailers) = call(&mut connect(&client, service(1)).await, "/svc/Echo", vec![1]).await;
        assert_eq!(trailers["x-client"], CLIENT);
    });
}

#[test]
fn a_thousand_calls_at_once_all_succeed() {
    both_ways(origin(echo), async |sidecar, to| {
        let client = connect(sidecar, to).await;
        let calls: Vec<_> = (0..1_000usize)
            .map(|number| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let sent = vec![number as u8; 100 + number];
                    let (_, body, trailers) = call(&mut client, "/svc/Echo", sent.clone()).await;
                    assert!(body == sent && trailers["grpc-status"] == "0", "call {number}");
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
}

/// Answers each message at once.
async fn converse((request, mut respond): Served) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        stream.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

#[test]
fn both_directions_of_a_stream_flow_at_once() {
    both_ways(origin(converse), async |sidecar, to| {
        let mut client = connect(sidecar, to).await;
        let (response, mut stream) = client.send_request(request("/svc/Talk"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for turn in 0..50u8 {
            stream.send_data(Bytes::from(vec![turn; 10]), false).unwrap();
            let answer = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(answer.len()).unwrap();
            assert_eq!(answer, vec![turn; 10]);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn cancelled_calls_leave_nothing_behind() {
    let (client, server) = pair(origin(echo), |policy| policy);
    block_on(async {
        let h2 = connect(&client, service(1)).await;
        let calls: Vec<_> = (0..300u64)
            .map(|number| {
                let mut h2 = h2.clone();
                tokio::spawn(async move {
                    h2 = h2.ready().await.unwrap();
                    let (response, mut stream) = h2.send_request(request("/svc/Echo"), false).unwrap();
                    stream.send_data(vec![1; (number as usize * 331) % 60_000].into(), number % 3 == 0).unwrap();
                    tokio::time::sleep(Duration::from_millis(number % 17)).await;
                    if number % 3 == 0 {
                        let mut body = response.await.unwrap().into_body();
                        assert_eq!(collect(&mut body).await.unwrap().len(), (number as usize * 331) % 60_000);
                    } else {
                        stream.send_reset(h2::Reason::CANCEL);
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
    for sidecar in [client, server] {
        sidecar.tell(News::Drain);
        let started = std::time::Instant::now();
        while !sidecar.engine.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(10), "{} holds on to something", sidecar.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

static CANCELLED: AtomicUsize = AtomicUsize::new(0);

/// Waits for the caller to give up.
async fn hang((_request, mut respond): Served) {
    std::future::poll_fn(|context| respond.poll_reset(context)).await.map(|_| ()).unwrap_or_default();
    CANCELLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_application() {
    let (client, _server) = pair(origin(hang), |policy| policy);
    block_on(async {
        let mut h2 = connect(&client, service(1)).await;
        let (response, mut stream) = h2.send_request(request("/svc/Hang"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if CANCELLED.load(Ordering::SeqCst) == 1 {
                return;
            }
        }
        panic!("the application was not told");
    });
}

async fn refuse((_request, mut respond): Served) {
    respond.send_reset(h2::Reason::INADEQUATE_SECURITY);
}

#[test]
fn a_reset_of_the_application_reaches_the_caller_as_it_was_said() {
    both_ways(origin(refuse), async |sidecar, to| {
        let mut client = connect(sidecar, to).await;
        let (response, _stream) = client.send_request(request("/svc/No"), true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::INADEQUATE_SECURITY));
    });
}

#[test]
fn failures_are_told_to_grpc_in_its_own_words() {
    let denied = {
        let secret = origin(echo);
        let server = Sidecar::start(SERVER, World { inbound: [(secret.port(), only("x"))].into(), ..World::default() });
        let world = World { outbound: [(service(1), to(server.endpoint(secret)))].into(), ..World::default() };
        (Sidecar::start(CLIENT, world), server)
    };
    let down = pair(listen().local_addr().unwrap(), |policy| policy);
    let dead = Sidecar::start(CLIENT, World { dead: true, ..World::default() });
    for (sidecar, status, author) in [
        (&denied.0, "7", "inbound: unauthorized"),
        (&down.0, "14", "application: refused"),
        (&dead, "14", "control-plane: no-policy"),
    ] {
        block_on(async {
            let (parts, _, _) = call(&mut connect(sidecar, service(1)).await, "/svc/Echo", vec![]).await;
            assert_eq!((parts.status.as_u16(), &parts.headers["grpc-status"]), (200, &status.parse().unwrap()));
            let error = parts.headers["l5d-proxy-error"].to_str().unwrap();
            assert!(error.starts_with(author), "{error}");
        });
    }
}

#[test]
fn an_ambiguous_grpc_path_is_refused() {
    let (client, _server) = pair(origin(echo), |policy| policy);
    block_on(async {
        let (parts, _, _) = call(&mut connect(&client, service(1)).await, "//svc/Echo", vec![]).await;
        assert_eq!(parts.headers["grpc-status"], "12");
    });
}

#[test]
fn a_drain_loses_no_call() {
    let (client, server) = pair(origin(echo), |policy| policy);
    let server = Arc::new(server);
    block_on(async {
        let mut h2 = connect(&client, service(1)).await;
        let (response, stream) = h2.send_request(request("/svc/Echo"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.tell(News::Drain);
        tokio::time::sleep(Duration::from_millis(900)).await;
        send(stream, Bytes::from_static(b"still here"), None).await;
        let mut body = response.await.unwrap().into_body();
        assert_eq!(collect(&mut body).await.unwrap(), b"still here");
    });
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        if server.engine.is_finished() {
            return;
        }
    }
    panic!("the drained sidecar did not end");
}

/// An HTTP/2 server on a Unix socket.
fn control_plane(path: &std::path::Path) {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok(served)) = connection.accept().await {
                        tokio::spawn(echo(served));
                    }
                });
            }
        });
    });
}

#[test]
fn a_front_tells_the_control_plane_who_calls() {
    let folder = std::env::temp_dir().join(format!("gossamer-front-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("control.sock");
    let front = Sidecar::front(SERVER, socket.clone());
    let mut endpoint = front.endpoint(front.inbound);
    endpoint.inbound_port = None;
    let world = World { outbound: [(service(1), to(endpoint))].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    block_on(async {
        let mut h2 = connect(&client, service(1)).await;
        let (parts, _, _) = call(&mut h2, "/svc/Echo", vec![]).await;
        assert_eq!(parts.headers["grpc-status"], "14", "nothing listens yet");
        control_plane(&socket);
        let (_, body, trailers) = call(&mut h2, "/svc/Echo", vec![1; 100]).await;
        assert_eq!(body.len(), 100);
        assert_eq!(trailers["x-client"], CLIENT);
        // Of the certificate that was shown, and no other word for it.
        let shown = control::testing::credentials(CLIENT);
        let serial: String = shown.serial.iter().map(|byte| format!("{byte:02x}")).collect();
        client.tell(News::Credentials(shown));
        let mut forged = request("/svc/Echo");
        forged.headers_mut().insert("gossamer-client-serial", "0badc0de".parse().unwrap());
        for _ in 0..50 {
            let (response, stream) = h2.send_request(forged.clone(), false).unwrap();
            send(stream, vec![1; 10].into(), Some(HeaderMap::new())).await;
            let mut body = response.await.unwrap().into_body();
            collect(&mut body).await.unwrap();
            let said = body.trailers().await.unwrap().unwrap()["x-serial"].clone();
            assert_ne!(said, "0badc0de");
            if said == serial.as_str() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the serial of the new certificate was not said");
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn new_credentials_lose_no_call() {
    let (client, _server) = pair(origin(echo), |policy| policy);
    let client = Arc::new(client);
    let renewed = client.clone();
    let renewing = std::thread::spawn(move || {
        for _ in 0..600 {
            renewed.tell(News::Credentials(control::testing::credentials(CLIENT)));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    block_on(async {
        let mut h2 = connect(&client, service(1)).await;
        let mut turns = 0;
        while !renewing.is_finished() || turns < 20 {
            let (_, body, _) = call(&mut h2, "/svc/Echo", vec![7; 5_000]).await;
            assert_eq!(body.len(), 5_000);
            turns += 1;
        }
    });
}

//! A control plane in this process: h2 server, scripted answers, a real authority.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use wire::linkerd::identity::{CertifyRequest, CertifyResponse};

use crate::identity::peer_identity;
use crate::testing::{Authority, LeafOptions, identity};

pub const NAME: &str = "control.gossamer";

/// What a stream says: nothing yet, all messages so far, or an end.
#[derive(Clone, Debug)]
pub enum Script {
    Silence,
    Messages(Vec<Vec<u8>>),
    Status(u32),
}

/// One received call.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub body: Vec<u8>,
    pub peer: Option<String>,
    pub headers: http::HeaderMap,
}

pub struct Plane {
    pub authority: Rc<Authority>,
    /// Who signs; the same authority until a test says otherwise.
    pub issuer: RefCell<Rc<Authority>>,
    pub calls: RefCell<Vec<Call>>,
    /// Life of issued leaves.
    pub life: Cell<Duration>,
    /// `Certify` answers with this code instead, while not 0.
    pub refuse: Cell<u32>,
    /// `Certify` is refused without a token.
    pub insist_on_token: Cell<bool>,
    scripts: RefCell<HashMap<String, watch::Sender<Script>>>,
    connections: RefCell<Vec<AbortHandle>>,
    listener: RefCell<Option<AbortHandle>>,
    leaving: watch::Sender<bool>,
}

impl Plane {
    pub fn new() -> Rc<Plane> {
        Plane::of(Rc::new(Authority::new("fake")))
    }

    /// Replicas share an authority.
    pub fn of(authority: Rc<Authority>) -> Rc<Plane> {
        Rc::new(Plane {
            issuer: RefCell::new(authority.clone()),
            authority,
            calls: RefCell::default(),
            life: Cell::new(Duration::from_secs(3600)),
            refuse: Cell::new(0),
            insist_on_token: Cell::new(false),
            scripts: RefCell::default(),
            connections: RefCell::default(),
            listener: RefCell::default(),
            leaving: watch::channel(false).0,
        })
    }

    /// Serves in the clear on a Unix socket.
    pub fn serve_unix(self: &Rc<Self>, path: &PathBuf) {
        std::fs::remove_file(path).unwrap_or_default();
        let (plane, listener) = (self.clone(), UnixListener::bind(path).unwrap());
        let task = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                plane.clone().keep(spawn_local(plane.clone().connection(stream, None)).abort_handle());
            }
        });
        *self.listener.borrow_mut() = Some(task.abort_handle());
    }

    /// Serves in the clear on loopback.
    pub async fn serve_tcp(self: &Rc<Self>) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, plane) = (listener.local_addr().unwrap(), self.clone());
        let task = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                plane.clone().keep(spawn_local(plane.clone().connection(stream, None)).abort_handle());
            }
        });
        *self.listener.borrow_mut() = Some(task.abort_handle());
        address
    }

    /// Serves mutual TLS on loopback.
    pub async fn serve_tls(self: &Rc<Self>) -> std::net::SocketAddr {
        self.serve_tls_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn serve_tls_at(self: &Rc<Self>, address: std::net::SocketAddr) -> std::net::SocketAddr {
        self.serve_tls_with(address, &self.authority.credentials(NAME)).await
    }

    pub async fn serve_tls_with(
        self: &Rc<Self>,
        address: std::net::SocketAddr,
        credentials: &crate::handover::Credentials,
    ) -> std::net::SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let plane = self.clone();
        let mut config = (*credentials.server).clone();
        config.alpn_protocols.clear();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let task = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (plane, acceptor) = (plane.clone(), acceptor.clone());
                let keeper = plane.clone();
                keeper.keep(
                    spawn_local(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let peer = stream.get_ref().1.peer_certificates().and_then(peer_identity);
                        plane.connection(stream, peer.map(|peer| peer.to_string())).await;
                    })
                    .abort_handle(),
                );
            }
        });
        *self.listener.borrow_mut() = Some(task.abort_handle());
        address
    }

    /// Gone, with every connection.
    pub fn die(&self) {
        self.listener.borrow_mut().take().unwrap().abort();
        self.connections.borrow_mut().drain(..).for_each(|connection| connection.abort());
    }

    /// Tells every open connection that it takes no more calls.
    pub fn go_away(&self) {
        self.leaving.send_replace(true);
    }

    pub fn script(&self, path: &str, key: &str, script: Script) {
        self.scripts
            .borrow_mut()
            .entry(format!("{path} {key}"))
            .or_insert_with(|| watch::channel(Script::Silence).0)
            .send_replace(script);
    }

    pub fn messages(&self, path: &str, key: &str, messages: &[&dyn DynMessage]) {
        let messages = messages.iter().map(|message| message.bytes()).collect();
        self.script(path, key, Script::Messages(messages));
    }

    pub fn count(&self, path: &str) -> usize {
        self.calls.borrow().iter().filter(|call| call.path == path).count()
    }

    pub fn last<M: Message + Default>(&self, path: &str) -> M {
        let calls = self.calls.borrow();
        let call = calls.iter().rev().find(|call| call.path == path).unwrap();
        M::decode(&call.body[..]).unwrap()
    }

    fn keep(&self, handle: AbortHandle) {
        self.connections.borrow_mut().push(handle);
    }

    async fn connection(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: Option<String>) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut leaving = self.leaving.subscribe();
        leaving.mark_unchanged();
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                Ok(()) = leaving.changed() => {
                    connection.graceful_shutdown();
                    continue;
                }
            };
            let Some(Ok((request, respond))) = accepted else { return };
            let (plane, peer) = (self.clone(), peer.clone());
            let task = spawn_local(async move {
                let path = request.uri().path().to_owned();
                let headers = request.headers().clone();
                assert_eq!(request.uri().scheme_str(), Some("http"));
                let mut body = request.into_body();
                let mut read = Vec::new();
                while let Some(Ok(data)) = body.data().await {
                    body.flow_control().release_capacity(data.len()).unwrap();
                    read.extend_from_slice(&data);
                }
                let body = read.split_off(5.min(read.len()));
                plane.calls.borrow_mut().push(Call {
                    path: path.clone(),
                    body: body.clone(),
                    peer: peer.clone(),
                    headers,
                });
                plane.answer(&path, &body, peer, respond).await;
            });
            self.keep(task.abort_handle());
        }
    }

    async fn answer(&self, path: &str, body: &[u8], peer: Option<String>, respond: SendResponse<Bytes>) {
        if path == wire::method::IDENTITY_CERTIFY {
            let request = CertifyRequest::decode(body).unwrap();
            let proven = peer.as_ref() == Some(&request.identity) || !request.token.is_empty();
            let code = match (self.refuse.get(), proven, self.insist_on_token.get() && request.token.is_empty()) {
                (0, true, false) => 0,
                (0, ..) => 16,
                (code, ..) => code,
            };
            return if code == 0 {
                send(respond, &[self.certify(&request).encode_to_vec()], 0)
            } else {
                send(respond, &[], code)
            };
        }
        let key = format!("{path} {}", key(path, body));
        let mut script =
            self.scripts.borrow_mut().entry(key).or_insert_with(|| watch::channel(Script::Silence).0).subscribe();
        follow(respond, &mut script).await;
    }

    fn certify(&self, request: &CertifyRequest) -> CertifyResponse {
        let mut options = LeafOptions::of(&identity(&request.identity));
        options.not_before = SystemTime::now() - Duration::from_secs(10);
        options.not_after = SystemTime::now() + self.life.get();
        let public = Public(point(&request.certificate_signing_request));
        CertifyResponse {
            leaf_certificate: self.issuer.borrow().sign(&public, options).to_vec(),
            intermediate_certificates: vec![],
            valid_until: None,
        }
    }
}

/// What a stream is about, so that scripts can tell streams of one method apart.
fn key(path: &str, body: &[u8]) -> String {
    use wire::linkerd::{destination::GetDestination, inbound::PortSpec, outbound::TrafficSpec};
    match path {
        wire::method::DESTINATION_GET | wire::method::DESTINATION_GET_PROFILE => {
            GetDestination::decode(body).unwrap().path
        }
        wire::method::INBOUND_WATCH_PORT => PortSpec::decode(body).unwrap().port.to_string(),
        wire::method::OUTBOUND_WATCH => match TrafficSpec::decode(body).unwrap().target {
            Some(wire::linkerd::outbound::traffic_spec::Target::Addr(address)) => {
                std::net::SocketAddr::try_from(address).unwrap().to_string()
            }
            _ => panic!("no address"),
        },
        _ => String::new(),
    }
}

fn head() -> http::Response<()> {
    http::Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}

fn trailers(code: u32) -> http::HeaderMap {
    http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.to_string().parse().unwrap())])
}

fn send(mut respond: SendResponse<Bytes>, messages: &[Vec<u8>], code: u32) {
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    for message in messages {
        stream.send_data(framed(message), false).unwrap_or_default();
    }
    stream.send_trailers(trailers(code)).unwrap_or_default();
}

async fn follow(mut respond: SendResponse<Bytes>, script: &mut watch::Receiver<Script>) {
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    let mut sent = 0;
    loop {
        let now = script.borrow_and_update().clone();
        match now {
            Script::Silence => {}
            Script::Messages(messages) => {
                for message in messages.iter().skip(sent) {
                    stream.send_data(framed(message), false).unwrap_or_default();
                }
                sent = messages.len();
            }
            Script::Status(code) => return stream.send_trailers(trailers(code)).unwrap_or_default(),
        }
        tokio::select! {
            changed = script.changed() => if changed.is_err() { return },
            _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => return,
        }
    }
}

/// Lets scripts hold messages of different types.
pub trait DynMessage {
    fn bytes(&self) -> Vec<u8>;
}

impl<M: Message> DynMessage for M {
    fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

struct Public(Vec<u8>);

impl rcgen::PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// The public point in a request we wrote: the one bit string of 66 bytes.
fn point(csr: &[u8]) -> Vec<u8> {
    let at = csr.windows(4).position(|window| window == [0x03, 0x42, 0x00, 0x04]).unwrap();
    csr[at + 3..at + 68].to_vec()
}

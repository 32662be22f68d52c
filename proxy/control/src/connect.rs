//! Reaching the control plane: TCP, TLS on it, or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use settings::ControlAddress;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::skew;
use crate::resolve;

/// A connected byte stream of any kind.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Counts, if it is to, how often the peer refused our certificate.
    Tls(Box<TlsStream<TcpStream>>, Option<watch::Sender<u64>>),
}

/// `:authority` of calls to it.
pub fn authority(address: &ControlAddress) -> String {
    match address {
        ControlAddress::Socket(address) => address.to_string(),
        ControlAddress::Host(host, port) => format!("{host}:{port}"),
        ControlAddress::Unix(_) => "localhost".to_owned(),
    }
}

/// In the clear; settings allow that for local addresses only.
pub async fn plain(address: &ControlAddress, limit: Duration) -> Result<Stream, String> {
    match address {
        ControlAddress::Unix(path) => {
            let connected = within(limit, UnixStream::connect(path)).await;
            connected.map(Stream::Unix).map_err(|error| format!("{}: {error}", path.display()))
        }
        _ => tcp(address, limit).await.map(Stream::Tcp),
    }
}

/// TCP and TLS within one limit, as Linkerd's proxy has it (control-plane §1).
pub async fn tls(
    address: &ControlAddress,
    server_name: &str,
    config: Arc<rustls::ClientConfig>,
    limit: Duration,
    refusals: Option<watch::Sender<u64>>,
) -> Result<Stream, String> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| format!("{server_name}: {error}"))?;
    let begun = tokio::time::Instant::now();
    let tcp = tcp(address, limit).await?;
    let left = limit.saturating_sub(begun.elapsed());
    let secured = within(left, TlsConnector::from(config).connect(name, tcp)).await;
    let explain = |error: io::Error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let text = inner.and_then(skew::of_server).unwrap_or_else(|| error.to_string());
        format!("{}: {text}", authority(address))
    };
    secured.map(|stream| Stream::Tls(Box::new(stream), refusals)).map_err(explain)
}

/// Whether this is the other end's word on our certificate. In TLS 1.3 it comes only after a client thinks that all is well.
fn refuses_us(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let alert = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => return false,
    };
    matches!(
        alert,
        Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::BadCertificate
            | Alert::UnknownCA
    )
}

async fn tcp(address: &ControlAddress, limit: Duration) -> Result<TcpStream, String> {
    let mut failure = "no address".to_owned();
    for candidate in candidates(address).await? {
        match within(limit, TcpStream::connect(candidate)).await.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp)) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failure = format!("{candidate}: {error}"),
        }
    }
    Err(failure)
}

async fn candidates(address: &ControlAddress) -> Result<Vec<SocketAddr>, String> {
    match address {
        ControlAddress::Socket(address) => Ok(vec![*address]),
        ControlAddress::Host(host, port) => {
            let found = resolve::addresses(host).await?;
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect())
        }
        ControlAddress::Unix(path) => Err(format!("{} is not on a network", path.display())),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream, refusals) => {
                let read = Pin::new(stream).poll_read(cx, buf);
                if let (Poll::Ready(Err(error)), Some(refusals)) = (&read, refusals)
                    && refuses_us(error)
                {
                    refusals.send_modify(|refusals| *refusals += 1);
                }
                read
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

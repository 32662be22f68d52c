//! Stream sockets without waiting: connect from a chosen source, read, write, shut down, reset.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Begins to connect from `source`, so that the peer sees the workload's own address.
    pub fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // What is on the loopback cannot be seen from elsewhere, and the other way round.
        let reaches =
            |source: &IpAddr| source.is_ipv4() == to.is_ipv4() && source.is_loopback() == to.ip().is_loopback();
        if let Some(source) = source.filter(reaches) {
            rustix::net::bind(&fd, &SocketAddr::new(source, 0))?;
        }
        Socket::connect_with(fd, to)
    }

    /// Begins to connect a socket made elsewhere (another network namespace).
    pub fn connect_with(fd: OwnedFd, to: SocketAddr) -> io::Result<Socket> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Socket::Tcp(TcpStream::from_std(fd.into())))
    }

    pub fn connect_unix(path: &Path) -> io::Result<Socket> {
        Ok(Socket::Unix(UnixStream::connect(path)?))
    }

    /// One registration for both directions, for the socket's whole life.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => registry.register(stream, token, interest),
            Socket::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => registry.deregister(stream),
            Socket::Unix(stream) => registry.deregister(stream),
        }
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(into),
            Socket::Unix(stream) => stream.read(into),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    /// After a connect: `None` while it is under way, else how it ended.
    pub fn connected(&self) -> Option<io::Result<()>> {
        let (error, peer) = match self {
            Socket::Tcp(stream) => (stream.take_error(), stream.peer_addr().map(|_| ())),
            Socket::Unix(stream) => (stream.take_error(), stream.peer_addr().map(|_| ())),
        };
        match (error, peer) {
            (Ok(Some(error)) | Err(error), _) => Some(Err(error)),
            (Ok(None), Ok(())) => Some(Ok(())),
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => None,
            (Ok(None), Err(error)) => Some(Err(error)),
        }
    }

    /// Says that no more bytes will be written. A socket that is already gone needs no telling.
    pub fn shutdown_write(&self) {
        let done = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        done.unwrap_or_default();
    }

    /// Makes closing this socket a reset, as the peer of a connection that broke must see it.
    pub fn reset_on_close(&self) {
        if let Socket::Tcp(stream) = self {
            sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap_or_default();
        }
    }

    pub fn nodelay(&self) {
        if let Socket::Tcp(stream) = self {
            stream.set_nodelay(true).unwrap_or_default();
        }
    }

    /// Finds a peer that vanished without a word. `None` leaves the system's default.
    pub fn keepalive(&self, idle: Option<Duration>, unacknowledged: Option<Duration>) {
        let Socket::Tcp(stream) = self else { return };
        if let Some(idle) = idle {
            sockopt::set_socket_keepalive(stream, true).unwrap_or_default();
            sockopt::set_tcp_keepidle(stream, idle.max(Duration::from_secs(1))).unwrap_or_default();
            sockopt::set_tcp_keepintvl(stream, idle.max(Duration::from_secs(1))).unwrap_or_default();
        }
        if let Some(limit) = unacknowledged {
            sockopt::set_tcp_user_timeout(stream, limit.as_millis() as u32).unwrap_or_default();
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

//! One socket of the loop: its bytes in both directions, its TLS, and the driver that understands them.

use std::net::SocketAddr;
use std::sync::Arc;

use control::identity::Trust;

use crate::arena::Id;
use crate::drive::Driver;
use crate::pool::Bytes;
use crate::socket::Socket;
use crate::tls::Tls;
use crate::wheel::Tick;

pub type ConnId = Id<Conn>;

/// How far a connection has come. Bytes are delivered to the driver only when it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Connecting,
    Handshaking,
    Open,
}

/// Idle, this is all that a plain connection costs, plus its driver's box.
pub struct Conn {
    pub socket: Socket,
    pub tls: Option<Box<Secure>>,
    pub driver: Driver,
    /// Plaintext that the driver could not use yet.
    pub input: Bytes,
    /// Plaintext on its way to the socket; HTTP/2 keeps its own.
    pub output: Bytes,
    /// When the driver is told that time is up; 0 for never.
    pub deadline: Tick,
    /// The earliest entry in the wheel for this connection; 0 for none.
    pub armed: Tick,
    pub phase: Phase,
    pub flags: Flags,
}

/// TLS and the ciphertext around it.
pub struct Secure {
    pub session: Box<dyn Tls>,
    /// The generation of trust under which the peer was believed, or was found good since.
    pub trust: Arc<Trust>,
    /// The beginning of a record.
    pub received: Bytes,
    /// Records that the socket did not take yet.
    pub sealed: Bytes,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// The driver wants no more bytes for now.
    pub paused: bool,
    /// The socket may hold bytes whose edge is spent: read before waiting.
    pub owed: bool,
    /// The kernel said that the peer closed: a short read is no reason to stop before the end is read.
    pub closing: bool,
    /// The peer ended its direction.
    pub ended: bool,
    /// The driver knows that it ended.
    pub end_told: bool,
    /// The socket took less than was offered; its next writable edge continues.
    pub blocked: bool,
    /// On the list of connections to flush at the end of this turn.
    pub dirty: bool,
    /// Our direction ends when everything is written.
    pub finish: bool,
    pub finished: bool,
    /// Close when everything is written.
    pub close: bool,
    /// Somebody waits for room in `output`.
    pub starved: bool,
    /// The driver was replaced and must see the bytes that wait.
    pub handed_over: bool,
    /// The driver moves 64 KiB a turn instead of 32, because many streams share the socket.
    pub shared: bool,
}

impl Conn {
    pub fn new(socket: Socket, phase: Phase, driver: Driver) -> Conn {
        Conn {
            socket,
            tls: None,
            driver,
            input: Bytes::default(),
            output: Bytes::default(),
            deadline: 0,
            armed: 0,
            phase,
            flags: Flags::default(),
        }
    }

    /// `trust`: what the session's configuration verifies against.
    pub fn secure(&mut self, session: Box<dyn Tls>, trust: Arc<Trust>) {
        self.tls = Some(Box::new(Secure { session, received: Bytes::default(), sealed: Bytes::default(), trust }));
    }

    pub fn peer_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(stream) => stream.peer_addr().ok().map(unmapped),
            Socket::Unix(_) => None,
        }
    }
}

/// `::ffff:a.b.c.d` is a.b.c.d wherever addresses are compared (security A-39).
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_idle_connection_stays_small() {
        assert!(size_of::<super::Conn>() <= 192, "{}", size_of::<super::Conn>());
    }
}

//! Listeners, and the first thing done with each connection: find out where it was going.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};

use crate::conn::{Conn, Phase, unmapped};
use crate::drive::Driver;
use crate::engine::{Engine, Timer};
use crate::intake::{Intake, Way};
use crate::socket::Socket;

/// Accepted from one listener before other connections get their turn.
const BATCH: usize = 64;
/// How long accepting pauses when descriptors ran out; the kernel keeps the queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections the workload opens, redirected here.
    Outbound,
    /// Connections the workload opens to a local port that stands for this destination.
    Forward(SocketAddr),
    /// Connections to the workload: redirected here, or dialled directly by a peer sidecar.
    Inbound,
    /// Plain connections from outside for this port of the workload.
    Published(u16),
    /// Calls of the control plane that this sidecar stands in front of.
    Front,
}

#[derive(Default)]
pub struct Listeners {
    all: Vec<(Kind, TcpListener)>,
    own: Vec<SocketAddr>,
    /// Paused: try all of them when the timer fires.
    paused: bool,
    /// A listener's queue was not empty when its turn was over.
    more: bool,
    closed: bool,
}

impl Listeners {
    /// The socket must be listening and non-blocking.
    pub fn add(&mut self, kind: Kind, socket: std::net::TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.own.push(unmapped(socket.local_addr()?));
        self.all.push((kind, TcpListener::from_std(socket)));
        Ok(())
    }

    pub fn open(&mut self, mut register: impl FnMut(usize, &mut TcpListener) -> io::Result<()>) {
        for (index, (_, listener)) in self.all.iter_mut().enumerate() {
            // A listener that cannot be registered can only mean that memory is out; the others go on.
            register(index, listener).unwrap_or_default();
        }
    }

    pub fn have_more(&self) -> bool {
        self.more
    }

    pub fn take_more(&mut self) -> bool {
        std::mem::take(&mut self.more)
    }

    /// No more connections; those that wait in the kernel go to whoever else holds the socket.
    pub fn close(&mut self) {
        self.closed = true;
        self.all.clear();
    }

    /// A connection to one of our own listeners would come back to us for ever (security A-39).
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == address.ip() || (own.ip().is_unspecified() && address.ip().is_loopback()))
        })
    }
}

impl Listeners {
    /// The application of a workload without a namespace cannot be behind our own inbound port.
    pub fn is_inbound_port(&self, port: u16) -> bool {
        let inbound = |(kind, listener): &(Kind, TcpListener)| {
            *kind == Kind::Inbound && listener.local_addr().is_ok_and(|own| own.port() == port)
        };
        self.all.iter().any(inbound)
    }
}

impl Engine {
    /// A listener has connections.
    pub fn accept(&mut self, index: usize) {
        for _ in 0..BATCH {
            let Some((kind, listener)) = self.listeners.all.get(index) else { return };
            let kind = *kind;
            match listener.accept() {
                Ok((stream, peer)) => self.accepted(kind, stream, unmapped(peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if out_of_descriptors(&error) => return self.pause_accepting(),
                // The connection died in the queue, or a signal came: the next one may be well.
                Err(_) => {}
            }
        }
        self.listeners.more = true;
    }

    fn accepted(&mut self, kind: Kind, stream: TcpStream, peer: SocketAddr) {
        let socket = Socket::Tcp(stream);
        socket.nodelay();
        let outbound = matches!(kind, Kind::Outbound | Kind::Forward(_));
        let side = if outbound { &self.options.outbound_side } else { &self.options.inbound_side };
        socket.keepalive(side.accept_keepalive, side.accept_user_timeout);
        let (way, target) = match kind {
            Kind::Outbound => (Way::Outbound, self.original_destination(&socket)),
            Kind::Forward(target) => (Way::Outbound, Some(target)),
            Kind::Inbound => self.inbound_way(&socket),
            Kind::Published(port) => {
                let workload = self.options.inbound.or(self.local_address(&socket));
                (Way::Published, workload.map(|address| SocketAddr::new(address.ip(), port)))
            }
            Kind::Front => (Way::Front, self.local_address(&socket)),
        };
        // Without a destination nothing can be decided; the connection closes.
        let Some(target) = target else { return };
        if way == Way::Outbound && self.is_canary(&socket, target) {
            return;
        }
        let conn = Conn::new(socket, Phase::Open, Driver::Intake(Box::new(Intake::new(way, target, peer))));
        if let Some(id) = self.adopt(conn) {
            crate::intake::begin(self, id);
        }
    }

    fn original_destination(&self, socket: &Socket) -> Option<SocketAddr> {
        (self.options.original_destination)(socket.as_fd()).map(unmapped).ok()
    }

    fn local_address(&self, socket: &Socket) -> Option<SocketAddr> {
        match socket {
            Socket::Tcp(stream) => stream.local_addr().ok().map(unmapped),
            Socket::Unix(_) => None,
        }
    }

    /// Redirected connections kept their destination; what was dialled to us directly has none but our own address.
    fn inbound_way(&self, socket: &Socket) -> (Way, Option<SocketAddr>) {
        let local = self.local_address(socket);
        match self.original_destination(socket) {
            Some(original) if Some(original) != local && !self.listeners.is_own(original) => {
                (Way::Redirected, Some(original))
            }
            // The application knows nothing of addresses that only the mesh uses.
            _ => (Way::Direct, self.options.inbound.or(local)),
        }
    }

    /// The launcher's self-test: it proves that captured connections really come here.
    fn is_canary(&self, socket: &Socket, target: SocketAddr) -> bool {
        let canary = target == SocketAddr::from(([198, 18, 0, 2], 1));
        if let (true, Socket::Tcp(stream)) = (canary, socket) {
            let mut stream = stream;
            io::Write::write_all(&mut stream, b"gossamer\n").unwrap_or_default();
        }
        canary
    }

    fn pause_accepting(&mut self) {
        if !std::mem::replace(&mut self.listeners.paused, true) {
            self.arm(PAUSE, Timer::Accept);
        }
    }

    /// The edge of a listener was spent while accepting paused: look at each.
    pub fn accept_again(&mut self) {
        self.listeners.paused = false;
        for index in 0..self.listeners.all.len() {
            self.accept(index);
        }
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

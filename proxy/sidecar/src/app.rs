//! Sockets to the workload's own application: from inside its namespace where it has one, else straight to where the
//! connection was going.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use capture::factory::{Client, Family};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use telemetry::Reason;

use crate::engine::{Engine, Task, Waiter};
use crate::failure::Cause;
use crate::socket::Socket;

/// Sockets kept ready, so that a new connection waits for nobody.
const STOCK: usize = 8;

pub enum App {
    /// The address that was called is the application's.
    AsAddressed,
    /// The application listens inside a namespace of its own.
    Inside(Box<Inside>),
}

pub struct Inside {
    factory: Client,
    v4: Vec<OwnedFd>,
    v6: Vec<OwnedFd>,
    /// Sockets asked for and not here yet, per family.
    asked: [usize; 2],
    waiting: VecDeque<Waiter>,
    /// Ports served on ::1 only.
    on_v6: HashSet<u16>,
    /// The factory has ended, and with it the namespace.
    gone: bool,
}

impl App {
    pub fn inside(factory: Client) -> App {
        let inside = Inside {
            factory,
            v4: vec![],
            v6: vec![],
            asked: [0; 2],
            waiting: VecDeque::new(),
            on_v6: HashSet::new(),
            gone: false,
        };
        App::Inside(Box::new(inside))
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if let App::Inside(inside) = self {
            registry.register(&mut SourceFd(&inside.factory.fd().as_raw_fd()), token, Interest::READABLE)?;
            inside.refill(Family::V4);
        }
        Ok(())
    }
}

impl Inside {
    fn stock(&mut self, family: Family) -> (&mut Vec<OwnedFd>, &mut usize) {
        match family {
            Family::V4 => (&mut self.v4, &mut self.asked[0]),
            Family::V6 => (&mut self.v6, &mut self.asked[1]),
        }
    }

    fn refill(&mut self, family: Family) {
        let (stock, asked) = self.stock(family);
        let missing = STOCK.saturating_sub(stock.len() + *asked);
        if missing >= STOCK / 2 && self.factory.request(family, missing).is_ok() {
            *self.stock(family).1 += missing;
        }
    }

    fn take(&mut self, family: Family) -> Option<OwnedFd> {
        let socket = self.stock(family).0.pop();
        self.refill(family);
        socket
    }
}

/// How the application can be connected to.
pub enum Reach {
    Connecting(Socket),
    /// No socket at hand: the waiter is told by `Task::Retry`.
    Wait,
}

impl Engine {
    /// A workload with a namespace has a loopback of its own; the host's is none of its business, unless the mesh lives
    /// there.
    pub fn is_host_loopback(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        let inside = matches!(self.app, App::Inside(_));
        inside && ip.is_loopback() && !self.options.cluster_networks.iter().any(|network| network.contains(ip))
    }

    /// Begins to connect to the application's port.
    pub fn reach_app(&mut self, local: SocketAddr, waiter: Waiter) -> Result<Reach, Cause> {
        let App::Inside(inside) = &mut self.app else {
            if self.listeners.is_inbound_port(local.port()) {
                return Err(Cause::new(Reason::Loop, "the destination is this sidecar"));
            }
            return Socket::connect(local, None).map(Reach::Connecting).map_err(|error| Cause::of(&error));
        };
        let v6 = inside.on_v6.contains(&local.port());
        let (family, loopback): (_, IpAddr) =
            if v6 { (Family::V6, Ipv6Addr::LOCALHOST.into()) } else { (Family::V4, Ipv4Addr::LOCALHOST.into()) };
        let Some(socket) = inside.take(family) else {
            if inside.gone {
                return Err(Cause::new(Reason::Unreachable, "the workload has ended"));
            }
            inside.waiting.push_back(waiter);
            return Ok(Reach::Wait);
        };
        let to = SocketAddr::new(loopback, local.port());
        Socket::connect_with(socket, to).map(Reach::Connecting).map_err(|error| Cause::of(&error))
    }

    /// A connect to the application failed. Whether the other loopback address is worth a try.
    pub fn try_other_loopback(&mut self, port: u16, cause: &Cause) -> bool {
        let App::Inside(inside) = &mut self.app else { return false };
        if inside.on_v6.remove(&port) {
            return false;
        }
        // The next connection begins with ::1; should that fail as well, the one after begins with 127.0.0.1 again.
        cause.reason == Reason::Refused && inside.on_v6.insert(port)
    }

    /// The factory has answered.
    pub fn sockets_arrived(&mut self) {
        let App::Inside(inside) = &mut self.app else { return };
        loop {
            match inside.factory.receive() {
                Ok(Some(batch)) => {
                    let (stock, asked) = inside.stock(batch.family);
                    *asked = 0;
                    stock.extend(batch.sockets);
                }
                Ok(None) => break,
                Err(_) => {
                    inside.gone = true;
                    break;
                }
            }
        }
        for waiter in std::mem::take(&mut inside.waiting) {
            self.later(Task::Retry(waiter));
        }
    }
}

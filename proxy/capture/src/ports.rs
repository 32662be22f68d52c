//! Which ports the program listens on, and how often to look.
//!
//! Asked of the kernel's socket diagnostics for listening sockets alone. Reading `/proc/PID/net/tcp{,6}` says the same but
//! walks the machine's whole table of connections each time (milliseconds); it is the fall-back where diagnostics are
//! not built in. Both work from outside through descriptors opened inside the namespace.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::netlink::{DUMP, Message, Socket};
use crate::rules::{DNS_PORT, OUT_PORT};

/// Ports a program listens on, on any address: one that listens on 127.0.0.1 or ::1 only is reached all the same.
pub type Ports = BTreeSet<u16>;

const SOONEST: Duration = Duration::from_millis(5);
const LATEST: Duration = Duration::from_secs(2);
/// More listeners than this are not looked at.
const MOST: usize = 4096;
const LISTEN: &str = "0A";
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
const FAMILIES: [u8; 2] = [2, 10];
const LISTENING_ONLY: u32 = 1 << 10;

pub struct Discovery {
    diagnostics: Option<Socket>,
    tables: Vec<OwnedFd>,
    /// When the program started or last changed what it listens on.
    since: Instant,
    next: Instant,
    pub listening: Ports,
}

impl Discovery {
    /// `diagnostics` as made by `diagnostics()` inside; `tables` are the two files of `/proc/net`.
    pub fn new(diagnostics: Option<Socket>, tables: Vec<OwnedFd>, now: Instant) -> Self {
        Discovery { diagnostics, tables, since: now, next: now, listening: Ports::new() }
    }

    /// The program runs from now on.
    pub fn start(&mut self, now: Instant) {
        (self.since, self.next) = (now, now);
    }

    pub fn next(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to. True when the set changed.
    pub fn look(&mut self, now: Instant) -> io::Result<bool> {
        if now < self.next {
            return Ok(false);
        }
        let mut found = Ports::new();
        if let Some(socket) = &self.diagnostics {
            if ask(socket, &mut found).is_err() {
                (self.diagnostics, found) = (None, Ports::new());
            }
        }
        if self.diagnostics.is_none() {
            for table in &self.tables {
                read(table, &mut found)?;
            }
        }
        found.retain(|port| ![OUT_PORT, DNS_PORT].contains(port));
        let changed = found != self.listening;
        if changed {
            self.listening = found;
            self.since = now;
        }
        self.next = now + interval(now.saturating_duration_since(self.since));
        Ok(changed)
    }
}

/// Often while a program starts, ever more rarely after: a sixteenth of the time since the last change, so that a
/// listener is found with a delay of at most 6 % of the time it took to appear, and an idle program costs one wake-up
/// in two seconds.
pub fn interval(since: Duration) -> Duration {
    (since / 16).clamp(SOONEST, LATEST)
}

/// The socket to ask through, in the namespace of whoever makes it.
pub fn diagnostics() -> io::Result<Socket> {
    Socket::open(Some(rustix::net::netlink::SOCK_DIAG))
}

fn ask(socket: &Socket, found: &mut Ports) -> io::Result<()> {
    for family in FAMILIES {
        let mut body = vec![family, TCP, 0, 0];
        body.extend_from_slice(&LISTENING_ONLY.to_ne_bytes());
        body.resize(56, 0);
        socket.ask(&Message { kind: SOCK_DIAG_BY_FAMILY, flags: DUMP, body }, |answer| {
            let port = answer.get(4..6).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
            if port != 0 && found.len() < MOST {
                found.insert(port);
            }
        })?;
    }
    Ok(())
}

/// The kernel lists listening sockets first, so a program with many connections costs no more than one with none.
fn read(table: &OwnedFd, found: &mut Ports) -> io::Result<()> {
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    let mut offset = 0;
    loop {
        let count = rustix::io::pread(table, &mut buffer, offset)?;
        text.extend_from_slice(&buffer[..count]);
        offset += count as u64;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let more = parse(&String::from_utf8_lossy(&text[..whole]), found);
        text.drain(..whole);
        if !more || count == 0 || found.len() > MOST {
            return Ok(());
        }
    }
}

/// Adds the ports of listening sockets; false when a socket of another state says that there are no more.
fn parse(text: &str, found: &mut Ports) -> bool {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(number), Some(local), Some(_), Some(state)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if number == "sl" {
            continue;
        }
        if state != LISTEN {
            return false;
        }
        let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        found.extend(port.filter(|port| *port != 0));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn listeners_are_found_and_reading_stops_at_the_first_connection() {
        let text = "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:1F90 00000000:0000 0A 0\n   \
                    1: 00000000000000000000000001000000:0050 0:0000 0A 0\n   2: 0100007F:2000 0100007F:1F90 01 0\n   \
                    3: 0100007F:2001 00000000:0000 0A 0\n";
        let mut found = Ports::new();
        assert!(!parse(text, &mut found));
        assert_eq!(found, Ports::from([80, 8080]));
    }

    fn tables() -> Vec<OwnedFd> {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        tables.iter().filter_map(|path| std::fs::File::open(path).ok().map(OwnedFd::from)).collect()
    }

    fn finds_and_loses(mut discovery: Discovery, start: Instant) {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").ok();
        assert!(discovery.look(start).unwrap());
        let port = v4.local_addr().unwrap().port();
        assert!(discovery.listening.contains(&port));
        if let Some(v6) = &v6 {
            assert!(discovery.listening.contains(&v6.local_addr().unwrap().port()));
        }
        assert!(!discovery.look(start).unwrap(), "looks again only when it is time");
        drop(v4);
        discovery.look(start + Duration::from_secs(1)).unwrap();
        assert!(!discovery.listening.contains(&port));
    }

    #[test]
    fn a_real_listener_on_either_loopback_is_found_and_gone_when_closed() {
        let start = Instant::now();
        finds_and_loses(Discovery::new(None, tables(), start), start);
        match diagnostics() {
            Ok(socket) if ask(&socket, &mut Ports::new()).is_ok() => {
                finds_and_loses(Discovery::new(Some(socket), Vec::new(), start), start);
            }
            _ => println!("skipped: no socket diagnostics in this kernel"),
        }
    }

    #[test]
    fn looking_becomes_rare_and_stays_within_bounds() {
        let mut at = Duration::ZERO;
        let mut looks = 0;
        while at < Duration::from_secs(60) {
            at += interval(at);
            looks += 1;
        }
        assert!((50..150).contains(&looks), "{looks}");
        assert_eq!(interval(Duration::from_secs(3600)), LATEST);
    }
}

//! One connection made inside the namespace to learn one thing: does the sidecar answer the canary, is the program ready.
//!
//! Never blocks: the caller polls the descriptor and calls `advance`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::config::ReadyUrl;

/// No host has this address; only the rules lead it to the sidecar, which answers `CANARY_ANSWER` and closes.
pub const CANARY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 2), 1));
pub const CANARY_ANSWER: &[u8] = b"gossamer\n";
pub const CANARY_PATIENCE: Duration = Duration::from_secs(1);
const READY_PATIENCE: Duration = Duration::from_secs(1);
const STATUS_LINE: usize = 12;

#[derive(Debug)]
enum Expect {
    Canary,
    Status200,
}

/// What a dial found, once it is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Yes,
    No(String),
}

#[derive(Debug)]
pub struct Dial {
    socket: OwnedFd,
    expect: Expect,
    send: Vec<u8>,
    connected: bool,
    received: Vec<u8>,
    pub deadline: Instant,
}

impl Dial {
    /// `socket` is non-blocking and belongs to the namespace to be tested.
    pub fn canary(socket: OwnedFd, now: Instant) -> io::Result<Self> {
        Dial::start(socket, CANARY, Expect::Canary, Vec::new(), now + CANARY_PATIENCE)
    }

    pub fn ready(socket: OwnedFd, url: &ReadyUrl, now: Instant) -> io::Result<Self> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, url.port));
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: localhost:{}\r\nuser-agent: gossamer\r\nconnection: close\r\n\r\n",
            url.path, url.port
        );
        Dial::start(socket, to, Expect::Status200, request.into_bytes(), now + READY_PATIENCE)
    }

    fn start(socket: OwnedFd, to: SocketAddr, expect: Expect, send: Vec<u8>, deadline: Instant) -> io::Result<Self> {
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Dial { socket, expect, send, connected: false, received: Vec::new(), deadline })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn interest(&self) -> PollFlags {
        if self.connected && self.send.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Goes as far as it can; `None` while there is more to wait for.
    pub fn advance(&mut self, now: Instant) -> Option<Found> {
        match self.step() {
            Ok(found @ Some(_)) => found,
            Ok(None) if now >= self.deadline => Some(Found::No("no answer in time".to_owned())),
            Ok(None) => None,
            Err(error) => Some(Found::No(crate::failure::plain(&error))),
        }
    }

    fn step(&mut self) -> io::Result<Option<Found>> {
        if !self.connected {
            rustix::net::sockopt::socket_error(&self.socket)??;
            match rustix::net::getpeername(&self.socket) {
                Ok(_) => self.connected = true,
                Err(Errno::NOTCONN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        while !self.send.is_empty() {
            match rustix::net::send(&self.socket, &self.send, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.send.drain(..sent)),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let wanted = match self.expect {
            Expect::Canary => CANARY_ANSWER.len(),
            Expect::Status200 => STATUS_LINE,
        };
        let mut buffer = [0u8; 64];
        while self.received.len() < wanted {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => break,
                Ok((read, _)) => self.received.extend_from_slice(&buffer[..read]),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(self.verdict()))
    }

    fn verdict(&self) -> Found {
        let good = match self.expect {
            Expect::Canary => self.received.starts_with(CANARY_ANSWER),
            Expect::Status200 => {
                self.received.starts_with(b"HTTP/1.") && self.received.get(8..STATUS_LINE) == Some(b" 200")
            }
        };
        if good { Found::Yes } else { Found::No("another answer than expected".to_owned()) }
    }

    /// Waits for the end of it.
    pub fn wait(mut self) -> Found {
        loop {
            let now = Instant::now();
            if let Some(found) = self.advance(now) {
                return found;
            }
            let left = self.deadline.saturating_duration_since(now);
            let left = rustix::event::Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.socket, self.interest())], left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Found::No(error.to_string()),
            }
        }
    }
}

/// Does the canary answer from where we are? Then this is the inside of a workload's namespace.
pub fn answers_canary(patience: Duration) -> bool {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let now = Instant::now();
    let dial = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
        .map_err(io::Error::from)
        .and_then(|socket| Dial::start(socket, CANARY, Expect::Canary, Vec::new(), now + patience));
    dial.is_ok_and(|dial| dial.wait() == Found::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn socket() -> OwnedFd {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
    }

    fn answered(answer: &'static [u8]) -> Found {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let url = ReadyUrl { port, path: "/".into() };
        let found = Dial::ready(socket(), &url, Instant::now()).unwrap().wait();
        server.join().unwrap();
        found
    }

    #[test]
    fn only_200_is_ready() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\n"), Found::Yes);
        assert!(matches!(answered(b"HTTP/1.1 503 No\r\n\r\n"), Found::No(_)));
        assert!(matches!(answered(b""), Found::No(_)));
    }

    #[test]
    fn nobody_listening_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = ReadyUrl { port: listener.local_addr().unwrap().port(), path: "/".into() };
        drop(listener);
        match Dial::ready(socket(), &url, Instant::now()) {
            Ok(dial) => assert!(matches!(dial.wait(), Found::No(_))),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        }
    }
}

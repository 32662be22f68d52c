//! The line to the control plane: one request, one reply, in order; the open connection is the workload's lease.
//!
//! When it breaks, the client dials again with growing pauses, resumes the registration and says again what is published.
//! It never blocks and holds no decision about *when* something is published.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Longest line either side may send.
const LINE: usize = 64 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Resume,
    Token,
    Listening,
    Withdraw,
    Bye,
}

/// Something the launcher has to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Answered(Asked, Result<String, String>),
    /// The connection broke; everything asked and not answered is forgotten.
    Lost,
    /// Connected again and the registration resumed: say again what is published.
    Resumed,
}

pub struct Agent {
    path: String,
    session: String,
    connection: Option<OwnedFd>,
    resumed: bool,
    asked: VecDeque<Asked>,
    sending: Vec<u8>,
    incoming: Vec<u8>,
    pause: Duration,
    retry: Option<Instant>,
}

impl Agent {
    /// `connection` is already registered.
    pub fn new(connection: OwnedFd, path: &str, session: &str) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&connection, true)?;
        Ok(Agent {
            path: path.to_owned(),
            session: session.to_owned(),
            connection: Some(connection),
            resumed: true,
            asked: VecDeque::new(),
            sending: Vec::new(),
            incoming: Vec::new(),
            pause: SHORTEST_PAUSE,
            retry: None,
        })
    }

    pub fn connected(&self) -> bool {
        self.connection.is_some() && self.resumed
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    pub fn interest(&self) -> PollFlags {
        if self.sending.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    pub fn retry_at(&self) -> Option<Instant> {
        self.retry
    }

    /// Nothing is asked while the connection is down: false.
    pub fn ask(&mut self, asked: Asked, line: &str) -> bool {
        if !self.connected() {
            return false;
        }
        self.queue(asked, line);
        true
    }

    /// Is an answer of this kind outstanding?
    pub fn awaits(&self, asked: Asked) -> bool {
        self.asked.contains(&asked)
    }

    fn queue(&mut self, asked: Asked, line: &str) {
        self.asked.push_back(asked);
        self.sending.extend_from_slice(line.as_bytes());
        self.sending.push(b'\n');
    }

    /// Writes, reads, and dials again when it is time to. `jitter` is any number, to spread reconnects.
    pub fn advance(&mut self, now: Instant, jitter: u32, events: &mut Vec<Event>) {
        if self.connection.is_none() && self.retry.is_some_and(|retry| now >= retry) {
            self.retry = None;
            match dial(&self.path) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    let line = format!("resume {}", self.session);
                    self.queue(Asked::Resume, &line);
                }
                Err(_) => self.pause(now, jitter),
            }
        }
        if self.connection.is_some() && self.exchange(events).is_err() {
            self.lose(now, jitter, events);
        }
    }

    fn exchange(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.flush()?;
        while self.read()? {
            if self.incoming.len() > LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.lines(events)?;
        }
        self.flush()
    }

    /// True when something came.
    fn read(&mut self) -> io::Result<bool> {
        let Some(connection) = &self.connection else { return Ok(false) };
        let mut buffer = [0u8; 2048];
        match rustix::net::recv(connection, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((read, _)) => {
                self.incoming.extend_from_slice(&buffer[..read]);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(connection) = &self.connection else { return Ok(()) };
        while !self.sending.is_empty() {
            match rustix::net::send(connection, &self.sending, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.sending.drain(..sent)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn lines(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.incoming[..end]).trim_end_matches('\r').to_owned();
            self.incoming.drain(..=end);
            let asked = self.asked.pop_front().ok_or(io::ErrorKind::InvalidData)?;
            let answer = match line.split_once(' ').unwrap_or((&line, "")) {
                ("ok", rest) => Ok(rest.to_owned()),
                ("error", rest) => Err(rest.to_owned()),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            match (asked, answer) {
                (Asked::Resume, Ok(_)) => {
                    (self.resumed, self.pause) = (true, SHORTEST_PAUSE);
                    events.push(Event::Resumed);
                }
                (Asked::Resume, answer @ Err(_)) => {
                    events.push(Event::Answered(asked, answer));
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                (asked, answer) => events.push(Event::Answered(asked, answer)),
            }
        }
        Ok(())
    }

    fn lose(&mut self, now: Instant, jitter: u32, events: &mut Vec<Event>) {
        let was = self.connected();
        self.connection = None;
        self.resumed = false;
        self.asked.clear();
        self.sending.clear();
        self.incoming.clear();
        self.pause(now, jitter);
        if was {
            events.push(Event::Lost);
        }
    }

    /// Between half and all of the pause, which doubles each time.
    fn pause(&mut self, now: Instant, jitter: u32) {
        let half = self.pause / 2;
        let spread = half.mul_f64(f64::from(jitter % 1000) / 1000.0);
        self.retry = Some(now + half + spread);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

fn dial(path: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn until(agent: &mut Agent, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let end = Instant::now() + Duration::from_secs(5);
        while events.len() < count && Instant::now() < end {
            agent.advance(Instant::now(), 0, &mut events);
            std::thread::sleep(Duration::from_millis(2));
        }
        events
    }

    #[test]
    fn replies_belong_to_requests_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut agent = Agent::new(ours.into(), "/nowhere", "s").unwrap();
        assert!(agent.ask(Asked::Token, "token") && agent.ask(Asked::Withdraw, "withdraw"));
        agent.advance(Instant::now(), 0, &mut Vec::new());
        let mut read = BufReader::new(theirs.try_clone().unwrap());
        let mut line = String::new();
        read.read_line(&mut line).unwrap();
        assert_eq!(line, "token\n");
        (&theirs).write_all(b"ok T1\nerror no such\n").unwrap();
        assert_eq!(
            until(&mut agent, 2),
            [Event::Answered(Asked::Token, Ok("T1".into())), Event::Answered(Asked::Withdraw, Err("no such".into()))]
        );
        (&theirs).write_all(b"ok unasked\n").unwrap();
        assert_eq!(until(&mut agent, 1), [Event::Lost]);
    }

    #[test]
    fn a_restarted_control_plane_is_found_again_and_the_registration_resumed() {
        let path = std::env::temp_dir().join(format!("gossamer-agent-{}.sock", std::process::id()));
        drop(std::fs::remove_file(&path));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut agent = Agent::new(ours.into(), path.to_str().unwrap(), "secret").unwrap();
        drop(theirs);
        assert_eq!(until(&mut agent, 1), [Event::Lost]);
        assert!(!agent.ask(Asked::Token, "token"));
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(b"ok\n").unwrap();
            (line, stream)
        });
        assert_eq!(until(&mut agent, 1), [Event::Resumed]);
        assert_eq!(server.join().unwrap().0, "resume secret\n");
        assert!(agent.ask(Asked::Listening, "listening 80"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn pauses_grow_and_stay_in_bounds() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut agent = Agent::new(ours.into(), "/nowhere", "s").unwrap();
        let now = Instant::now();
        for round in 0..20u32 {
            agent.pause(now, round * 137);
            let wait = agent.retry_at().unwrap() - now;
            assert!(wait >= SHORTEST_PAUSE / 2 && wait <= LONGEST_PAUSE, "{wait:?}");
        }
    }
}

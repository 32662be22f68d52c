//! The line to whoever started us: fresh tokens, `ready`, `drain`, `drained`. Its end is our end.
//!
//! Lines are at most 64 KiB; a token is never logged.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::timeout;

const MAX_LINE: usize = 64 * 1024;
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the launcher wants of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Answer what peers have asked, and stay.
    Quiet,
    Drain,
    /// The line is closed.
    End,
}

/// A shared handle; without a launcher every word goes nowhere.
#[derive(Clone)]
pub struct Launcher {
    line: Option<Rc<Line>>,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<Vec<u8>>>>>,
}

enum Line {
    Socket(UnixStream),
    /// Supervision only: it can say nothing but that it has ended.
    Pipe(pipe::Receiver),
}

impl Line {
    fn new(fd: OwnedFd) -> io::Result<Line> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        match rustix::net::sockopt::socket_type(&fd) {
            Ok(_) => UnixStream::from_std(fd.into()).map(Line::Socket),
            Err(_) => pipe::Receiver::from_owned_fd(fd).map(Line::Pipe),
        }
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Line::Socket(socket) => socket.readable().await.and_then(|()| socket.try_read(buffer)),
                Line::Pipe(pipe) => pipe.readable().await.and_then(|()| pipe.try_read(buffer)),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Line::Socket(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        while !bytes.is_empty() {
            socket.writable().await?;
            match socket.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Launcher {
    /// Must be called on the runtime.
    pub fn new(fd: Option<OwnedFd>) -> io::Result<Launcher> {
        let line = fd.map(Line::new).transpose()?.map(Rc::new);
        Ok(Launcher { line, waiting: Rc::default() })
    }

    /// A fresh single-use token.
    pub async fn token(&self) -> Result<Vec<u8>, String> {
        let (give, take) = oneshot::channel();
        self.waiting.borrow_mut().push_back(give);
        self.say("token").await.map_err(|error| format!("the launcher could not be asked for a token: {error}"))?;
        match timeout(TOKEN_TIMEOUT, take).await {
            Ok(Ok(token)) => Ok(token),
            _ => Err("the launcher gave no token".into()),
        }
    }

    /// One word and a line end.
    pub async fn say(&self, word: &str) -> io::Result<()> {
        let Some(line) = &self.line else { return Err(io::ErrorKind::NotConnected.into()) };
        line.write(format!("{word}\n").as_bytes()).await
    }

    /// Reads the line until it says something to act upon. Without a launcher, never returns.
    pub async fn order(&self, buffer: &mut Vec<u8>) -> Order {
        let Some(line) = &self.line else { return std::future::pending().await };
        loop {
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let said: Vec<u8> = buffer.drain(..=end).collect();
                if let Some(order) = self.hear(&said[..end]) {
                    return order;
                }
            }
            if buffer.len() > MAX_LINE {
                telemetry::error!("the launcher's line is too long");
                return Order::End;
            }
            let mut chunk = [0; 4096];
            match line.read(&mut chunk).await {
                Ok(length @ 1..) => buffer.extend_from_slice(&chunk[..length]),
                _ => return Order::End,
            }
        }
    }

    fn hear(&self, said: &[u8]) -> Option<Order> {
        match said {
            b"drain" => return Some(Order::Drain),
            b"quiet" => return Some(Order::Quiet),
            _ => {}
        }
        match said.strip_prefix(b"token ") {
            Some(token) => {
                // Whoever gave up waiting does not need it.
                while let Some(waiting) = self.waiting.borrow_mut().pop_front() {
                    if waiting.send(token.to_vec()).is_ok() {
                        break;
                    }
                }
            }
            None => telemetry::debug!("the launcher said something unknown ({} bytes)", said.len()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream as Pair;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (Launcher, UnixStream) {
        let (ours, theirs) = Pair::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Launcher::new(Some(ours.into())).unwrap(), UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn tokens_are_asked_for_and_orders_are_heard() {
        let (launcher, mut theirs) = pair();
        let answer = async {
            let mut asked = [0; 6];
            theirs.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"token\n");
            theirs.write_all(b"token s3cret\nnonsense\ndr").await.unwrap();
            theirs.write_all(b"ain\n").await.unwrap();
        };
        let mut buffer = Vec::new();
        let (token, order, ()) = tokio::join!(launcher.token(), launcher.order(&mut buffer), answer);
        assert_eq!(token, Ok(b"s3cret".to_vec()));
        assert_eq!(order, Order::Drain);
        drop(theirs);
        assert_eq!(launcher.order(&mut buffer).await, Order::End);
    }

    #[tokio::test]
    async fn an_endless_line_ends_us() {
        let (launcher, mut theirs) = pair();
        let mut buffer = Vec::new();
        let flood = async { while theirs.write_all(&[b'x'; 1024]).await.is_ok() {} };
        tokio::select! {
            order = launcher.order(&mut buffer) => assert_eq!(order, Order::End),
            () = flood => panic!("the reader is gone"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_launcher_is_not_waited_for() {
        let (launcher, _theirs) = pair();
        assert!(launcher.token().await.is_err());
    }
}

//! What the launcher and the process that will become the program say to each other until it does.
//!
//! One message per packet; the end of the stream after `Go` means that the program runs.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvFlags, SocketFlags, SocketType, socketpair};

use crate::factory::{BATCH, descriptors, send_with};
use crate::failure::Failure;

/// Everything made inside that is needed outside. `names` says which is which.
#[derive(Debug)]
pub struct Made {
    pub factory: i32,
    pub names: Vec<String>,
    pub descriptors: Vec<OwnedFd>,
}

#[derive(Debug)]
pub enum Message {
    /// In its own namespaces; waits for `Mapped`.
    Unshared,
    /// The launcher has mapped the users.
    Mapped,
    Made(Made),
    /// The sidecar is ready: test the capture, then become the program.
    Go,
    Failed(Failure),
    /// The other side is gone.
    End,
}

pub struct Gate(OwnedFd);

impl Gate {
    /// The launcher's end and the child's.
    pub fn pair() -> io::Result<(Gate, Gate)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Gate(ours), Gate(theirs)))
    }

    pub fn send(&self, message: &Message) -> io::Result<()> {
        match message {
            Message::Unshared => send_with(&self.0, b"U", &[]),
            Message::Mapped => send_with(&self.0, b"M", &[]),
            Message::Go => send_with(&self.0, b"G", &[]),
            Message::Failed(failure) => {
                send_with(&self.0, &[b"F", &[failure.code][..], failure.line.as_bytes()].concat(), &[])
            }
            Message::Made(made) => {
                let borrowed: Vec<BorrowedFd<'_>> = made.descriptors.iter().map(AsFd::as_fd).collect();
                let text = format!("R{} {}", made.factory, made.names.join(","));
                send_with(&self.0, text.as_bytes(), &borrowed)
            }
            Message::End => Ok(()),
        }
    }

    /// Waits for the next message; `TimedOut` when none comes.
    pub fn receive(&self, patience: Duration) -> io::Result<Message> {
        let deadline = Instant::now() + patience;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return self.next(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn next(&self) -> io::Result<Message> {
        let mut text = [0u8; 2048];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
                // The other side ended with a message of ours unread. That is told once, ahead of its own last message.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                other => break other?,
            }
        };
        let descriptors = descriptors(&mut control);
        parse(&text[..received.bytes], descriptors).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn parse(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Option<Message> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Some(Message::End);
    };
    match kind {
        b'U' => Some(Message::Unshared),
        b'M' => Some(Message::Mapped),
        b'G' => Some(Message::Go),
        b'F' => {
            let (code, line) = rest.split_first()?;
            Some(Message::Failed(Failure { line: String::from_utf8_lossy(line).into_owned(), code: *code }))
        }
        b'R' => {
            let text = std::str::from_utf8(rest).ok()?;
            let (factory, names) = text.split_once(' ')?;
            let names: Vec<String> = names.split(',').map(str::to_owned).collect();
            let whole = names.len() == descriptors.len();
            whole.then_some(Message::Made(Made { factory: factory.parse().ok()?, names, descriptors }))
        }
        _ => None,
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent_and_the_end_is_a_message() {
        let (ours, theirs) = Gate::pair().unwrap();
        let failure = Failure { line: "why".into(), code: 126 };
        theirs.send(&Message::Failed(failure.clone())).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let made = Made { factory: 7, names: vec!["out4".into()], descriptors: vec![file.into()] };
        theirs.send(&Message::Made(made)).unwrap();
        drop(theirs);
        let second = Duration::from_secs(1);
        assert!(matches!(ours.receive(second).unwrap(), Message::Failed(got) if got == failure));
        let Message::Made(made) = ours.receive(second).unwrap() else { panic!("not made") };
        assert_eq!((made.factory, made.names, made.descriptors.len()), (7, vec!["out4".to_owned()], 1));
        assert!(matches!(ours.receive(second).unwrap(), Message::End));
    }

    #[test]
    fn the_last_message_is_heard_although_ours_was_not() {
        let (ours, theirs) = Gate::pair().unwrap();
        ours.send(&Message::Go).unwrap();
        theirs.send(&Message::Failed(Failure { line: "why".into(), code: 125 })).unwrap();
        drop(theirs);
        let second = Duration::from_secs(1);
        assert!(matches!(ours.receive(second).unwrap(), Message::Failed(_)));
        assert!(matches!(ours.receive(second).unwrap(), Message::End));
    }

    #[test]
    fn silence_is_a_timeout() {
        let (ours, _theirs) = Gate::pair().unwrap();
        assert_eq!(ours.receive(Duration::from_millis(5)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

//! Messages to the kernel's networking tables, as bytes: attributes, one socket, and the acknowledgement of each message.
//!
//! Knows the envelope only; what routes and rules look like is said in `link` and `nft`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;
pub const DUMP: u16 = 0x300;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The kernel answers at once; the limit only keeps a broken one from hanging the start.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// One attribute: length, type, bytes, padded to four.
pub fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + 8);
    bytes.extend_from_slice(&length(data.len() + 4).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds attributes.
pub fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

/// A string with its final zero.
pub fn string(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// A number in network order, as nf_tables wants them.
pub fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// One message; its sequence number is given when it is sent.
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub body: Vec<u8>,
}

impl Message {
    fn write(&self, sequence: u32, to: &mut Vec<u8>) {
        let total = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&total.to_ne_bytes());
        to.extend_from_slice(&self.kind.to_ne_bytes());
        to.extend_from_slice(&(self.flags | REQUEST).to_ne_bytes());
        to.extend_from_slice(&sequence.to_ne_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&self.body);
        to.resize(to.len().next_multiple_of(4), 0);
    }
}

/// A message was refused: which (counting from 0) and with what error.
#[derive(Debug)]
pub struct Refused {
    pub index: u32,
    pub error: io::Error,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused { index: u32::MAX, error }
    }
}

/// A socket to one of the kernel's tables, in the network namespace of whoever made it.
pub struct Socket(OwnedFd);

impl Socket {
    /// `None` is NETLINK_ROUTE.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Socket(fd))
    }

    /// Takes over a socket made elsewhere.
    pub fn wrap(fd: OwnedFd) -> Self {
        Socket(fd)
    }

    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Sends the messages in one write and waits until each that asked for it is acknowledged.
    pub fn transact(&self, messages: &[Message]) -> Result<(), Refused> {
        let mut bytes = Vec::new();
        for (sequence, message) in (0..).zip(messages) {
            message.write(sequence, &mut bytes);
        }
        self.send(&bytes)?;
        let mut expected = messages.iter().filter(|message| message.flags & ACK != 0).count();
        let mut buffer = vec![0u8; 8192];
        while expected > 0 {
            let received = self.receive(&mut buffer)?;
            for answer in answers(&buffer[..received]) {
                match answer.error() {
                    Some(0) => expected = expected.saturating_sub(1),
                    Some(code) => {
                        return Err(Refused { index: answer.sequence, error: io::Error::from_raw_os_error(-code) });
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Sends one question and gives every message of the answer to `each`.
    pub fn ask(&self, question: &Message, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut bytes = Vec::new();
        question.write(0, &mut bytes);
        self.send(&bytes)?;
        let mut buffer = vec![0u8; 8192];
        loop {
            let received = self.receive(&mut buffer)?;
            for answer in answers(&buffer[..received]) {
                match (answer.kind, answer.error()) {
                    (DONE, _) | (_, Some(0)) => return Ok(()),
                    (_, Some(code)) => return Err(io::Error::from_raw_os_error(-code)),
                    _ => each(answer.body),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(self.0.as_fd(), &mut *buffer, RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?.0),
            }
        }
    }
}

struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Answer<'_> {
    /// The code of an error message; 0 is an acknowledgement.
    fn error(&self) -> Option<i32> {
        match self.kind {
            ERROR => Some(self.body.first_chunk().map_or(-5, |code| i32::from_ne_bytes(*code))),
            _ => None,
        }
    }
}

fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let total = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let message = bytes.get(..total).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(total.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            body: &message[HEADER..],
        })
    })
}

/// Walks the attributes in `bytes`: (type without flags, data).
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let total = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let data = bytes.get(4..total)?;
        bytes = bytes.get(total.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let bytes = [string(1, "ab"), number(2, 7), nest(3, &[attribute(1, &[9])])].concat();
        assert_eq!(bytes.len() % 4, 0);
        let read: Vec<_> = attributes(&bytes).map(|(kind, data)| (kind, data.to_vec())).collect();
        assert_eq!(read[0], (1, b"ab\0".to_vec()));
        assert_eq!(read[1], (2, vec![0, 0, 0, 7]));
        assert_eq!(attributes(&read[2].1).next(), Some((1, &[9u8][..])));
    }

    #[test]
    fn cut_messages_end_the_walk_and_nothing_panics() {
        let whole = [attribute(1, &[1, 2, 3]), attribute(2, &[4])].concat();
        for end in 0..whole.len() {
            assert!(attributes(&whole[..end]).count() <= 2);
            assert_eq!(answers(&whole[..end]).count(), 0);
        }
    }
}

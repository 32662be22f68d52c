//! Sockets from inside the workload's namespace: the socket factory, and the client by which the sidecar asks it.
//!
//! A socket belongs for ever to the namespace it was made in, so a tiny process stays inside and hands out fresh,
//! unconnected TCP sockets over a `SOCK_SEQPACKET` pair. A request is two bytes, `[family 4|6, count 1..=16]`; a reply is
//! one byte, the family, with up to `count` descriptors (none when the namespace cannot make them).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// Most sockets in one reply.
pub const BATCH: usize = 16;

/// The address family of the sockets asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn byte(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    fn parse(byte: u8) -> Option<Self> {
        match byte {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }
}

/// One reply: unconnected, non-blocking, close-on-exec TCP sockets of the workload's namespace.
#[derive(Debug)]
pub struct Batch {
    pub family: Family,
    pub sockets: Vec<OwnedFd>,
}

/// The asking side. Replies come in the order of the requests; after a restart of the sidecar a reply to its
/// predecessor may come first, so trust `Batch::family`, not the order.
#[derive(Debug)]
pub struct Client(OwnedFd);

impl Client {
    /// Wraps our end of the pair and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Client(fd))
    }

    /// Readable when a reply waits; to be registered with the poller.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Asks for `count` (1 to `BATCH`) sockets. `WouldBlock` when too many requests wait; ask again later.
    pub fn request(&self, family: Family, count: usize) -> io::Result<()> {
        let count = u8::try_from(count.clamp(1, BATCH)).unwrap_or(1);
        rustix::net::send(&self.0, &[family.byte(), count], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next reply, `None` when none waits; `UnexpectedEof` when the factory is gone (its namespace then is, too).
    pub fn receive(&self) -> io::Result<Option<Batch>> {
        let mut byte = [0u8; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                other => break other?,
            }
        };
        let sockets = descriptors(&mut control);
        match (received.bytes, Family::parse(byte[0])) {
            (1, Some(family)) => Ok(Some(Batch { family, sockets })),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Every descriptor that came with a message.
pub(crate) fn descriptors(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            found.extend(descriptors);
        }
    }
    found
}

/// Sends `bytes` with `descriptors` (at most `BATCH`) as one message.
pub(crate) fn send_with(to: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(&to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

//! Sockets from inside the workload's namespace: the socket factory, and the client by which the sidecar asks it.
//!
//! A socket belongs for ever to the namespace it was made in, so a tiny process stays inside and hands out fresh,
//! unconnected TCP sockets over a `SOCK_SEQPACKET` pair. A request is two bytes, `[family 4|6, count 1..=16]`; a reply is
//! one byte, the family, with up to `count` descriptors (none when the namespace cannot make them).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kernel::process::Forked;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, socketpair,
};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::rules::MARK;

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

/// In a forked child: becomes the factory and returns when the launcher is gone.
///
/// It keeps one right (to mark sockets) and no descriptor but its two, in a session of its own, and dies with `launcher`.
pub(crate) fn live(launcher: Option<Pid>, sidecar: &OwnedFd, launcher_end: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != launcher {
        return Ok(());
    }
    kernel::undumpable()?;
    rustix::process::setsid()?;
    rustix::thread::set_name(c"gossamer-socket")?;
    rustix::process::chdir("/")?;
    let right = CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets { effective: right, permitted: right, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    let null = std::fs::File::open("/dev/null")?;
    let null = null.as_fd();
    kernel::process::arrange(&[null, null, null, sidecar.as_fd(), launcher_end.as_fd()], 0)?;
    let (sidecar, launcher) = (kernel::inherited(3)?, kernel::inherited(4)?);
    // Little of the program is needed from here on; with all of it mapped, nothing is worse.
    kernel::memory::release_file_pages().unwrap_or_default();
    serve(&sidecar, &launcher, MARK);
    Ok(())
}

/// In the launcher: another factory, when the first was killed. `user` and `net` are the workload's namespaces.
pub(crate) fn again(user: &OwnedFd, net: &OwnedFd) -> io::Result<Again> {
    let (for_sidecar, sidecar) = pair()?;
    let (for_launcher, launcher_end) = pair()?;
    let launcher = rustix::process::getpid();
    match kernel::process::fork()? {
        Forked::Parent(process) => Ok(Again { process, for_sidecar, client: Client::new(for_launcher)? }),
        Forked::Child => {
            let enter = |fd: &OwnedFd| rustix::thread::move_into_link_name_space(fd.as_fd(), None);
            if enter(user).and_then(|()| enter(net)).is_ok() {
                // An error ends it; whoever asks it for sockets then finds it gone.
                drop(live(Some(launcher), &sidecar, &launcher_end));
            }
            kernel::process::exit_now(0)
        }
    }
}

/// A factory started again, and our ends of its pairs.
pub(crate) struct Again {
    pub process: Pid,
    pub for_sidecar: OwnedFd,
    pub client: Client,
}

/// A pair as the factory speaks over: message by message.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Answers on both pairs until the launcher's closes.
///
/// Sockets for the sidecar carry `mark`, which the rules let pass: dialling into the workload is never captured.
/// Sockets for the launcher do not, because it tests that capturing works.
fn serve(sidecar: &OwnedFd, launcher: &OwnedFd, mark: u32) {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut fds = [PollFd::new(launcher, PollFlags::IN), PollFd::new(sidecar, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready = [!fds[0].revents().is_empty(), !fds[1].revents().is_empty()];
        if ready[0] && !answer(launcher, None) {
            return;
        }
        if ready[1] && !answer(sidecar, Some(mark)) {
            return;
        }
    }
}

/// One request, one reply. False when the other side is gone.
fn answer(to: &OwnedFd, mark: Option<u32>) -> bool {
    let mut request = [0u8; 2];
    let read = match rustix::net::recv(to, &mut request, RecvFlags::empty()) {
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
        Err(_) => return false,
        Ok((read, _)) => read,
    };
    let (2, Some(family)) = (read, Family::parse(request[0])) else {
        return read != 0;
    };
    let count = usize::from(request[1]).clamp(1, BATCH);
    let sockets: Vec<OwnedFd> = (0..count).map_while(|_| make(family, mark).ok()).collect();
    let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    send_with(to, &[family.byte()], &borrowed).is_ok()
}

fn make(family: Family, mark: Option<u32>) -> io::Result<OwnedFd> {
    use rustix::net::{ipproto, socket_with};
    let address = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(address, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    if let Some(mark) = mark {
        kernel::set_mark(&socket, mark)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_come_in_batches_and_an_empty_queue_is_no_error() {
        let (asking, serving) = pair().unwrap();
        let client = Client::new(asking).unwrap();
        assert!(client.receive().unwrap().is_none());
        client.request(Family::V4, 3).unwrap();
        client.request(Family::V6, 99).unwrap();
        assert!(answer(&serving, None) && answer(&serving, None));
        let first = client.receive().unwrap().unwrap();
        assert_eq!((first.family, first.sockets.len()), (Family::V4, 3));
        let second = client.receive().unwrap().unwrap();
        assert_eq!((second.family, second.sockets.len()), (Family::V6, BATCH));
    }

    #[test]
    fn the_end_of_the_launcher_ends_the_factory() {
        let (_sidecar, to_sidecar) = pair().unwrap();
        let (launcher, to_launcher) = pair().unwrap();
        drop(launcher);
        serve(&to_sidecar, &to_launcher, 1);
    }

    #[test]
    fn a_factory_that_is_gone_is_the_end_of_file() {
        let (asking, serving) = pair().unwrap();
        let client = Client::new(asking).unwrap();
        drop(serving);
        assert_eq!(client.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

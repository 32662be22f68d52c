//! Descriptors that came with the process, and where a redirected connection was going.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::sockopt;

/// Takes ownership of descriptor `number`, which the parent left open for us, and marks it close-on-exec.
///
/// Call it once per number, before anything else opens descriptors. `EBADF` when the number is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl(F_GETFD) reads a flag and touches no memory; a number that is not open answers EBADF.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (asked above) and was opened by our parent, so nothing in this process owns it yet;
    // the contract above makes the caller claim it only once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Where the peer of an accepted TCP connection was going before it was brought here.
///
/// A redirected connection has that in the kernel's connection tracking; one that a transparent listener took is not
/// tracked, and has it as its own local address. Also succeeds for a connection that was made to us: it is then the
/// listener's own address, so compare. IPv4-mapped addresses come out as IPv4.
pub fn original_destination(connection: impl AsFd) -> io::Result<SocketAddr> {
    let connection = connection.as_fd();
    let local = SocketAddr::try_from(rustix::net::getsockname(connection)?)?;
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let redirected = match local {
        SocketAddr::V4(_) => sockopt::ip_original_dst(connection).map(SocketAddr::V4),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(connection).map(SocketAddr::V6),
    };
    match redirected {
        Ok(to) => Ok(SocketAddr::new(to.ip().to_canonical(), to.port())),
        Err(Errno::NOENT | Errno::NOPROTOOPT) => Ok(local),
        Err(error) => Err(error.into()),
    }
}

/// Marks the packets of `socket` (`SO_MARK`); needs `CAP_NET_ADMIN` over its namespace.
pub fn set_mark(socket: impl AsFd, mark: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).unwrap_or(4);
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the option is a 32-bit number, and the pointer leads to one for the time of the call.
    let result = unsafe { libc::setsockopt(number, libc::SOL_SOCKET, libc::SO_MARK, (&raw const mark).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a copy of `source` on `number` (not close-on-exec), closing what was there: for the standard streams.
pub fn replace(number: RawFd, source: impl AsFd) -> io::Result<()> {
    let source = source.as_fd().as_raw_fd();
    // SAFETY: dup2 touches no memory; the standard streams are owned by no value.
    if unsafe { libc::dup2(source, number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes `number` although no value of this process owns it: the program's own descriptors, in the launcher.
pub fn close_unowned(number: RawFd) {
    // SAFETY: close touches no memory; the caller names a descriptor inherited from the parent and never wrapped.
    unsafe { libc::close(number) };
}

/// Closes every descriptor from `first` up. Only for a forked child about to exec or to settle: owned values above
/// `first` are dead afterwards.
pub fn close_range_from(first: RawFd) {
    // SAFETY: close_range touches no memory. It ends descriptors that other values may think they own, which is why
    // only a child that uses none of them again may call it.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn an_open_number_is_taken_over_and_a_closed_one_refused() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let fd = inherited(number).unwrap();
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(inherited(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(inherited(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_mark_needs_a_right_or_is_set() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        match set_mark(&socket, 7) {
            Ok(()) => assert_eq!(set_mark(&socket, 8).map_err(|error| error.kind()), Ok(())),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
    }
}

//! Transparent sockets: they take what was sent to somebody else (`IP_TRANSPARENT`), and datagrams say to whom.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Lets `socket` take packets that were sent to any address; needs `CAP_NET_ADMIN` over its namespace.
pub fn set_transparent(socket: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) } else { (libc::SOL_IP, libc::IP_TRANSPARENT) };
    switch_on(socket, level, option)
}

/// From now on `receive` says where each datagram was sent.
pub fn tell_destination(socket: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR) } else { (libc::SOL_IP, libc::IP_RECVORIGDSTADDR) };
    switch_on(socket, level, option)
}

fn switch_on(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the option is an int, and the pointer leads to one for the time of the call.
    let result = unsafe { libc::setsockopt(number, level, option, (&raw const on).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One datagram: how much of the buffer it fills, who sent it, and where to (if `tell_destination` was called).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub length: usize,
    pub from: SocketAddr,
    pub to: Option<SocketAddr>,
}

/// Room for two control messages that carry an address.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// The next datagram; what does not fit into `buffer` is lost.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(128);
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: every pointer in `message` leads to a live local (or the caller's buffer) of the length given beside it.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the storage was zeroed, and the kernel wrote an address into it or left it so.
    let from = address(unsafe { name.assume_init_ref() }).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Datagram { length, from, to: destination(&message) })
}

/// The control message that carries an address.
fn destination(message: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: the kernel has just filled `message`; its control buffer is alive, and CMSG_* stay inside its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points at a whole header inside the buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        let size = match (level, kind) {
            (libc::SOL_IP, libc::IP_ORIGDSTADDR) => size_of::<libc::sockaddr_in>(),
            (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => size_of::<libc::sockaddr_in6>(),
            _ => 0,
        };
        if size > 0 {
            let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
            // SAFETY: the kernel puts a socket address of this size behind such a header; the storage is larger, and
            // zeroed where it is not written.
            unsafe {
                std::ptr::copy_nonoverlapping(libc::CMSG_DATA(header), storage.as_mut_ptr().cast::<u8>(), size);
                return address(storage.assume_init_ref());
            }
        }
        // SAFETY: as for the first one.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let from: *const libc::sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what the storage, which is larger and as aligned, holds.
            let v4 = unsafe { &*from.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*from.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_says_who_sent_it_and_where_to() {
        for (address, v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let peer = UdpSocket::bind(address).unwrap();
            let (own, theirs) = (socket.local_addr().unwrap(), peer.local_addr().unwrap());
            let mut buffer = [0; 4];
            for (to, told) in [(None, false), (Some(own), true)] {
                if told {
                    tell_destination(&socket, v6).unwrap();
                }
                assert_eq!(peer.send_to(b"hello", own).unwrap(), 5);
                let expected = Datagram { length: 4, from: theirs, to };
                assert_eq!(receive(&socket, &mut buffer).unwrap(), expected);
                assert_eq!(&buffer, b"hell");
            }
        }
    }

    #[test]
    fn nothing_to_receive_is_no_datagram() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(receive(&socket, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

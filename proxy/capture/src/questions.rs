//! Questions to name servers that a transparent socket took, and answers that seem to come from the server asked.
//!
//! An answer is written whole, with the headers of IP and UDP, and leaves through a raw socket of the namespace: an
//! ordinary socket could not have the server's address and port. Without one, or when a question was redirected (the
//! kernel then rewrites the answer), it is an ordinary datagram.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const HOPS: u8 = 64;
const DO_NOT_FRAGMENT: u8 = 0x40;

/// The sockets of one family. Neither blocks.
pub struct Questions {
    socket: UdpSocket,
    own: SocketAddr,
    raw: Option<UdpSocket>,
}

/// Who asked whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

impl Questions {
    pub fn new(socket: OwnedFd, raw: Option<OwnedFd>) -> io::Result<Self> {
        let (socket, raw) = (UdpSocket::from(socket), raw.map(UdpSocket::from));
        socket.set_nonblocking(true)?;
        if let Some(raw) = &raw {
            raw.set_nonblocking(true)?;
        }
        Ok(Questions { own: socket.local_addr()?, socket, raw })
    }

    /// How much of `buffer` the next question fills. An error of an earlier answer is reported here too.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Asked)> {
        let datagram = kernel::datagram::receive(&self.socket, buffer)?;
        Ok((datagram.length, Asked { client: datagram.from, server: datagram.to.unwrap_or(self.own) }))
    }

    /// A queue that is full loses the answer, as any network may.
    pub fn answer(&self, asked: Asked, answer: &[u8]) -> io::Result<()> {
        let sent = match &self.raw {
            Some(raw) if asked.server != self.own => {
                let packet = packet(asked.server, asked.client, answer).ok_or(io::ErrorKind::InvalidInput)?;
                raw.send_to(&packet, SocketAddr::new(asked.client.ip(), 0))
            }
            _ => self.socket.send_to(answer, asked.client),
        };
        sent.map(drop)
    }
}

impl AsFd for Questions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A whole packet, with its headers; `None` when it would be too long, or the families differ.
fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let mut packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length.checked_add(20)?.to_be_bytes();
            // The kernel fills in the checksum of this header.
            let start = [0x45, 0, high, low, 0, 0, DO_NOT_FRAGMENT, 0, HOPS, UDP, 0, 0];
            [&start[..], &from.octets(), &to.octets()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length.to_be_bytes();
            let start = [0x60, 0, 0, 0, high, low, UDP, HOPS];
            [&start[..], &from.octets(), &to.octets()].concat()
        }
        _ => return None,
    };
    let addresses = if from.is_ipv4() { 12 } else { 8 };
    let mut sum = sum(&packet[addresses..]) + u64::from(UDP) + u64::from(length);
    let header = [from.port(), to.port(), length].map(u16::to_be_bytes).concat();
    sum += self::sum(&header) + self::sum(payload);
    packet.extend_from_slice(&header);
    packet.extend_from_slice(&checksum(sum).to_be_bytes());
    packet.extend_from_slice(payload);
    Some(packet)
}

fn sum(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

/// The one's complement of the one's complement sum; a zero is written as its other form (RFC 768).
fn checksum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    match !u16::try_from(sum).unwrap_or(0) {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_headers_checksum_and_payload() {
        // By hand: the addresses sum to d048, with protocol, length and ports e2d8, with the payload 1a73a.
        let packet = packet("10.0.0.53:53".parse().unwrap(), "198.18.0.1:4660".parse().unwrap(), b"abc").unwrap();
        assert_eq!(
            packet,
            [
                0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 53, 198, 18, 0, 1, 0, 53, 0x12, 0x34, 0, 11,
                0x58, 0xc4, b'a', b'b', b'c'
            ]
        );
    }

    #[test]
    fn every_checksum_verifies() {
        for (from, to) in [("10.0.0.53:53", "127.0.0.1:40000"), ("[fd00::53]:53", "[::1]:40000")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for length in 0..64usize {
                let payload: Vec<u8> = (0..length).map(|n| (n * 37 + length) as u8).collect();
                let packet = packet(from, to, &payload).unwrap();
                let (addresses, header) = if from.is_ipv4() { (12, 20) } else { (8, 40) };
                let pseudo = sum(&packet[addresses..header]) + 17 + (8 + length as u64);
                assert_eq!(checksum(pseudo + sum(&packet[header..])), 0xffff, "{from} {length}");
                assert_eq!(&packet[header + 8..], payload);
            }
        }
    }

    #[test]
    fn what_does_not_fit_or_mixes_families_is_no_packet() {
        let (v4, v6) = ("127.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap());
        assert_eq!(packet(v4, v6, b""), None);
        assert_eq!(packet(v4, v4, &[0; 65_508]), None);
        assert!(packet(v4, v4, &[0; 65_507]).is_some());
    }
}

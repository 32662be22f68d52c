//! Addresses, networks, durations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use linkerd2_proxy_api::net::{IpAddress, IpNetwork, TcpAddress, ip_address::Ip};
use rules::cidr::Cidr;

use crate::invalid::{Invalid, Why, check, required, within};

/// Longest duration anything is configured with; a longer one means the same.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

pub(crate) fn ip(address: &IpAddress) -> Result<IpAddr, Invalid> {
    Ok(match required("ip", &address.ip)? {
        Ip::Ipv4(bits) => IpAddr::V4(Ipv4Addr::from_bits(*bits)),
        Ip::Ipv6(bits) => IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits.first) << 64 | u128::from(bits.last))),
    })
}

pub(crate) fn network(network: &IpNetwork) -> Result<Cidr, Invalid> {
    let address = within("ip", &network.ip, ip)?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    check(
        "prefix_len",
        Cidr { address, prefix: network.prefix_len as u8 },
        Why::OutOfRange,
        network.prefix_len <= width,
    )
}

pub(crate) fn socket(address: &TcpAddress) -> Result<SocketAddr, Invalid> {
    Ok(SocketAddr::new(within("ip", &address.ip, ip)?, port("port", address.port)?))
}

pub(crate) fn port(field: &str, port: u32) -> Result<u16, Invalid> {
    optional_port(field, port)?.ok_or_else(|| Invalid::new(field, Why::OutOfRange))
}

/// 0 is none.
pub(crate) fn optional_port(field: &str, port: u32) -> Result<Option<u16>, Invalid> {
    match u16::try_from(port) {
        Ok(0) => Ok(None),
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(Invalid::new(field, Why::OutOfRange)),
    }
}

/// Neither negative nor beyond a year.
pub(crate) fn duration(proto: &prost_types::Duration) -> Result<Duration, Invalid> {
    let parts = u64::try_from(proto.seconds).ok().zip(u32::try_from(proto.nanos).ok());
    match parts {
        Some((seconds, nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos).min(LONGEST)),
        _ => Err(Invalid::new("seconds", Why::OutOfRange)),
    }
}
